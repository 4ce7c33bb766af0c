"""A job in every state of its life, with the status that the operator decides on."""

from __future__ import annotations

from typing import Any

from tests.unit.operator.decisions.job_objects import NOW, PLAN, a_contract, a_job, a_shard, committed, ending, failed
from tests.unit.operator.decisions.memory_api import sha

from voxfleet_api.conditions import Reason
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_api.kinds.audio_batch_job import AudioBatchJobSpec
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.job_status import AudioBatchJobStatus
from voxfleet_api.results import MeasuredResults, SpentBudget
from voxfleet_operator.reconcile.job.decide import JobSnapshot, plan_job
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job_findings import Blocker

NO_SECRET = Blocker(Reason.SECRET_NOT_FOUND, "create the Secret")
NAME_TAKEN = Blocker(Reason.SHARD_NAME_TAKEN, "another object has the name of a shard")
NO_MAC = "0/2 Macs fit: 2 have no free lane"
LONG_BEFORE = "2026-11-20T20:00:00Z"
LIVE: dict[str, Any] = {
    "attempt": 1,
    "mac": "mac-a",
    "attempts": [{"attempt": 1, "mac": "mac-a", "outcome": "Assigned"}],
}
STOPPED: dict[str, dict[str, object]] = {
    "cancelled": {"cancel": True},
    "beyond its deadline": {"activeDeadlineSeconds": 60},
    "beyond its machine time": {"maxMachineSeconds": 60},
}
"""What a user has written that stops a job."""


def job_states() -> dict[str, AudioBatchJob]:
    return {**_before_it_is_accepted(), **_running(), **_halted(), **_ended()}


def _before_it_is_accepted() -> dict[str, AudioBatchJob]:
    new, old = _created("2026-11-20T22:00:00Z", a_job({})), _created("2026-11-20T21:00:00Z", a_job({}))
    running, cancelled = running_job(), _created("2026-11-20T22:00:00Z", a_job({}, cancel=True))
    rerun = _created("2026-11-20T21:00:00Z", a_job({}, source={"jobRef": {"name": "job"}, "select": "Failed"}))
    young_rerun = _created("2026-11-20T22:00:00Z", rerun)
    return {
        "nobody has seen it": new.model_copy(update={"status": AudioBatchJobStatus()}),
        "its contract is not there yet": _with(new, decided(new)),
        "its Secret is not there yet": _with(new, decided(new, contract=True, blocker=NO_SECRET)),
        "the job that it runs again is not there yet": _with(young_rerun, decided(young_rerun, contract=True)),
        "waiting for the end of the job that it runs again": _with(
            rerun, decided(rerun, contract=True, source=running)
        ),
        "refused for the job that it runs again": _with(rerun, decided(rerun, contract=True)),
        "refused for its contract": _with(old, decided(old)),
        **{
            f"refused for its Secret, {reason}": _with(
                old, decided(old, contract=True, blocker=Blocker(reason, "mend the Secret"))
            )
            for reason in (Reason.SECRET_NOT_FOUND, Reason.SECRET_FORBIDDEN, Reason.SECRET_INCOMPLETE)
        },
        "cancelled before it was accepted": _with(cancelled, decided(cancelled)),
        "cancelled while it was refused": _with(
            _spec(old, cancel=True), decided(_spec(_with(old, decided(old)), cancel=True))
        ),
        "failed for a job that it waited for in vain": _with(
            rerun,
            decided(
                _with(rerun, decided(rerun, contract=True, source=running)), contract=True, source=_without_results()
            ),
        ),
        "failed for a job that it cannot run again": _with(
            rerun, decided(rerun, contract=True, source=_without_results())
        ),
        "failed for a Secret that its source needs": _with(
            rerun, decided(rerun, contract=True, source=_with_output(_complete(), "s3://bucket/out/"))
        ),
        "accepted": accepted_job(),
        "accepted after a moment": _with(new, decided(_with(new, decided(new)), contract=True)),
        "accepted after it was refused": _with(old, decided(_with(old, decided(old)), contract=True)),
        "accepted while it is suspended": _with(
            _spec(new, suspend=True), decided(_spec(new, suspend=True), contract=True)
        ),
    }


def accepted_job() -> AudioBatchJob:
    new = _created("2026-11-20T22:00:00Z", a_job({}))
    return _with(new, decided(new, contract=True))


def running_job() -> AudioBatchJob:
    """With a plan of two shards."""
    return _accepted_before(a_job())


def _accepted_before(job: AudioBatchJob) -> AudioBatchJob:
    conditions = accepted_job().status.conditions
    return _with(job, job.status.model_copy(update={"conditions": conditions}))


