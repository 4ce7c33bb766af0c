"""What happens next in a job's life: accept, plan, process, finalize, then complete or failed. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from voxfleet_api.conditions import ConditionType, Reason
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds import AudioBatchJob, AudioShard, VoiceContract
from voxfleet_api.kinds.audio_batch_job import CLEANUP_FINALIZER
from voxfleet_api.kinds.audio_shard import ShardCommit, Stage
from voxfleet_api.kinds.job_status import AcceptedContract, AudioBatchJobStatus, ClipCounts, JobEstimate, JobPlan
from voxfleet_api.results import PlanResult
from voxfleet_operator.metering.usage import machine_time, usage_bound
from voxfleet_operator.reconcile.job.contract_limits import limit_conditions
from voxfleet_operator.reconcile.job.estimate import job_estimate, meaningful
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job.source import SourceRefusal, find_source
from voxfleet_operator.reconcile.job.status import JobConditions, shard_total, verdict, with_facts
from voxfleet_operator.reconcile.job_findings import REFUSAL_GRACE_SECONDS, Blocker
from voxfleet_operator.reconcile.job_life import STOPPING_REASONS, halted_condition, has_ended, is_suspended
from voxfleet_operator.reconcile.lane_outlook import LaneOutlook
from voxfleet_operator.reconcile.shard.new_shard import NewShard
from voxfleet_operator.reconcile.shard.status import failed_condition, is_committed, is_live
from voxfleet_operator.reconcile.status_size import fitted_job

PLANNING = "the input is listed and its headers are read"
RUNNING = "shards run as lanes get free"
FINALIZING = "results are merged"
SUSPENDED = "the job is suspended; set spec.suspend to false to resume it"
CANCELLED = (Reason.CANCELLED, "the job was cancelled")


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    job: AudioBatchJob
    shards: JobShards
    contract: VoiceContract | None
    source: AudioBatchJob | None = None
    """The job that spec.source names."""
    blocker: Blocker | None = None
    """What is wrong with the job's Secret, which no watch reports."""
    pending_reason: str | None = None
    counted_seconds: float = math.inf
    """For how long this process has counted silence. Before that, nobody listened to the Macs."""
    unled: tuple[datetime, datetime] | None = None
    """From when until when nobody led, before this process did."""
    lost_margin_seconds: float = 0.0
    lost_seconds: Mapping[str, float] = field(default_factory=dict)
    """For how long the Macs of live attempts have been lost, by the shard's UID."""
    outlook: LaneOutlook | None = None
    """The lanes that the job may count on, from its plan on; None: it is not estimated anew."""


@dataclass(frozen=True, slots=True)
class JobDecision:
    """To be carried out in this order: the finalizer, the status, then the shards."""

    status: AudioBatchJobStatus
    add_finalizer: bool = False
    create: tuple[NewShard, ...] = ()
    records_plan: bool = False
    """Whether the status freezes the plan. Process shards follow on the next pass, from the plan that was written."""
    again_seconds: float | None = None
    """After how long the same snapshot leads to another decision."""


FINALIZE_SECONDS = 30 * 60
"""How long results may take to be merged, from the end of the last Process shard. Then the job fails without them. The
time in which nobody led counts only once a second leader has followed, so that a job ends although operators come and
go."""
RETURN_SECONDS = 3 * 60
"""How long a new leader waits at least before it gives up the results: they may be there, on a Mac that it has yet to
hear. No more, so that a job ends although its operator starts anew again and again."""


def plan_job(snapshot: JobSnapshot, now: str) -> JobDecision:
    """Decides for a job that is not being deleted. `now` is the time for the status."""
    return _JobDecider(snapshot, now).decide()


