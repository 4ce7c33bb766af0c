"""Moves a job through its life: gather what its shards say, decide, then write the status once and create shards."""

from __future__ import annotations

import structlog

from voxfleet_api.conditions import ConditionType, Reason, find
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, VoiceContract
from voxfleet_api.kinds.audio_batch_job import CLEANUP_FINALIZER
from voxfleet_api.kinds.audio_shard import AttemptRecord
from voxfleet_api.kinds.job_status import AudioBatchJobStatus
from voxfleet_operator.cache import key_of
from voxfleet_operator.event_reasons import EventReason
from voxfleet_operator.fleet.mac_view import Outcome
from voxfleet_operator.kube_errors import AlreadyExists
from voxfleet_operator.queue import PLACEMENT, Key
from voxfleet_operator.reconcile.archived_estimates import ArchivedEstimates
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.credentials import Blocked, job_credentials
from voxfleet_operator.reconcile.job.decide import JobSnapshot, plan_job
from voxfleet_operator.reconcile.job.deletion import PlacedAttempt, plan_deletion
from voxfleet_operator.reconcile.job.settled_shards import plan_removal
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job.status import only_progress_moved
from voxfleet_operator.reconcile.job_findings import Blocker, JobBlockers, PendingReasons
from voxfleet_operator.reconcile.job_life import has_ended, standing
from voxfleet_operator.reconcile.lane_outlook import LaneOutlook
from voxfleet_operator.reconcile.lease_clock import LeaseClock
from voxfleet_operator.reconcile.registration import OutlookOf
from voxfleet_operator.reconcile.shard.facts import ShardFacts
from voxfleet_operator.reconcile.shard.missing_rows import awaits_rows
from voxfleet_operator.reconcile.shard.new_shard import NewShard, belongs, shard_body, shard_name
from voxfleet_operator.reconcile.shard.status import current, is_live
from voxfleet_operator.reconcile.status_writer import differs, observe, write_finalizers, write_status
from voxfleet_operator.reconcile.stored_statements import StoredStatements
from voxfleet_shared import crash_points

BLOCKED_RETRY_SECONDS = 10.0
NAME_TAKEN_RETRY_SECONDS = 30.0
DELETE_POLL_SECONDS = 1.0
UNREACHABLE_POLL_SECONDS = 5.0

log = structlog.get_logger(__name__)


