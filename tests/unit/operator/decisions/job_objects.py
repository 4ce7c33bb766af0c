"""A job, its contract and its shards, at the point of their lives that a test wants."""

from __future__ import annotations

from typing import Any

from tests.unit.operator.decisions.bodies import contract, job_body
from tests.unit.operator.decisions.memory_api import sha

from voxfleet_api.digest import digest_of
from voxfleet_api.kinds import AudioBatchJob, AudioShard, VoiceContract
from voxfleet_api.kinds.audio_batch_job import CLEANUP_FINALIZER
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.job_status import AudioBatchJobStatus
from voxfleet_operator.reconcile.job.decide import JobSnapshot, plan_job
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.shard.new_shard import NewShard, shard_body

NOW = "2026-11-20T22:00:00Z"
LATER = "2026-11-20T23:00:00Z"


PLAN = {
    "attempt": 1,
    "manifestSha256": sha("manifest"),
    "modelDigest": f"sha256:{sha('model')}",
    "modelRevision": "abc123",
    "boundaries": [0, 60, 100],
    "audioSeconds": "200.000",
}


def a_contract(**spec: object) -> VoiceContract:
    """With its defaults written out, as the API server gives it."""
    given = VoiceContract.load(contract(**spec))
    return given.model_copy(update={"spec": given.spec.in_full()})


def a_job(status: dict[str, Any] | None = None, **spec: object) -> AudioBatchJob:
    body = job_body()
    body["spec"] |= spec
    body["metadata"] |= {"uid": "12345678-job", "finalizers": [CLEANUP_FINALIZER], "generation": 1}
    accepted = {"digest": digest_of(a_contract().spec), "spec": a_contract().spec.dump()}
    return AudioBatchJob.load(body | {"status": {"contract": accepted, "plan": PLAN} if status is None else status})


def a_shard(job: AudioBatchJob, stage: Stage, ordinal: int | None = None, **status: object) -> AudioShard:
    body = shard_body(job, NewShard(stage, ordinal))
    metadata = body["metadata"]
    assert isinstance(metadata, dict)
    return AudioShard.load(body | {"metadata": metadata | {"uid": f"{metadata['name']}-uid"}, "status": status})


def committed(job: AudioBatchJob, stage: Stage, ordinal: int | None = None, **clips: int) -> AudioShard:
    commit = {"attempt": 1, "sha256": sha(f"{stage}{ordinal}")}
    return a_shard(job, stage, ordinal, attempt=1, commit=commit, clips=clips)


def failed(job: AudioBatchJob, ordinal: int, reason: str) -> AudioShard:
    condition = {"type": "Failed", "status": "True", "reason": reason, "message": "why", "lastTransitionTime": NOW}
    return a_shard(job, Stage.PROCESS, ordinal, conditions=[condition])


def ending(job: AudioBatchJob, *shards: AudioShard) -> AudioBatchJobStatus:
    """The status once Finalize is committed."""
    everything = (*shards, committed(job, Stage.FINALIZE))
    return plan_job(JobSnapshot(job, JobShards.of(job, everything), None), NOW).status


def reasons(status: AudioBatchJobStatus) -> dict[str, tuple[str, str]]:
    return {item.type: (item.status, item.reason) for item in status.conditions}