class _JobDecider:
    def __init__(self, snapshot: JobSnapshot, now: str) -> None:
        self._snapshot = snapshot
        self._job = snapshot.job
        self._shards = snapshot.shards
        self._now = now
        self._conditions = JobConditions(snapshot.job, now)

    def decide(self) -> JobDecision:
        job = self._job
        if has_ended(job):
            if job.status.usage.settled:  # frozen: the bill stays even if the shards are deleted
                generation = job.metadata.generation
                return JobDecision(job.status.model_copy(update={"observed_generation": generation}))
            return JobDecision(self._status(job.status, ended=True))
        if CLEANUP_FINALIZER not in job.metadata.finalizers:
            return JobDecision(job.status, add_finalizer=True)
        blocker = self._snapshot.blocker
        if job.status.contract is None:
            if job.spec.cancel:
                return self._fail(*CANCELLED)
            return self._accept() if blocker is None else self._refuse(blocker)
        self._count_time()
        if blocker is None:
            self._conditions.drop(ConditionType.STALLED)
        else:
            self._conditions.set(ConditionType.STALLED, True, blocker.reason, blocker.message)
        if job.status.plan is None:
            return self._plan()
        return self._process(job.status.plan)

    def _count_time(self) -> None:
        """A suspended job's time does not count; when it resumes, it counts anew, as a batch/v1 Job's does."""
        suspended, status = is_suspended(self._job), self._job.status
        start = None if suspended else min(status.start_time or self._now, self._now)
        if start == status.start_time:
            return
        status = status.model_copy(update={"start_time": start})
        self._job = self._job.model_copy(update={"status": status})

    def _deadline_seconds(self) -> float | None:
        """Until the job's deadline, 0 once it has passed; None if it has none now."""
        limit, start = self._job.spec.active_deadline_seconds, self._job.status.start_time
        return None if limit is None or start is None else max(0.0, limit - self._seconds_since(start))

    @cached_property
    def _machine_time_seconds(self) -> float | None:
        """Until the job has used its maxMachineSeconds at the earliest, 0 once it may have; None if it cannot now."""
        limit = self._job.spec.max_machine_seconds
        if limit is None:
            return None
        bound = usage_bound(self._shards.all, datetime.fromisoformat(self._now), self._snapshot.lost_seconds)
        if bound.seconds >= limit:
            return 0.0
        return math.ceil((limit - bound.seconds) / bound.growing_lanes) if bound.growing_lanes else None

    def _stop_seconds(self) -> float | None:
        """Until the job is to be stopped, as far as can be said now."""
        found = (self._deadline_seconds(), self._machine_time_seconds)
        return min((seconds for seconds in found if seconds is not None), default=None)

    def _halt_cause(self) -> tuple[str, str] | None:
        """Why nothing starts any more, as reason and message.

        What was found first stays, but for a shard's fault: what runs may still end then, until it is stopped, too.
        """
        halted = halted_condition(self._job)
        if halted is not None and halted.reason in STOPPING_REASONS:
            return halted.reason, halted.message
        if self._job.spec.cancel:
            return CANCELLED
        if self._deadline_seconds() == 0:
            limit = self._job.spec.active_deadline_seconds
            return Reason.DEADLINE_EXCEEDED, f"the job took longer than its activeDeadlineSeconds, {limit}"
        if self._machine_time_seconds == 0:
            limit = self._job.spec.max_machine_seconds
            return Reason.MAX_MACHINE_SECONDS_EXCEEDED, f"the job may have used its maxMachineSeconds, {limit}"
        return self._shards.halt_cause if halted is None else (halted.reason, halted.message)

    def _suspend(self) -> JobDecision:
        self._conditions.set(ConditionType.SUSPENDED, True, Reason.SUSPENDED, SUSPENDED)
        self._state(Reason.SUSPENDED, SUSPENDED)
        return JobDecision(self._status(self._job.status))

    def _refuse(self, blocker: Blocker) -> JobDecision:
        grace_seconds = REFUSAL_GRACE_SECONDS - self._seconds_since(self._job.metadata.creation_timestamp)
        problem, other = ConditionType.STALLED, ConditionType.RECONCILING
        if grace_seconds > 0:
            problem, other = other, problem
        self._conditions.set(problem, True, blocker.reason, blocker.message)
        self._conditions.drop(other)
        self._conditions.set(ConditionType.ACCEPTED, False, blocker.reason, blocker.message)
        self._state(Reason.PENDING, blocker.message)
        return JobDecision(self._status(self._job.status), again_seconds=max(grace_seconds, 0.0) or None)

    def _seconds_since(self, time: str | None) -> float:
        if not time:
            return math.inf
        return (datetime.fromisoformat(self._now) - datetime.fromisoformat(time)).total_seconds()

    def _accept(self) -> JobDecision:
        job, contract = self._job, self._snapshot.contract
        if contract is None:
            name = job.spec.contract_ref.name
            message = f"VoiceContract {name} does not exist in namespace {job.metadata.namespace}; create it"
            return self._refuse(Blocker(Reason.CONTRACT_NOT_FOUND, message))
        source = find_source(job, self._snapshot.source)
        if isinstance(source, SourceRefusal):
            return self._refuse_source(source)
        self._conditions.drop(ConditionType.RECONCILING)
        self._conditions.drop(ConditionType.STALLED)
        accepted = AcceptedContract(digest=digest_of(contract.spec), spec=contract.spec)
        self._conditions.set(ConditionType.ACCEPTED, True, Reason.ACCEPTED, "the contract is copied into status")
        self._state(Reason.PLANNING, PLANNING)
        return JobDecision(
            self._status(
                job.status.model_copy(
                    update={
                        "contract": accepted,
                        "source": source,
                        "start_time": None if is_suspended(job) else self._now,
                    }
                )
            )
        )

    def _refuse_source(self, refusal: SourceRefusal) -> JobDecision:
        blocker = refusal.blocker
        if refusal.for_good:
            return self._fail(blocker.reason, blocker.message)
        if not refusal.waits:
            return self._refuse(blocker)
        self._conditions.drop(ConditionType.STALLED)
        self._conditions.set(ConditionType.RECONCILING, True, blocker.reason, blocker.message)
        self._conditions.set(ConditionType.ACCEPTED, False, blocker.reason, blocker.message)
        self._state(Reason.PENDING, blocker.message)
        return JobDecision(self._status(self._job.status))

    def _plan(self) -> JobDecision:
        cause = self._halt_cause()
        if cause is not None:
            return self._fail(*cause)
        shard = self._shards.plan
        if is_suspended(self._job) and (shard is None or not is_committed(shard)):
            return self._suspend()
        self._conditions.drop(ConditionType.SUSPENDED)
        if shard is None:
            return JobDecision(self._status(self._job.status), create=(NewShard(Stage.PLAN),))
        failed = failed_condition(shard)
        if failed is not None:
            return self._fail(failed.reason, failed.message)
        if shard.status.commit is None or shard.status.plan is None:
            self._progress(Reason.PLANNING, PLANNING)
            return JobDecision(self._status(self._job.status), again_seconds=self._stop_seconds())
        plan = frozen_plan(shard.status.commit, shard.status.plan)
        self._state(Reason.RUNNING, RUNNING)
        return JobDecision(self._status(self._job.status.model_copy(update={"plan": plan})), records_plan=True)

    def _process(self, plan: JobPlan) -> JobDecision:
        if self._job.status.finalize_time is not None:
            return self._finalize(min(self._job.status.finalize_time, self._now))
        total, cause = shard_total(plan), self._halt_cause()
        if self._shards.processed(total):
            return self._finalize(self._now)
        if cause is not None:
            self._conditions.set(ConditionType.HALTED, True, *cause)
        if is_suspended(self._job) and cause is None:
            return self._suspend()
        self._conditions.drop(ConditionType.SUSPENDED)
        missing = () if cause is not None else self._shards.coverage.missing(total)
        if missing:
            return JobDecision(self._status(self._job.status), create=missing, again_seconds=self._stop_seconds())
        self._progress(Reason.RUNNING, RUNNING)
        return JobDecision(self._status(self._job.status), again_seconds=self._stop_seconds() or None)

    def _finalize(self, since: str) -> JobDecision:
        self._conditions.drop(ConditionType.SUSPENDED)
        shard = self._shards.finalize
        if shard is not None and (shard.status.commit is not None or failed_condition(shard) is not None):
            return self._conclude()
        left_seconds = max(
            FINALIZE_SECONDS - self._led_seconds_since(since),
            self._return_seconds(shard) - self._snapshot.counted_seconds,
        )
        if left_seconds <= 0:
            return self._conclude(unmerged=True)
        if shard is None:
            self._state(Reason.FINALIZING, FINALIZING)
        else:
            self._progress(Reason.FINALIZING, FINALIZING)
        return JobDecision(
            self._status(self._job.status.model_copy(update={"finalize_time": since})),
            create=(NewShard(Stage.FINALIZE, machine_time=machine_time(self._shards.all)),) if shard is None else (),
            again_seconds=left_seconds,
        )

    def _led_seconds_since(self, since: str) -> float:
        """Without the time in which nobody led before this process did: nobody could have merged anything in it."""
        if self._snapshot.unled is None:
            return self._seconds_since(since)
        began, ended = self._snapshot.unled
        unled_seconds = (ended - max(began, datetime.fromisoformat(since))).total_seconds()
        return max(0.0, self._seconds_since(since) - max(0.0, unled_seconds))

    def _return_seconds(self, finalize: AudioShard | None) -> float:
        """Within which the Mac that merges the results is heard or lost."""
        if finalize is None or not is_live(finalize):
            return RETURN_SECONDS
        return max(RETURN_SECONDS, (finalize.status.lease_seconds or 0) + self._snapshot.lost_margin_seconds)

    def _conclude(self, *, unmerged: bool = False) -> JobDecision:
        """The job's end. `unmerged`: its results could not be merged in time, and nothing waits for them any longer."""
        status = self._status(self._job.status, ended=True)
        failed = self._verdict(status.clips)
        if unmerged:
            late = f"the results were not merged within {FINALIZE_SECONDS // 60} minutes"
            if self._snapshot.pending_reason is not None:
                late = f"{late}: {self._snapshot.pending_reason}"
            reason, message = (Reason.FINALIZE_DEADLINE_EXCEEDED, late) if failed is None else failed
            failed = reason, message if message == late else f"{message}; {late}"
        if failed is not None:
            return self._fail(*failed)
        self._conditions.drop(ConditionType.STALLED)
        self._conditions.drop(ConditionType.HALTED)
        self._conditions.set(ConditionType.COMPLETE, True, Reason.FINISHED, "all results are in status.results")
        return JobDecision(self._ended())

    def _verdict(self, counts: ClipCounts) -> tuple[str, str] | None:
        """Why the job has failed, as reason and message; None if it has not."""
        found, halted = verdict(self._job, counts, self._shards), halted_condition(self._job)
        if halted is None or not counts.not_run or (found is not None and found[0] == halted.reason):
            return found
        return halted.reason, halted.message

    def _fail(self, reason: str, message: str) -> JobDecision:
        self._conditions.drop(ConditionType.HALTED)
        self._conditions.drop(ConditionType.RECONCILING)
        self._conditions.drop(ConditionType.SUSPENDED)
        self._conditions.set(ConditionType.FAILED, True, reason, message)
        self._conditions.set(ConditionType.STALLED, True, reason, message)
        self._state(Reason.FAILED, message)
        return JobDecision(self._ended())

    def _ended(self) -> AudioBatchJobStatus:
        return self._status(self._job.status.model_copy(update={"completion_time": self._now}), ended=True)

    def _progress(self, reason: Reason, message: str) -> None:
        """Tells a job on which no Mac works, because none takes its next shard, from one that moves on."""
        if self._snapshot.pending_reason is not None and not any(found.is_live for found in self._shards.facts):
            reason, message = Reason.WAITING_FOR_MAC, "no Mac takes its next shard; status.pendingReason says why"
        self._state(reason, message)

    def _state(self, reason: Reason, message: str) -> None:
        self._conditions.set(ConditionType.COMPLETE, False, reason, message)

    def _status(self, status: AudioBatchJobStatus, *, ended: bool = False) -> AudioBatchJobStatus:
        status = with_facts(self._job, status, self._shards, ended=ended, pending_reason=self._snapshot.pending_reason)
        status = status.model_copy(update={"estimate": self._estimate(status, ended=ended)})
        if status.clips.quarantined:
            self._conditions.set(
                ConditionType.QUARANTINED,
                True,
                Reason.CLIPS_QUARANTINED,
                "clips were refused for their own data; status.quarantine and errors.jsonl say which and why",
            )
        for found in limit_conditions(status, self._shards):
            self._conditions.set(found.type, found.status, found.reason, found.message)
        return fitted_job(status.model_copy(update={"conditions": self._conditions.result()}))

    def _estimate(self, status: AudioBatchJobStatus, *, ended: bool) -> JobEstimate | None:
        """None once nothing is left for a lane to do: then the usage says what it took."""
        outlook, job = self._snapshot.outlook, self._job
        if ended or status.plan is None or status.finalize_time is not None or self._halt_cause() is not None:
            return None
        if outlook is None:
            return status.estimate
        found = job_estimate(
            status.plan,
            self._shards,
            job.spec.parallelism,
            outlook,
            self._now,
            suspended=is_suspended(job),
            most_seconds=job.spec.max_machine_seconds,
        )
        return meaningful(status.estimate, found, self._now)


def frozen_plan(commit: ShardCommit, result: PlanResult) -> JobPlan:
    return JobPlan(attempt=commit.attempt, **result.model_dump())
