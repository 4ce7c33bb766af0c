"""Makes a schedule's jobs: gather its jobs, decide what is due, start it, then write the status once and clear up.

Consistency: a job's name follows from its slot, and it is made before the status says so. So whatever dies in between,
the next pass finds the job by its name, and no slot gets two.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import structlog

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import AudioBatchJob, AudioBatchSchedule, AudioShard
from voxfleet_api.kinds.audio_batch_schedule import NEXT_RUNS, StartedBy
from voxfleet_api.moments import timestamp
from voxfleet_operator.event_reasons import EventReason
from voxfleet_operator.kube_errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound
from voxfleet_operator.metrics import RUN_MISSED, RUN_STARTED
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.job_findings import Blocker
from voxfleet_operator.reconcile.job_life import has_ended
from voxfleet_operator.reconcile.schedule.decide import Missed, SchedulePlan, plan_schedule
from voxfleet_operator.reconcile.schedule.history import plan_history
from voxfleet_operator.reconcile.schedule.slot_job import (
    SCHEDULE_LABEL,
    Kinship,
    Run,
    job_body,
    job_name,
    kinship,
    owner_reference,
)
from voxfleet_operator.reconcile.schedule.status import is_blocked, schedule_status
from voxfleet_operator.reconcile.status_writer import observe, read_again, write_status
from voxfleet_operator.reconcile.stored_statements import StoredStatements

LOOK_AGAIN_SECONDS = 60.0
"""The queue's clock does not see when the clock on the wall is set, or when the machine sleeps."""
SYNC_RETRY_SECONDS = 1.0

log = structlog.get_logger(__name__)


