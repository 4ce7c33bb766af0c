"""A shard with some attempts, and what a Mac reports of them."""

from __future__ import annotations

from tests.unit.operator.decisions.memory_api import sha

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord, AttemptUsage, JobRef, Stage
from voxfleet_api.protocol import AttemptState, AttemptStatus, ShardResult
from voxfleet_api.results import Counts
from voxfleet_operator.fleet.mac_view import MacView

DIGEST = f"sha256:{sha('spec')}"
UID = "shard-uid"


def record(attempt: int, mac: str, outcome: AttemptOutcome, usage: AttemptUsage | None = None) -> AttemptRecord:
    return AttemptRecord(attempt=attempt, mac=mac, outcome=outcome, usage=usage)


def shard_with(*records: AttemptRecord) -> AudioShard:
    newest = records[-1]
    return AudioShard.load(
        {
            "metadata": {"name": "job-00000", "namespace": "team", "uid": UID},
            "spec": {
                "jobRef": {"name": "job", "uid": "job-uid"},
                "stage": "Process",
                "ordinal": 0,
                "indexes": "0-1",
            },
            "status": {
                "attempt": newest.attempt,
                "mac": newest.mac,
                "specDigest": DIGEST,
                "leaseSeconds": 30,
                "attempts": [item.dump() for item in records],
            },
        }
    )


def report(attempt: int, state: AttemptState, digest: str = DIGEST) -> AttemptStatus:
    done = state is AttemptState.SUCCEEDED
    return AttemptStatus(
        shard_uid=UID,
        attempt=attempt,
        spec_digest=digest,
        control_plane="cp",
        namespace="team",
        job=JobRef(name="job", uid="job-uid"),
        shard_name="job-00000",
        stage=Stage.PROCESS,
        state=state,
        result=ShardResult(commit_sha256=sha("commit"), counts=Counts()) if done else None,
    )


def view_with(*reports: AttemptStatus, connected: bool = True, usage: AttemptUsage | None = None) -> MacView:
    return MacView(
        "mac-a",
        connected=connected,
        reason=Reason.CONNECTED if connected else Reason.SSH_UNREACHABLE,
        message="",
        attempts={AttemptKey(UID, item.attempt): item for item in reports},
        usage={} if usage is None else {AttemptKey(UID, item.attempt): usage for item in reports},
    )