def _running() -> dict[str, AudioBatchJob]:
    accepted, running = accepted_job(), running_job()
    plan = a_shard(accepted, Stage.PLAN, **LIVE)
    shards = (committed(running, Stage.PROCESS, 0, succeeded=60), a_shard(running, Stage.PROCESS, 1, **LIVE))
    pending = (a_shard(running, Stage.PROCESS, 0), a_shard(running, Stage.PROCESS, 1))
    done = (committed(running, Stage.PROCESS, 0, succeeded=60), committed(running, Stage.PROCESS, 1, succeeded=40))
    suspended, unplanned = _spec(running, suspend=True), _spec(accepted, suspend=True)
    finalizing, waiting = a_shard(running, Stage.FINALIZE, **LIVE), a_shard(running, Stage.FINALIZE)
    poisoned = (committed(running, Stage.PROCESS, 0, succeeded=59, quarantined=1), shards[1])
    return {
        "planning": _with(accepted, decided(accepted, plan)),
        "planned": _with(accepted, decided(accepted, _planned(accepted))),
        "waiting for a Mac to plan it": _with(
            accepted, decided(accepted, a_shard(accepted, Stage.PLAN), pending_reason=NO_MAC)
        ),
        "suspended before it was planned": _with(unplanned, decided(unplanned)),
        "running": _with(running, decided(running, *shards)),
        "running, with quarantined clips": _with(running, decided(running, *poisoned)),
        "waiting for a Mac": _with(running, decided(running, *pending, pending_reason=NO_MAC)),
        "running with a Secret that went away": _with(running, decided(running, *shards, blocker=NO_SECRET)),
        "running with a shard's name that is taken": _with(running, decided(running, *pending, blocker=NAME_TAKEN)),
        "suspended": _with(suspended, decided(suspended, *pending)),
        "resumed": _with(running, decided(_with(running, decided(suspended, *pending)), *shards)),
        "finalizing": _with(running, decided(running, *done, finalizing)),
        "waiting for a Mac to finalize it": _with(running, decided(running, *done, waiting, pending_reason=NO_MAC)),
    }


def _halted() -> dict[str, AudioBatchJob]:
    """With one shard that still runs."""
    running, found = running_job(), dict[str, AudioBatchJob]()
    live = a_shard(running, Stage.PROCESS, 1, assignedAt=LONG_BEFORE, **LIVE)
    found["halted by a failed shard"] = _with(running, decided(running, failed(running, 0, "ModelMismatch"), live))
    strict = _strict_job(haltFanOutPercent=1)
    poisoned = committed(strict, Stage.PROCESS, 0, succeeded=30, quarantined=30)
    found["halted for its quarantine"] = _with(
        strict, decided(strict, poisoned, a_shard(strict, Stage.PROCESS, 1, **LIVE))
    )
    for words, spec in STOPPED.items():
        stopped = _started(_spec(running, **spec))
        found[f"halted, {words}"] = _with(stopped, decided(stopped, a_shard(running, Stage.PROCESS, 0), live))
    left = a_shard(running, Stage.PROCESS, 0), a_shard(running, Stage.PROCESS, 1)
    merging, waiting = a_shard(running, Stage.FINALIZE, **LIVE), a_shard(running, Stage.FINALIZE)
    for halted, job in dict(found).items():
        found[f"finalizing, {halted}"] = _with(job, decided(job, *left, merging))
        found[f"waiting for a Mac to finalize it, {halted}"] = _with(
            job, decided(job, *left, waiting, pending_reason=NO_MAC)
        )
    return found


def _ended() -> dict[str, AudioBatchJob]:
    running, accepted, strict, limited = running_job(), accepted_job(), _strict_job(), limited_job()
    done = (committed(running, Stage.PROCESS, 0, succeeded=60), committed(running, Stage.PROCESS, 1, succeeded=40))
    poison = committed(running, Stage.PROCESS, 1, succeeded=39, quarantined=1)
    clips_failed = committed(running, Stage.PROCESS, 1, succeeded=39, failed=1)
    late = running.model_copy(update={"status": running.status.model_copy(update={"finalize_time": LONG_BEFORE})})
    halted = _halted()
    refused = failed(running, 0, "InvalidInput").status.conditions
    unplannable = a_shard(accepted, Stage.PLAN, conditions=[item.dump() for item in refused])
    found = {
        "complete": _with(running, ending(running, *done)),
        "complete with quarantine": _with(running, ending(running, done[0], poison)),
        "complete within its contract's limits": _with(limited, with_measured(limited, 12_000, 3, 60_000, *done)),
        "complete beyond its tail SLO, with many retries": _with(
            limited, with_measured(limited, 45_000, 51, 60_000, *done)
        ),
        "failed for its failure budget": _with(
            limited, ending(limited, done[0], failed(limited, 1, "FailureBudgetExhausted"))
        ),
        "failed for a shard": _with(running, ending(running, done[0], failed(running, 1, "AttemptsExhausted"))),
        "failed for its plan": _with(accepted, decided(accepted, unplannable)),
        "failed for some clips": _with(running, ending(running, done[0], clips_failed)),
        "failed for its quarantine": _with(
            strict, ending(strict, done[0], committed(strict, Stage.PROCESS, 1, succeeded=39, quarantined=1))
        ),
        "failed, not finalized in time": _with(late, decided(late, *done)),
    }
    for words in ("by a failed shard", "for its quarantine"):
        job = halted[f"halted {words}"]
        found[f"failed after it was halted {words}"] = _with(job, ending(job, *_left_undone(job, words)))
    for words, spec in STOPPED.items():
        job = halted[f"halted, {words}"]
        found[f"failed, {words}"] = _with(job, ending(job, *_left_undone(job, words)))
        unplanned = _started(_spec(accepted, **spec))
        if words != "beyond its machine time":
            found[f"failed, {words} before its plan"] = _with(unplanned, decided(unplanned))
    return found


