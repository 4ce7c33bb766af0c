"""Sends a shard's newest attempt to its Mac and records how it ends.

Consistency: status.attempt is the fencing token. An attempt is written into status before its Mac is called, and
every write is conditional on the very version that was decided on. What a Mac reports about older attempts changes
nothing but the account of machine time.
"""

from __future__ import annotations

import structlog

from voxfleet_api.conditions import ConditionType, Reason, find
from voxfleet_api.failures import FailureClass, Remedy, rule_of
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord, AudioShardStatus, Stage
from voxfleet_api.protocol import AttemptFailure, AttemptKey, AttemptSpec
from voxfleet_operator.cache import key_of
from voxfleet_operator.fleet.mac_view import AgentRefused, AgentUnreachable
from voxfleet_operator.queue import PLACEMENT, Key
from voxfleet_operator.reconcile.backoffs import Backoffs
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.credentials import Blocked, job_credentials
from voxfleet_operator.reconcile.job_findings import Blocker, JobBlockers
from voxfleet_operator.reconcile.job_life import has_ended
from voxfleet_operator.reconcile.lease_clock import LeaseClock
from voxfleet_operator.reconcile.namespace_access import access_lost, open_prefixes
from voxfleet_operator.reconcile.shard.attempt_spec import SpecNotReady, attempt_request, attempt_spec
from voxfleet_operator.reconcile.shard.decide import PutRefusal, ShardAction, decide, put_refusal, superseded, usage_of
from voxfleet_operator.reconcile.shard.new_shard import belongs
from voxfleet_operator.reconcile.shard.status import (
    ATTEMPT_CAP,
    attempt_ended,
    committed,
    current,
    is_failed,
    with_usages,
)
from voxfleet_operator.reconcile.status_writer import write_status
from voxfleet_shared import crash_points

SETTLE_SECONDS = 2.0
"""The time from a call to the next reconcile, unless an event from the agent comes first."""
UNREACHABLE_RETRY_SECONDS = 2.0
NOT_NOW_RETRY_SECONDS = 10.0

log = structlog.get_logger(__name__)


class ShardReconciler:
    def __init__(self, context: Context, backoffs: Backoffs, blockers: JobBlockers, lease_clock: LeaseClock) -> None:
        self._context = context
        self._backoffs = backoffs
        self._blockers = blockers
        self._lease_clock = lease_clock

    async def reconcile(self, key: Key) -> float | None:
        shard = self._context.cache.get(AudioShard, key.namespace, key.name)
        if shard is None or shard.metadata.deletion_timestamp is not None:
            return None
        job = self._context.cache.by_uid(AudioBatchJob, shard.spec.job_ref.uid)
        if job is None or job.metadata.deletion_timestamp is not None or not belongs(shard, job):
            return None
        record = current(shard.status)
        if record is not None and record.outcome is AttemptOutcome.ASSIGNED:
            return await _AssignedAttempt(self, job, shard, record).reconcile()
        return await self._settle_ended_attempts(shard)

    async def _settle_ended_attempts(self, shard: AudioShard) -> float | None:
        """Records their machine time, and deletes what their Macs still hold of them."""
        left = superseded(shard, self._context.fleet.views())
        status = with_usages(shard.status, left.usages)
        if await write_status(self._context, shard, status) is None:
            return 0.0
        again: float | None = None
        for mac, key in left.deletes:
            if not await _delete(self._context, shard, mac, key.attempt):
                again = SETTLE_SECONDS
        return again