class JobReconciler:
    def __init__(
        self,
        context: Context,
        blockers: JobBlockers,
        pending_reasons: PendingReasons,
        archived_estimates: ArchivedEstimates,
        outlook: OutlookOf,
    ) -> None:
        self._context = context
        self._blockers = blockers
        self._pending_reasons = pending_reasons
        self._archived_estimates = archived_estimates
        self._outlook = outlook
        self._outlooks: dict[str, tuple[float, LaneOutlook]] = {}
        """By job UID: when all Macs were looked at for it, and what was found."""
        self._facts = context.cache.derived(AudioShard, ShardFacts.of)
        self._written_seconds: dict[str, float] = {}
        self._taken_names: dict[str, Blocker] = {}
        """By job UID: the shard's name that another object has."""
        self._confirmed: dict[str, set[PlacedAttempt]] = {}
        self._stored = StoredStatements(context.cache)
        self._lease_clock = LeaseClock(context)

    async def reconcile(self, key: Key) -> float | None:
        job = self._context.cache.get(AudioBatchJob, key.namespace, key.name)
        if job is None:
            self._forget_gone()
            return None
        uid = job.metadata.uid
        shards = JobShards.of(job, self._context.cache.owned_by(AudioShard, uid), self._facts.of)
        if job.metadata.deletion_timestamp is not None:
            return await self._delete(job, shards)
        again = await self._advance(job, shards)
        return again if again is not None else await self._remove_settled(job, shards)

    async def _advance(self, job: AudioBatchJob, shards: JobShards) -> float | None:
        snapshot = await self._gather(job, shards)
        decision = plan_job(snapshot, self._context.timestamp())
        if decision.add_finalizer:
            if await write_finalizers(self._context, job, [*job.metadata.finalizers, CLEANUP_FINALIZER]) is not None:
                crash_points.point("finalizer-added")
            return 0.0
        wait_seconds = self._wait_before_writing(job, decision.status)
        if wait_seconds == 0:
            written = await write_status(self._context, job, decision.status)
            if written is None:
                return 0.0
            self._written_seconds[job.metadata.uid] = self._context.clock()
            if decision.records_plan:
                crash_points.point("plan-recorded")
            self._entered(job, written, shards)
        if not await self._create(job, decision.create):
            return NAME_TAKEN_RETRY_SECONDS
        if decision.create and self._taken_names.pop(job.metadata.uid, None) is not None:
            return 0.0
        waits = (wait_seconds, decision.again_seconds, BLOCKED_RETRY_SECONDS if snapshot.blocker is not None else None)
        return min((seconds for seconds in waits if seconds is not None), default=None)

    async def _gather(self, job: AudioBatchJob, shards: JobShards) -> JobSnapshot:
        return JobSnapshot(
            job=job,
            shards=shards,
            contract=self._context.cache.get(VoiceContract, job.metadata.namespace, job.spec.contract_ref.name),
            source=self._source(job),
            blocker=await self._blocker(job),
            pending_reason=self._pending_reasons.get(job.metadata.uid),
            outlook=self._lane_outlook(job, shards),
            counted_seconds=self._context.clock() - self._context.leader.counts_from_seconds,
            unled=self._context.leader.unled,
            lost_margin_seconds=self._context.options.lost_margin_seconds,
            lost_seconds={} if job.spec.max_machine_seconds is None else self._lost_seconds(shards),
        )

    def _lost_seconds(self, shards: JobShards) -> dict[str, float]:
        return {
            shard.metadata.uid: self._lease_clock.mac_contact(record, shard.status.lease_seconds or 0).lost_for_seconds
            for shard in filter(is_live, shards.all)
            if (record := current(shard.status)) is not None
        }

    def _source(self, job: AudioBatchJob) -> AudioBatchJob | None:
        asked = job.spec.source
        if asked is None:
            return None
        return self._context.cache.get(AudioBatchJob, job.metadata.namespace, asked.job_ref.name)

    def _lane_outlook(self, job: AudioBatchJob, shards: JobShards) -> LaneOutlook | None:
        """None before the plan and after the job. Looks again no more often than progress is written."""
        uid, found_plan = job.metadata.uid, None if shards.plan is None else shards.plan.status.plan
        plan = job.status.plan or found_plan
        if plan is None or has_ended(job):
            self._outlooks.pop(uid, None)
            return None
        now, found = self._context.clock(), self._outlooks.get(uid)
        if found is None or now - found[0] >= self._context.options.progress_interval_seconds:
            found = self._outlooks[uid] = now, self._outlook(job, plan.model_digest)
        return found[1]

    async def _blocker(self, job: AudioBatchJob) -> Blocker | None:
        """Reads the Secret before the job is accepted, and afterwards only if a shard reported that it is blocked."""
        uid = job.metadata.uid
        if has_ended(job):
            self._blockers.clear(uid)
            return None
        if job.status.contract is not None and uid not in self._blockers:
            return self._taken_names.get(uid)
        try:
            await job_credentials(self._context, job)
        except Blocked as blocked:
            return blocked.blocker
        if self._blockers.clear(uid):
            self._context.queue.add(PLACEMENT)
        return None

    def _wait_before_writing(self, job: AudioBatchJob, status: AudioBatchJobStatus) -> float | None:
        """The wait in seconds; None if there is nothing to write. Only progress waits, for its interval."""
        if not differs(job.status, status):
            return None
        if not only_progress_moved(job.status, status):
            return 0.0
        last = self._written_seconds.get(job.metadata.uid)
        if last is None:
            return 0.0
        return max(0.0, last + self._context.options.progress_interval_seconds - self._context.clock())

    def _entered(self, old: AudioBatchJob, new: AudioBatchJob, shards: JobShards) -> None:
        """Logs that the job enters a new state. Wakes live shards if it wants less of them now, and those that begin to
        wait for rows, as it has ended.
        """
        if standing(old) != standing(new):
            for shard in shards.all:
                if is_live(shard) or awaits_rows(new, shard):
                    self._context.queue.add(key_of(shard))
        before = find(old.status.conditions, ConditionType.COMPLETE)
        after = find(new.status.conditions, ConditionType.COMPLETE)
        if after is None or (before is not None and before.reason == after.reason):
            return
        log.info("job", job=new.metadata.name, namespace=new.metadata.namespace, state=after.reason)

    async def _create(self, job: AudioBatchJob, wanted: tuple[NewShard, ...]) -> bool:
        """False if another object has a shard's name."""
        for new in wanted:
            self._context.leader.check()
            try:
                shard = AudioShard.load(await self._context.api.create(shard_body(job, new)))
            except AlreadyExists:
                if not await self._adopt(job, shard_name(job.metadata.name, new.stage, new.ordinal, new.path)):
                    return False
                continue
            observe(self._context, shard)
            crash_points.point("shard-created")
        return True

    async def _adopt(self, job: AudioBatchJob, name: str) -> bool:
        """Reads a shard that exists although the cache lacks it. False if it is not this job's."""
        found = await self._context.api.get(AudioShard, job.metadata.namespace, name)
        if found is None:
            return True
        if belongs(found, job):
            observe(self._context, found)
            return True
        note = f"AudioShard {name} exists and is not this job's; delete it"
        blocker = Blocker(Reason.SHARD_NAME_TAKEN, note)
        if self._taken_names.get(job.metadata.uid) != blocker:
            self._taken_names[job.metadata.uid] = blocker
            log.warning("shard name taken", job=job.metadata.name, namespace=job.metadata.namespace, shard=name)
            self._context.queue.add(key_of(job))
        return False

    async def _remove_settled(self, job: AudioBatchJob, shards: JobShards) -> float | None:
        """Deletes shards whose account is closed, so that their number does not grow with the nights."""
        removal = plan_removal(job, shards, self._is_counted, self._context.now())
        for shard in removal.shards:
            self._context.leader.check()
            metadata = shard.metadata
            await self._context.api.delete(AudioShard, metadata.namespace, metadata.name, metadata.uid)
        return removal.again_seconds

    def _is_counted(self, shard: AudioShard, record: AttemptRecord) -> bool:
        if self._context.archive is not None and not self._archived_estimates.has(shard, record):
            return False
        return self._stored.counts(record, synced=self._context.synced())

    async def _delete(self, job: AudioBatchJob, shards: JobShards) -> float | None:
        if CLEANUP_FINALIZER not in job.metadata.finalizers:
            return None
        context = self._context
        macs = {mac.metadata.name for mac in context.cache.all(MacAgent)}
        confirmed = self._confirmed.setdefault(job.metadata.uid, set())
        deletion = plan_deletion(job, shards, macs, context.fleet.views(), confirmed, context.now())
        for placed in deletion.deletes:
            if self._is_gone(placed):
                confirmed.add(placed)
                crash_points.point("delete-answered")
        if not deletion.finish:
            if deletion.deletes and set(deletion.deletes) <= confirmed and not deletion.unreachable:
                return 0.0
            return DELETE_POLL_SECONDS if deletion.deletes else UNREACHABLE_POLL_SECONDS
        if deletion.gave_up is not None:
            note = f"deleted although attempts may be left on Macs: {deletion.gave_up}; they are removed on contact"
            log.warning("deletion gave up", job=job.metadata.name, namespace=job.metadata.namespace, why=note)
            context.events.publish(job, EventReason.CLEANUP_INCOMPLETE, note)
        return await self._finish_deletion(job, shards)

    def _is_gone(self, placed: PlacedAttempt) -> bool:
        """States that the attempt is to go, and returns whether its Mac has confirmed that nothing is left."""
        mac, key = placed
        self._context.leader.check()
        answer = self._context.fleet.delete(self._context.fleet.view(mac), key)
        return answer is not None and answer.outcome is Outcome.GONE

    async def _finish_deletion(self, job: AudioBatchJob, shards: JobShards) -> float | None:
        for shard in shards.all:
            self._context.leader.check()
            metadata = shard.metadata
            await self._context.api.delete(AudioShard, metadata.namespace, metadata.name, metadata.uid)
        others = [name for name in job.metadata.finalizers if name != CLEANUP_FINALIZER]
        written = await write_finalizers(self._context, job, others)
        if written is None and self._context.cache.by_uid(AudioBatchJob, job.metadata.uid) is not None:
            return 0.0
        self._forget_gone()
        return None

    def _forget_gone(self) -> None:
        """Whoever deleted a job, and however: nothing is remembered of it."""
        known = self._written_seconds.keys() | self._confirmed.keys() | self._taken_names.keys() | self._blockers.jobs()
        known |= self._outlooks.keys()
        for uid in [uid for uid in known if self._context.cache.by_uid(AudioBatchJob, uid) is None]:
            self._written_seconds.pop(uid, None)
            self._outlooks.pop(uid, None)
            self._confirmed.pop(uid, None)
            self._taken_names.pop(uid, None)
            self._blockers.clear(uid)
