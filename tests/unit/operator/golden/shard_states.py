"""A shard in every state of its life, as the operator's own edits of its status leave it."""

from __future__ import annotations

from tests.unit.operator.decisions.attempt_objects import report
from tests.unit.operator.decisions.job_objects import NOW, a_job, a_shard

from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AudioShardStatus, Stage
from voxfleet_api.protocol import AttemptState, ShardResult
from voxfleet_operator.reconcile.shard.split import closed
from voxfleet_operator.reconcile.shard.status import assigned, attempt_ended, committed

RETRY_LIMIT = 1
DIGEST = "sha256:" + "0" * 64


def shard_states() -> dict[str, AudioShard]:
    new = a_shard(a_job(), Stage.PROCESS, 0)
    first = _assigned(new, 1, "mac-a")
    failed = _ended(first, AttemptOutcome.FAILED, FailureClass.GPU_ABORT_TIMEOUT)
    second = _assigned(failed, 2, "mac-b")
    result = ShardResult(commit_sha256="0" * 64)
    done = committed(second, report(2, AttemptState.SUCCEEDED), result, None, NOW)
    return {
        "nobody has assigned it": new,
        "assigned": first,
        "its attempt failed, and it is tried again": failed,
        "its attempt failed in a way of an agent to come": _ended(first, AttemptOutcome.FAILED, "OfAnAgentToCome"),
        "its Mac refused it": _ended(first, AttemptOutcome.REFUSED, None),
        "its Mac had no room": _ended(first, AttemptOutcome.RETURNED, None),
        "its Mac gave it back": _ended(first, AttemptOutcome.RETURNED, FailureClass.MACHINE_RETURNED),
        "its Mac is lost": _ended(first, AttemptOutcome.LOST, FailureClass.MACHINE_LOST),
        "taken over from a lost Mac": _assigned(first, 2, "mac-b"),
        "assigned again": second,
        "committed": _with(second, done),
        "failed, for the job as it is written": _ended(first, AttemptOutcome.FAILED, FailureClass.MODEL_MISMATCH),
        "failed, retried too often": _ended(second, AttemptOutcome.FAILED, FailureClass.GPU_ABORT_TIMEOUT),
        "split into halves": _with(failed, closed(failed, NOW)),
    }


def _with(shard: AudioShard, status: AudioShardStatus) -> AudioShard:
    return shard.model_copy(update={"status": status})


def _assigned(shard: AudioShard, attempt: int, mac: str) -> AudioShard:
    status = assigned(
        shard,
        attempt=attempt,
        mac=mac,
        machine=None,
        spec_digest=DIGEST,
        lease_seconds=30,
        usage_of_lost=None,
        now=NOW,
    )
    return _with(shard, status)


def _ended(shard: AudioShard, outcome: AttemptOutcome, failure_class: str | None) -> AudioShard:
    return _with(shard, attempt_ended(shard, outcome, failure_class, "why", None, NOW, retry_limit=RETRY_LIMIT))
