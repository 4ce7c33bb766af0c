"""Sends a shard's newest attempt to its Mac and records how it ends.

Consistency: status.attempt is the fencing token. An attempt is written into status before its Mac is called, and
every write is conditional on the very version that was decided on. While the next attempt is being written, nothing is
done about the shard. What a Mac reports about older attempts changes
nothing but the account of machine time.
"""

from __future__ import annotations

import math
from datetime import datetime

import structlog

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import ConditionType, Reason, find
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord, AudioShardStatus, Stage
from voxfleet_api.protocol import AttemptFailure, AttemptState
from voxfleet_operator.cache import key_of
from voxfleet_operator.event_reasons import EventReason
from voxfleet_operator.fleet.mac_view import AgentRefused, MacView, Order, Outcome, attempt_view
from voxfleet_operator.queue import PLACEMENT, Key
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.credentials import (
    CREDENTIALS_CHECK_SECONDS,
    Blocked,
    CredentialReadings,
)
from voxfleet_operator.reconcile.job_findings import Blocker
from voxfleet_operator.reconcile.job_life import JobWish, why_stopped, wish_of
from voxfleet_operator.reconcile.mac_closing import Recall, closing, recall
from voxfleet_operator.reconcile.registration import SharedFindings
from voxfleet_operator.reconcile.shard.attempt_spec import SpecNotReady
from voxfleet_operator.reconcile.shard.decide import (
    ShardAction,
    decide,
    put_refusal,
    put_wait_seconds,
    refused_as,
    usage_of,
)
from voxfleet_operator.reconcile.shard.ended_attempts import (
    UNANSWERED_POLL_SECONDS,
    EndedAttempts,
    delete_attempt,
    is_being_deleted,
    left_of_superseded,
)
from voxfleet_operator.reconcile.shard.envelope import Envelope
from voxfleet_operator.reconcile.shard.mac_account import MacAccount
from voxfleet_operator.reconcile.shard.new_shard import belongs
from voxfleet_operator.reconcile.shard.split import is_split_due_once_lost
from voxfleet_operator.reconcile.shard.status import (
    attempt_ended,
    committed,
    current,
    is_failed,
    retries_used,
    with_usages,
)
from voxfleet_operator.reconcile.status_writer import write_status
from voxfleet_shared import crash_points

NOT_NOW_RETRY_SECONDS = 10.0
TAKES_ENVELOPE = frozenset({AttemptState.ACCEPTED, AttemptState.RUNNING})
PREDECESSOR_POLL_SECONDS = 2.0
"""Between two looks at an attempt that works on a Mac that does not answer."""

log = structlog.get_logger(__name__)


class ShardReconciler:
    def __init__(self, context: Context, findings: SharedFindings) -> None:
        self._context = context
        self._findings = findings
        self._credentials = CredentialReadings(context)
        self._ended_attempts = EndedAttempts(context)

    async def reconcile(self, key: Key) -> float | None:
        shard = self._context.cache.get(AudioShard, key.namespace, key.name)
        if shard is None or shard.metadata.deletion_timestamp is not None:
            return None
        if self._context.cache.is_assumed(shard.metadata.uid):
            return None  # the end of that write wakes it
        job = self._context.cache.by_uid(AudioBatchJob, shard.spec.job_ref.uid)
        if job is None or job.metadata.deletion_timestamp is not None or not belongs(shard, job):
            return None
        record = current(shard.status)
        if record is not None and record.outcome is AttemptOutcome.ASSIGNED:
            return await _AssignedAttempt(self, job, shard, record).reconcile()
        return await self._ended_attempts.settle(job, shard)