class _AssignedAttempt:
    """A shard's newest attempt, which its Mac runs or is to run."""

    def __init__(
        self, reconciler: ShardReconciler, job: AudioBatchJob, shard: AudioShard, record: AttemptRecord
    ) -> None:
        self._context = reconciler._context
        self._backoffs = reconciler._backoffs
        self._blockers = reconciler._blockers
        self._lease_clock = reconciler._lease_clock
        self._job = job
        self._shard = shard
        self._record = record
        self._view = self._context.fleet.view(record.mac)
        self._key = AttemptKey(shard.metadata.uid, record.attempt)
        self._log = log.bind(
            namespace=job.metadata.namespace,
            job=job.metadata.name,
            shard=shard.metadata.name,
            attempt=record.attempt,
            mac=record.mac,
        )

    async def reconcile(self) -> float | None:
        if has_ended(self._job):
            return await self._stop()
        await self._delete_superseded()
        contact = self._lease_clock.mac_contact(self._shard)
        match decide(self._shard, self._view, contact.state):
            case ShardAction.PUT:
                return await self._put()
            case ShardAction.COMMIT:
                return await self._commit()
            case ShardAction.FAIL:
                return await self._fail()
            case ShardAction.REVOKE:
                return await self._revoke(None, "the agent holds this attempt with another spec or deletes it")
            case ShardAction.REPLACE:
                return await self._replace()
            case ShardAction.WAIT:
                return None if self._view.connected else contact.lost_in_seconds

    async def _stop(self) -> float | None:
        if not self._view.connected:
            return None
        return await self._revoke(None, "the job has ended")

    async def _delete_superseded(self) -> None:
        """Deletes earlier attempts that a Mac brings back; their usage is recorded with the next write."""
        for mac, key in superseded(self._shard, self._context.fleet.views()).deletes:
            await _delete(self._context, self._shard, mac, key.attempt)

    async def _put(self) -> float | None:
        lease_seconds = self._shard.status.lease_seconds or 1
        prefixes = self._open_prefixes()
        lost = access_lost(self._job.spec, prefixes, self._view.machine)
        if lost is not None:
            return await self._revoke(None, lost) if self._context.synced() else NOT_NOW_RETRY_SECONDS
        try:
            spec = self._spec()
            credentials = await job_credentials(self._context, self._job)
            request = attempt_request(spec, lease_seconds, credentials, prefixes)
        except SpecNotReady as error:
            self._log.warning("attempt not sent", error=str(error))
            return NOT_NOW_RETRY_SECONDS
        except Blocked as blocked:
            return self._block(blocked.blocker)
        if request.spec_digest != self._shard.status.spec_digest:
            return await self._revoke(None, "what this attempt would do has changed since it was assigned")
        self._unblock()
        self._context.leader.check()
        self._lease_clock.put_sent(self._record.mac)
        try:
            await self._context.fleet.put(self._record.mac, *self._key, request)
        except AgentUnreachable as error:
            # It is unknown whether the attempt runs: the same PUT is sent again, unless the Mac counts as lost first.
            self._log.warning("agent unreachable", error=str(error))
            return UNREACHABLE_RETRY_SECONDS
        except AgentRefused as error:
            return await self._refused(put_refusal(error.status, error.problem), error.retry_after_seconds)
        crash_points.point("put-answered")
        self._log.info("attempt sent")
        return SETTLE_SECONDS

    def _open_prefixes(self) -> tuple[str, ...]:
        mac = self._context.cache.get(MacAgent, "", self._view.name)
        labels = self._context.cache.namespace_labels(self._job.metadata.namespace)
        return () if mac is None else open_prefixes(mac.spec.access, labels)

    def _spec(self) -> AttemptSpec:
        shards = self._context.cache.owned_by(AudioShard, self._job.metadata.uid)
        own = [shard for shard in shards if belongs(shard, self._job)]
        return attempt_spec(self._job, self._shard, self._record.attempt, own)

    def _block(self, blocker: Blocker) -> float:
        if self._blockers.report(self._job.metadata.uid, blocker):
            self._context.queue.add(key_of(self._job))
        return NOT_NOW_RETRY_SECONDS

    def _unblock(self) -> None:
        if self._blockers.clear(self._job.metadata.uid):
            self._context.queue.add(key_of(self._job))

    async def _refused(self, refusal: PutRefusal, retry_after_seconds: float | None) -> float | None:
        if not refusal.final:
            self._log.warning("agent refuses for now", error=refusal.message)
            return retry_after_seconds or NOT_NOW_RETRY_SECONDS
        if refusal.mac_pauses:
            self._backoffs.mac_failed(self._record.mac, self._context.clock(), retry_after_seconds or 0.0)
        return await self._revoke(refusal.failure_class, refusal.message)

    async def _commit(self) -> float | None:
        crash_points.point("commit-seen")
        report = self._view.attempts[self._key]
        if report.result is None:
            raise ValueError(f"{self._shard.metadata.name}: attempt {report.attempt} succeeded without a result")
        usage = usage_of(self._shard, self._record, self._view)
        status = committed(self._shard, report, report.result, usage, self._context.timestamp())
        if await write_status(self._context, self._shard, self._with_superseded_usages(status)) is None:
            return 0.0
        if self._shard.spec.stage is Stage.FINALIZE:
            crash_points.point("finalize-committed")
        self._backoffs.shard_ended(self._shard.metadata.uid)
        self._backoffs.mac_succeeded(self._record.mac)
        self._log.info("committed")
        return 0.0

    async def _fail(self) -> float | None:
        report = self._view.attempts[self._key]
        failure = report.failure or AttemptFailure(
            failure_class=FailureClass.RUNTIME_MISMATCH, message="the attempt failed and its agent did not say why"
        )
        usage = usage_of(self._shard, self._record, self._view)
        status = attempt_ended(
            self._shard,
            AttemptOutcome.FAILED,
            failure.failure_class,
            failure.message,
            usage,
            self._context.timestamp(),
            report,
        )
        if rule_of(failure.failure_class).remedy is Remedy.OTHER_MAC:
            self._backoffs.mac_failed(self._record.mac, self._context.clock())
        return await self._end(status)

    async def _revoke(self, failure_class: str | None, message: str) -> float | None:
        """Ends an attempt for good. Its Mac deletes it first, so that a late PUT finds a tombstone."""
        if await _delete(self._context, self._shard, self._record.mac, self._record.attempt) is None:
            return UNREACHABLE_RETRY_SECONDS
        refused = self._record.model_copy(update={"outcome": AttemptOutcome.REFUSED})
        status = attempt_ended(
            self._shard,
            AttemptOutcome.REFUSED,
            failure_class,
            message,
            usage_of(self._shard, refused, self._view),
            self._context.timestamp(),
        )
        return await self._end(status)

    async def _replace(self) -> float | None:
        """Leaves the next attempt to placement, which assigns it once a Mac can take it; ends only the last attempt."""
        if self._record.attempt < ATTEMPT_CAP:
            self._context.queue.add(PLACEMENT)
            return None
        message = f"no contact with {self._record.mac} for longer than its lease"
        usage = usage_of(self._shard, self._record, self._view)
        status = attempt_ended(
            self._shard,
            AttemptOutcome.LOST,
            FailureClass.MACHINE_LOST,
            message,
            usage,
            self._context.timestamp(),
        )
        return await self._end(status)

    async def _end(self, status: AudioShardStatus) -> float | None:
        written = await write_status(self._context, self._shard, self._with_superseded_usages(status))
        if written is None:
            return 0.0
        self._backoffs.shard_failed(self._shard.metadata.uid, self._record.attempt, self._context.clock())
        ended = current(written.status)
        why = find(written.status.conditions, ConditionType.COMMITTED)
        self._log.warning(
            "attempt ended",
            outcome=None if ended is None else str(ended.outcome),
            reason=Reason.UNKNOWN.value if why is None else why.reason,
            for_good=is_failed(written),
        )
        return 0.0

    def _with_superseded_usages(self, status: AudioShardStatus) -> AudioShardStatus:
        return with_usages(status, superseded(self._shard, self._context.fleet.views()).usages)


async def _delete(context: Context, shard: AudioShard, mac: str, attempt: int) -> bool | None:
    """True: nothing is left on the Mac. False: the attempt is being deleted and never runs again. None: unknown."""
    context.leader.check()
    try:
        return await context.fleet.delete(mac, shard.metadata.uid, attempt)
    except (AgentRefused, AgentUnreachable) as error:
        log.warning("attempt not deleted", shard=shard.metadata.name, attempt=attempt, mac=mac, error=str(error))
        return None
