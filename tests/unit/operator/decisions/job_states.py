"""A job in every state of its life, with the status that the operator decides on."""

from __future__ import annotations

from typing import Any

from tests.unit.operator.decisions.job_objects import NOW, a_contract, a_job, a_shard, committed, ending, failed

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.job_status import AudioBatchJobStatus
from voxfleet_operator.reconcile.job.decide import JobSnapshot, plan_job
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job_findings import Blocker

NO_SECRET = Blocker(Reason.SECRET_NOT_FOUND, "create the Secret")
NO_MAC = "0/2 Macs fit: 2 have no free lane"
LIVE: dict[str, Any] = {
    "attempt": 1,
    "mac": "mac-a",
    "attempts": [{"attempt": 1, "mac": "mac-a", "outcome": "Assigned"}],
}


def job_states() -> dict[str, AudioBatchJob]:
    new = _created("2026-11-20T22:00:00Z", a_job({}))
    old = _created("2026-11-20T21:00:00Z", a_job({}))
    accepted = _with(new, _decided(new, contract=True))
    running = a_job()
    plan = a_shard(accepted, Stage.PLAN, **LIVE)
    shards = (committed(running, Stage.PROCESS, 0, succeeded=60), a_shard(running, Stage.PROCESS, 1, **LIVE))
    pending = (a_shard(running, Stage.PROCESS, 0), a_shard(running, Stage.PROCESS, 1))
    done = (committed(running, Stage.PROCESS, 0, succeeded=60), committed(running, Stage.PROCESS, 1, succeeded=40))
    poison = committed(running, Stage.PROCESS, 1, succeeded=39, quarantined=1)
    suspended, cancelled = a_job(suspend=True), _created("2026-11-20T22:00:00Z", a_job({}, cancel=True))
    finalizing = a_shard(running, Stage.FINALIZE, **LIVE)
    rerun = _created("2026-11-20T21:00:00Z", a_job({}, source={"jobRef": {"name": "job"}, "select": "Failed"}))
    return {
        "nobody has seen it": new.model_copy(update={"status": AudioBatchJobStatus()}),
        "its contract is not there yet": _with(new, _decided(new)),
        "its Secret is not there yet": _with(new, _decided(new, contract=True, blocker=NO_SECRET)),
        "waiting for the end of the job that it runs again": _with(
            rerun, _decided(rerun, contract=True, source=running)
        ),
        "refused for the job that it runs again": _with(rerun, _decided(rerun, contract=True)),
        "refused for its contract": _with(old, _decided(old)),
        "refused for its Secret": _with(old, _decided(old, contract=True, blocker=NO_SECRET)),
        "accepted": accepted,
        "accepted after a moment": _with(new, _decided(_with(new, _decided(new)), contract=True)),
        "accepted after it was refused": _with(old, _decided(_with(old, _decided(old)), contract=True)),
        "planning": _with(accepted, _decided(accepted, plan)),
        "waiting for a Mac to plan it": _with(
            accepted, _decided(accepted, a_shard(accepted, Stage.PLAN), pending_reason=NO_MAC)
        ),
        "running": _with(running, _decided(running, *shards)),
        "waiting for a Mac": _with(running, _decided(running, *pending, pending_reason=NO_MAC)),
        "running with a Secret that went away": _with(running, _decided(running, *shards, blocker=NO_SECRET)),
        "suspended": _with(suspended, _decided(suspended, *pending)),
        "halted": _with(running, _decided(running, failed(running, 0, "ModelMismatch"), shards[1])),
        "cancelled before it was accepted": _with(cancelled, _decided(cancelled)),
        "finalizing": _with(running, _decided(running, *done, finalizing)),
        "complete": _with(running, ending(running, *done)),
        "complete with quarantine": _with(running, ending(running, done[0], poison)),
        "failed": _with(running, ending(running, done[0], failed(running, 1, "AttemptsExhausted"))),
    }


def _created(at: str, job: AudioBatchJob) -> AudioBatchJob:
    return job.model_copy(update={"metadata": job.metadata.model_copy(update={"creation_timestamp": at})})


def _with(job: AudioBatchJob, status: AudioBatchJobStatus) -> AudioBatchJob:
    return job.model_copy(update={"status": status})


def _decided(job: AudioBatchJob, *shards: Any, contract: bool = False, **found: Any) -> AudioBatchJobStatus:
    snapshot = JobSnapshot(job, JobShards(shards), a_contract() if contract else None, **found)
    return plan_job(snapshot, NOW).status