class ScheduleReconciler:
    def __init__(self, context: Context, statements: StoredStatements) -> None:
        self._context = context
        self._statements = statements
        self._by_schedule = context.cache.index(AudioBatchJob, _schedule_label)

    async def reconcile(self, key: Key) -> float | None:
        context = self._context
        schedule = context.cache.get(AudioBatchSchedule, key.namespace, key.name)
        if schedule is None or schedule.metadata.deletion_timestamp is not None:
            return None
        if not context.synced():
            return SYNC_RETRY_SECONDS  # a job that is not known yet would not be waited for
        if not await self._adopt_orphans(schedule):
            return 0.0  # what is not adopted yet would not be waited for
        now = context.now()
        plan = plan_schedule(schedule, self._jobs(schedule), now, NEXT_RUNS)
        blocker = await self._act(schedule, plan)
        jobs = self._jobs(schedule)
        written = await write_status(context, schedule, schedule_status(schedule, jobs, plan, blocker, now))
        if written is None:
            return 0.0
        self._announce(written, plan, blocker)
        removal = plan_history(schedule, jobs, self._is_needed, now)
        for job in removal.jobs:
            context.leader.check()
            await context.api.delete(AudioBatchJob, job.metadata.namespace, job.metadata.name, job.metadata.uid)
        if blocker is None and (plan.run is not None or plan.missed is not None or plan.old_request):
            return 0.0  # something else may be due
        moments = [moment for moment in (plan.wake_at, removal.wake_at) if moment is not None]
        return min([LOOK_AGAIN_SECONDS, *(max(0.0, (moment - now).total_seconds()) for moment in moments)])

    def _jobs(self, schedule: AudioBatchSchedule) -> list[AudioBatchJob]:
        return self._context.cache.owned_by(AudioBatchJob, schedule.metadata.uid)

    async def _adopt_orphans(self, schedule: AudioBatchSchedule) -> bool:
        """False if one has changed meanwhile."""
        adopted = True
        for job in self._by_schedule.of(schedule.metadata.name):
            if kinship(job, schedule) is Kinship.ORPHAN and job.metadata.deletion_timestamp is None:
                adopted &= await self._adopt(schedule, job)
        return adopted

    async def _adopt(self, schedule: AudioBatchSchedule, job: AudioBatchJob) -> bool:
        """False if it has changed meanwhile; the cache then holds the newer one."""
        context, metadata = self._context, job.metadata
        context.leader.check()
        try:
            adopted = await context.api.set_owner(
                AudioBatchJob,
                metadata.namespace,
                metadata.name,
                owner_reference(schedule),
                metadata.resource_version,
            )
        except (Conflict, NotFound):
            await read_again(context, job)
            return False
        observe(context, adopted)
        return True

    async def _act(self, schedule: AudioBatchSchedule, plan: SchedulePlan) -> Blocker | None:
        """What keeps a job from being made, if so."""
        try:
            if plan.run is not None:
                blocker = await self._start(schedule, plan.run)
                if blocker is None:
                    await self._replace(schedule, job_name(schedule.metadata.name, plan.run.slot), plan.replaced)
                return blocker
            if plan.problem is None and (_is_new(schedule) or is_blocked(schedule)):
                await self._try(schedule)
        except Forbidden as error:
            namespace = schedule.metadata.namespace
            return Blocker(
                Reason.JOB_FORBIDDEN,
                f"{error}; where a quota or a policy refuses jobs, raise it; else create in namespace {namespace} a"
                " Role with create, patch and delete on audiobatchjobs.voxfleet.dev, and a RoleBinding of it to the"
                " operator's service account",
            )
        except Invalid as error:
            return Blocker(Reason.JOB_REFUSED, f"{error}; mend spec.jobTemplate")
        return None

    async def _start(self, schedule: AudioBatchSchedule, run: Run) -> Blocker | None:
        """Finds the run's job or makes it. Raises KubeError."""
        context, namespace = self._context, schedule.metadata.namespace
        name = job_name(schedule.metadata.name, run.slot)
        found = context.cache.get(AudioBatchJob, namespace, name)
        if found is None:
            context.leader.check()
            try:
                made = AudioBatchJob.load(await context.api.create(job_body(schedule, run)))
            except AlreadyExists:
                found = await context.api.get(AudioBatchJob, namespace, name)
                if found is None:
                    raise
                observe(context, found)
            else:
                observe(context, made)
                context.metrics.runs.labels(RUN_STARTED).inc()
                return None
        match kinship(found, schedule):
            case Kinship.FOREIGN:
                return Blocker(
                    Reason.JOB_NAME_TAKEN,
                    f"AudioBatchJob {name} exists and is not this schedule's, so the run of {timestamp(run.slot)} has"
                    " no job; delete it or let it be owned by this schedule",
                )
            case Kinship.ORPHAN:
                await self._adopt(schedule, found)
        return None

    async def _try(self, schedule: AudioBatchSchedule) -> None:
        """Asks the API server whether it would take a job, so that a template is refused by day. Raises KubeError."""
        self._context.leader.check()
        try:
            await self._context.api.check(job_body(schedule, Run(self._context.now(), StartedBy.SLOT)))
        except AlreadyExists:
            return

    async def _replace(self, schedule: AudioBatchSchedule, name: str, jobs: Collection[AudioBatchJob]) -> None:
        """Cancels `jobs` for the job `name`. One that was there and has ended takes nobody's place."""
        found = self._context.cache.get(AudioBatchJob, schedule.metadata.namespace, name)
        if found is None or has_ended(found):
            return
        for job in jobs:
            if await self._cancel(job):
                note = f"job {job.metadata.name} is cancelled, as job {name} takes its place"
                self._context.events.publish(schedule, EventReason.JOB_REPLACED, note)

    async def _cancel(self, job: AudioBatchJob) -> bool:
        """False if it is gone meanwhile."""
        context, metadata = self._context, job.metadata
        context.leader.check()
        try:
            cancelled = await context.api.change_spec(
                AudioBatchJob, metadata.namespace, metadata.name, {"cancel": True}, uid=metadata.uid
            )
        except (Conflict, NotFound):
            await read_again(context, job)
            return False
        observe(context, cancelled)
        return True

    def _is_needed(self, job: AudioBatchJob) -> bool:
        """Whether a rerun that is not accepted yet will take its clips, or no statement counts all its machine time:
        once its shards are gone, nobody knows what that was for.
        """
        cache, counts = self._context.cache, partial(self._statements.counts, synced=self._context.synced())
        shards = cache.owned_by(AudioShard, job.metadata.uid)
        if not all(counts(record) for shard in shards for record in shard.status.attempts):
            return True
        return any(
            other.spec.source is not None
            and other.spec.source.job_ref.name == job.metadata.name
            and other.status.contract is None
            for other in cache.all(AudioBatchJob, job.metadata.namespace)
        )

    def _announce(self, new: AudioBatchSchedule, plan: SchedulePlan, blocker: Blocker | None) -> None:
        publish = self._context.events.publish
        if plan.run is not None and blocker is None:
            name = job_name(new.metadata.name, plan.run.slot)
            log.info("run started", schedule=new.metadata.name, namespace=new.metadata.namespace, job=name)
            publish(new, EventReason.JOB_STARTED, f"job {name} runs for {timestamp(plan.run.slot)}")
        if plan.missed is not None and (blocker is None or plan.run is None):
            publish(new, EventReason.RUNS_MISSED, _missed_note(new, plan.missed))
            self._context.metrics.runs.labels(RUN_MISSED).inc(plan.missed.count)
        if plan.old_request:
            note = f"requestedAt {new.spec.requested_at} is too old to start a run; write the time of now"
            publish(new, EventReason.REQUEST_TOO_OLD, note)


def _missed_note(schedule: AudioBatchSchedule, missed: Missed) -> str:
    first, last = timestamp(missed.first), timestamp(missed.last)
    runs = "1 run was" if missed.count == 1 else f"{missed.count} runs were"
    return (
        f"{runs} missed, from {first} to {last}; to make up for them: voxfleet backfill {schedule.metadata.name}"
        f" -n {schedule.metadata.namespace} --from {first} --to {last}"
    )


def _is_new(schedule: AudioBatchSchedule) -> bool:
    return schedule.status.observed_generation != schedule.metadata.generation


def _schedule_label(job: AudioBatchJob) -> tuple[str, ...]:
    name = job.metadata.labels.get(SCHEDULE_LABEL)
    return () if name is None else (name,)