class _AssignedAttempt:
    """A shard's newest attempt, which its Mac runs or is to run."""

    def __init__(
        self, reconciler: ShardReconciler, job: AudioBatchJob, shard: AudioShard, record: AttemptRecord
    ) -> None:
        self._ended_attempts = reconciler._ended_attempts
        self._context = reconciler._context
        self._backoffs = reconciler._findings.backoffs
        self._blockers = reconciler._findings.blockers
        self._lease_clock = reconciler._findings.lease_clock
        self._credentials = reconciler._credentials
        self._job = job
        self._shard = shard
        self._record = record
        self._view = attempt_view(record, self._context.fleet.views()) or _out_of_reach(record)
        self._mac = MacAccount(self._context, reconciler._findings, record, self._view.name)
        self._envelope = Envelope(self._context, job, shard, record.attempt, self._view)
        self._key = AttemptKey(shard.metadata.uid, record.attempt)
        self._log = log.bind(
            namespace=job.metadata.namespace,
            job=job.metadata.name,
            shard=shard.metadata.name,
            attempt=record.attempt,
            mac=record.mac,
        )

    async def reconcile(self) -> float | None:
        works_elsewhere = self._delete_superseded()
        self._mac.answered(self._context.fleet.answer(self._view, Order.PUT, self._key))
        contact = self._lease_clock.mac_contact(self._record, self._shard.status.lease_seconds or 0)
        wish = wish_of(self._job, self._shard.spec.stage)
        match decide(self._shard, self._view, contact.state, wish, self._recall()):
            case ShardAction.PUT if works_elsewhere and self._assigned_seconds() < contact.lease_and_margin_seconds:
                return PREDECESSOR_POLL_SECONDS
            case ShardAction.PUT:
                return await self._put()
            case ShardAction.COMMIT:
                return await self._commit()
            case ShardAction.FAIL:
                return await self._fail()
            case ShardAction.REVOKE if wish is JobWish.WORK:
                return await self._revoke(
                    None,
                    "the agent holds this attempt with another spec, deletes it, or calls it done without its result",
                )
            case ShardAction.REVOKE:
                return await self._revoke(None, why_stopped(self._job), AttemptOutcome.RETURNED)
            case ShardAction.RECALL:
                message = (
                    f"{self._record.mac} drains, or its window or rental ends; the clips that it delivered are kept"
                )
                return await self._revoke(FailureClass.MACHINE_RETURNED, message, AttemptOutcome.RETURNED)
            case ShardAction.REPLACE:
                return await self._replace(contact.lost_for_seconds)
            case ShardAction.LOSE:
                return await self._lose(contact.lost_for_seconds)
            case ShardAction.WAIT:
                return await self._renew_envelope() if self._view.connected else contact.lost_in_seconds

    def _recall(self) -> Recall:
        mac, now = self._context.cache.get(MacAgent, "", self._view.name), self._context.now()
        return Recall.NONE if mac is None else recall(closing(mac, now), self._shard.spec.stage, self._view, now)

    def _delete_superseded(self) -> bool:
        """Deletes earlier attempts that a Mac brings back; their usage is recorded with the next write.

        Returns whether one that works may go on doing so, because its Mac did not answer.
        """
        works = False
        for view, key in left_of_superseded(self._context, self._shard).deletes:
            report = view.attempts[key]
            stopped = delete_attempt(self._context, view, key) in (Outcome.DELETING, Outcome.GONE)
            works |= not (stopped or report.has_ended or report.state is AttemptState.PARKED)
        return works

    def _assigned_seconds(self) -> float:
        """How long ago the attempt was assigned."""
        at = self._shard.status.assigned_at
        return math.inf if at is None else (self._context.now() - datetime.fromisoformat(at)).total_seconds()

    async def _put(self) -> float | None:
        answer = self._context.fleet.answer(self._view, Order.PUT, self._key)
        if answer is not None:
            if answer.outcome is Outcome.PENDING:
                return UNANSWERED_POLL_SECONDS
            if (
                answer.refusal is not None
                and not answer.renews
                and put_refusal(answer.refusal, self._record.attempt).final
            ):
                return await self._give_back(answer.refusal)
            if (wait_seconds := put_wait_seconds(answer, self._context.clock())) > 0:
                return wait_seconds
        return await self._send()

    async def _send(self) -> float | None:
        lost = self._envelope.access_lost()
        if lost is not None:
            return await self._revoke(None, lost) if self._context.synced() else NOT_NOW_RETRY_SECONDS
        try:
            request = self._envelope.request(await self._credentials.read(self._job))
        except SpecNotReady as error:
            self._log.warning("attempt not sent", error=str(error))
            return NOT_NOW_RETRY_SECONDS
        except Blocked as blocked:
            return self._block(blocked.blocker)
        if request.spec_digest != self._shard.status.spec_digest:
            return await self._revoke(None, "what this attempt would do has changed since it was assigned")
        self._unblock()
        if not self._is_newest():
            return 0.0
        self._context.leader.check()
        self._context.fleet.put(self._view, self._key, request)
        return UNANSWERED_POLL_SECONDS

    async def _renew_envelope(self) -> float | None:
        """Sends the PUT of a running attempt again if its job's Secret, or what its Mac opens to the namespace, is no
        longer what its Mac was given.

        What its Mac was given is unknown to a new leader, which therefore sends it once. An attempt whose access is
        gone goes on with what it has, as one without a Secret does.
        """
        report = self._view.attempts.get(self._key)
        if report is None or report.state not in TAKES_ENVELOPE:
            return None
        answer = self._context.fleet.answer(self._view, Order.PUT, self._key)
        if answer is not None and answer.outcome is Outcome.PENDING:
            return UNANSWERED_POLL_SECONDS
        again_seconds = None if self._job.spec.credentials_secret_ref is None else CREDENTIALS_CHECK_SECONDS
        if self._envelope.access_lost() is not None:
            return again_seconds
        given = None
        if answer is not None and answer.outcome is Outcome.ACCEPTED:
            given = answer.credentials, answer.uri_prefixes
        try:
            credentials = await self._credentials.credentials(self._job)
            if given == (credentials, self._envelope.open_prefixes()):
                return again_seconds
            request = self._envelope.request(credentials)
        except (Blocked, SpecNotReady):
            return again_seconds  # the attempt goes on with what it has
        if request.spec_digest != self._shard.status.spec_digest:
            return again_seconds
        if answer is not None and (wait_seconds := put_wait_seconds(answer, self._context.clock())) > 0:
            return wait_seconds
        if not self._is_newest():
            return 0.0
        self._log.info("envelope_renewed")
        self._context.leader.check()
        self._context.fleet.put(self._view, self._key, request, renews=True)
        return UNANSWERED_POLL_SECONDS

    def _is_newest(self) -> bool:
        """Whether the attempt may still be sent: meanwhile its Mac may have been lost and the next one assigned."""
        cache, uid = self._context.cache, self._shard.metadata.uid
        shard = cache.by_uid(AudioShard, uid)
        return shard is not None and not cache.is_assumed(uid) and shard.status.attempt == self._record.attempt

    def _block(self, blocker: Blocker) -> float:
        if self._blockers.report(self._job.metadata.uid, blocker):
            self._context.queue.add(key_of(self._job))
        return NOT_NOW_RETRY_SECONDS

    def _unblock(self) -> None:
        if self._blockers.clear(self._job.metadata.uid):
            self._context.queue.add(key_of(self._job))

    async def _give_back(self, refusal: AgentRefused) -> float | None:
        """Leaves the next attempt to another Mac, as this one has refused for good."""
        if not self._deleted():
            return UNANSWERED_POLL_SECONDS
        meaning = put_refusal(refusal, self._record.attempt)
        if meaning.used_attempt is not None and meaning.used_attempt > self._record.attempt:
            self._announce_restored(meaning.used_attempt)
        self._mac.refused(refusal, meaning)
        outcome = refused_as(meaning, self._shard.status)
        return await self._revoke(meaning.failure_class, meaning.message, outcome, used_attempt=meaning.used_attempt)

    def _announce_restored(self, used: int) -> None:
        note = (
            f"{self._view.name} has had attempts of shard {self._shard.metadata.name} up to {used}, of which the API"
            f" server knows none after {self._record.attempt}: was it restored from a backup? Next is attempt"
            f" {used + 1}"
        )
        self._context.events.publish(self._job, EventReason.API_SERVER_RESTORED, note)

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
        self._mac.delivered(self._shard.spec.stage)
        self._log.info("committed")
        return 0.0

    async def _fail(self) -> float | None:
        report = self._view.attempts[self._key]
        failure = report.failure or AttemptFailure(
            failure_class=FailureClass.RUNTIME_MISMATCH, message="the attempt failed and its agent did not say why"
        )
        returned = failure.failure_class is FailureClass.MACHINE_RETURNED
        if returned and self._recall() is Recall.NONE:
            self._mac.gave_back()
        usage = usage_of(self._shard, self._record, self._view)
        status = attempt_ended(
            self._shard,
            AttemptOutcome.RETURNED if returned else AttemptOutcome.FAILED,
            failure.failure_class,
            failure.message,
            usage,
            self._context.timestamp(),
            report,
            retry_limit=self._context.options.retry_limit,
        )
        return await self._end(status)

    async def _revoke(
        self,
        failure_class: str | None,
        message: str,
        outcome: AttemptOutcome = AttemptOutcome.REFUSED,
        *,
        used_attempt: int | None = None,
    ) -> float | None:
        """Ends an attempt for good. Its Mac deletes it first, so that a late PUT finds a tombstone."""
        if not self._deleted():
            return UNANSWERED_POLL_SECONDS
        deleting = is_being_deleted(self._context, self._view, self._key)
        usage = usage_of(self._shard, self._record, self._view, is_being_deleted=deleting)
        status = attempt_ended(
            self._shard,
            outcome,
            failure_class,
            message,
            usage,
            self._context.timestamp(),
            retry_limit=self._context.options.retry_limit,
            used_attempt=used_attempt,
        )
        return await self._end(status)

    def _deleted(self) -> bool:
        """Whether its Mac has confirmed that the attempt never runs again."""
        return delete_attempt(self._context, self._view, self._key) in (Outcome.DELETING, Outcome.GONE)

    async def _replace(self, lost_for_seconds: float) -> float | None:
        """Leaves the next attempt to placement, which assigns it once a Mac can take it; ends only an attempt that no
        other one follows."""
        limits = self._ended_attempts.split_limits(self._job)
        if retries_used(self._shard.status) < limits.retry_limit and not is_split_due_once_lost(self._shard, limits):
            self._context.queue.add(PLACEMENT)
            return UNANSWERED_POLL_SECONDS  # the Mac may come back before anybody has noticed that it was gone
        return await self._lose(lost_for_seconds)

    async def _lose(self, lost_for_seconds: float) -> float | None:
        message = f"no contact with {self._record.mac} for longer than its lease"
        usage = usage_of(self._shard, self._record, self._view)
        status = attempt_ended(
            self._shard,
            AttemptOutcome.LOST,
            FailureClass.MACHINE_LOST,
            message,
            usage,
            self._context.timestamp(),
            retry_limit=self._context.options.retry_limit,
            lost_for_seconds=lost_for_seconds,
        )
        return await self._end(status)

    async def _end(self, status: AudioShardStatus) -> float | None:
        written = await write_status(self._context, self._shard, self._with_superseded_usages(status))
        if written is None:
            return 0.0
        ended = current(written.status)
        if ended is not None and ended.costs_retry:
            self._backoffs.shard_failed(self._shard.metadata.uid, retries_used(written.status), self._context.clock())
            self._mac.failed(ended, self._job.metadata.uid)
        why = find(written.status.conditions, ConditionType.COMMITTED)
        self._log.warning(
            "attempt ended",
            outcome=None if ended is None else str(ended.outcome),
            reason=Reason.UNKNOWN.value if why is None else why.reason,
            for_good=is_failed(written),
        )
        return 0.0

    def _with_superseded_usages(self, status: AudioShardStatus) -> AudioShardStatus:
        return with_usages(status, left_of_superseded(self._context, self._shard).usages)


def _out_of_reach(record: AttemptRecord) -> MacView:
    message = "no MacAgent stands for the machine that has the attempt"
    return MacView(record.mac, connected=False, reason=Reason.UNKNOWN, message=message)