def _left_undone(job: AudioBatchJob, words: str) -> tuple[AudioShard, ...]:
    first = {
        "by a failed shard": failed(job, 0, "ModelMismatch"),
        "for its quarantine": committed(job, Stage.PROCESS, 0, succeeded=30, quarantined=30),
    }
    return first.get(words, a_shard(job, Stage.PROCESS, 0)), a_shard(job, Stage.PROCESS, 1)


def _strict_job(**quarantine: object) -> AudioBatchJob:
    """A job whose contract allows no quarantined clip."""
    spec = a_contract(quarantine={"maxPercent": 0, **quarantine}).spec
    accepted = {"digest": digest_of(spec), "spec": spec.dump()}
    return _accepted_before(a_job({"contract": accepted, "plan": PLAN}))


def limited_job() -> AudioBatchJob:
    """A job whose contract has every limit."""
    budget = {"retriesPerHour": 50, "quarantinedMinutes": 30}
    spec = a_contract(slo={"offlineTailP95": "30s"}, failureBudget=budget, batching={"ladder": {}}).spec
    accepted = {"digest": digest_of(spec), "spec": spec.dump()}
    return _accepted_before(a_job({"contract": accepted, "plan": PLAN}))


def with_measured(
    job: AudioBatchJob,
    infer_p95_milliseconds: int,
    retries: int,
    quarantined_milliseconds: int,
    *shards: AudioShard,
    spent: SpentBudget | None = None,
) -> AudioBatchJobStatus:
    """The status once Finalize has told what the results come to."""
    measured = MeasuredResults(
        infer_p95_milliseconds=infer_p95_milliseconds,
        retries=retries,
        quarantined_audio_milliseconds=quarantined_milliseconds,
        spent_budget=spent,
    )
    commit = {"attempt": 1, "sha256": sha("finalize")}
    finalize = a_shard(job, Stage.FINALIZE, attempt=1, commit=commit, measured=measured.dump())
    return decided(job, *shards, finalize)


def _planned(job: AudioBatchJob) -> AudioShard:
    facts = {name: value for name, value in PLAN.items() if name != "attempt"}
    return a_shard(job, Stage.PLAN, attempt=1, commit={"attempt": 1, "sha256": sha("plan")}, plan=facts)


def _complete() -> AudioBatchJob:
    running = running_job()
    done = (committed(running, Stage.PROCESS, 0, succeeded=60), committed(running, Stage.PROCESS, 1, succeeded=40))
    return _with(running, ending(running, *done))


def _without_results() -> AudioBatchJob:
    cancelled = _spec(_created("2026-11-20T22:00:00Z", a_job({})), cancel=True)
    return _with(cancelled, decided(cancelled))


def _with_output(job: AudioBatchJob, uri: str) -> AudioBatchJob:
    output = job.spec.output.model_copy(update={"uri": uri})
    return job.model_copy(update={"spec": job.spec.model_copy(update={"output": output})})


def _spec(job: AudioBatchJob, **fields: object) -> AudioBatchJob:
    """`fields` as they are written in YAML."""
    spec = AudioBatchJobSpec.load({**job.spec.dump(), **fields})
    return job.model_copy(update={"spec": spec})


def _started(job: AudioBatchJob) -> AudioBatchJob:
    return job.model_copy(update={"status": job.status.model_copy(update={"start_time": LONG_BEFORE})})


def _created(at: str, job: AudioBatchJob) -> AudioBatchJob:
    return job.model_copy(update={"metadata": job.metadata.model_copy(update={"creation_timestamp": at})})


def _with(job: AudioBatchJob, status: AudioBatchJobStatus) -> AudioBatchJob:
    return job.model_copy(update={"status": status})


def decided(job: AudioBatchJob, *shards: Any, contract: bool = False, **found: Any) -> AudioBatchJobStatus:
    snapshot = JobSnapshot(job, JobShards.of(job, shards), a_contract() if contract else None, **found)
    return plan_job(snapshot, NOW).status
