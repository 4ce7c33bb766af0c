"""What becomes of a shard's attempt counts for or against its Mac: pauses, exclusions, and that it only refuses.

The Mac pauses and not the shard, so that meanwhile another one takes it.
"""

from __future__ import annotations

import structlog

from voxfleet_api.failures import Remedy, rule_of
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord, Stage
from voxfleet_operator.fleet.mac_view import AgentAnswer, AgentRefused, Outcome
from voxfleet_operator.queue import PLACEMENT, Key
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.exclusions import machine_of
from voxfleet_operator.reconcile.registration import SharedFindings
from voxfleet_operator.reconcile.shard.decide import PutRefusal

log = structlog.get_logger(__name__)


class MacAccount:
    """Of the Mac of one attempt."""

    def __init__(self, context: Context, findings: SharedFindings, record: AttemptRecord, mac: str) -> None:
        """`mac`: the name that the machine of the record has now."""
        self._context = context
        self._backoffs = findings.backoffs
        self._exclusions = findings.exclusions
        self._refusing = findings.refusing
        self._machine = machine_of(record)
        self._mac = mac

    def answered(self, put: AgentAnswer | None) -> None:
        """`put`: the newest answer to the attempt's PUT. A Mac that took the attempt has room."""
        if put is None or put.outcome is not Outcome.ACCEPTED or put.renews:
            return
        if self._refusing.took(self._machine, put.at_seconds):
            self._wake(placement=True)

    def refused(self, refusal: AgentRefused, meaning: PutRefusal) -> None:
        now, asked_seconds = self._context.clock(), refusal.retry_after_seconds or 0.0
        if meaning.no_room:
            said = refusal.problem.message
            if self._refusing.refused(self._machine, refusal.status, said, now, asked_seconds).is_shown:
                self._wake()
        elif meaning.used_attempt is not None:
            self._backoffs.mac_failed(self._machine, now, asked_seconds)

    def gave_back(self) -> None:
        """Although nobody asked for it. Without a pause the shard would come back at once, as it costs no retry."""
        self._backoffs.mac_failed(self._machine, self._context.clock())

    def delivered(self, stage: Stage) -> None:
        """Plan and Finalize show that the Mac is there, and not that its lanes work."""
        self._backoffs.mac_succeeded(self._machine)
        if stage is Stage.PROCESS and self._exclusions.succeeded(self._machine, self._context.clock()):
            self._wake(placement=True)

    def failed(self, ended: AttemptRecord, job_uid: str) -> None:
        """What another Mac may do better counts against this one. That it was lost shows in its own conditions."""
        failure_class = ended.failure_class
        if ended.outcome not in (AttemptOutcome.FAILED, AttemptOutcome.REFUSED) or failure_class is None:
            return
        if rule_of(failure_class).remedy is not Remedy.OTHER_MAC:
            return
        now = self._context.clock()
        self._backoffs.mac_failed(self._machine, now)
        in_contact = sum(view.connected for view in self._context.fleet.views().values())
        if self._exclusions.failed(self._machine, job_uid, failure_class, now, in_contact):
            log.warning("mac excluded", mac=self._mac, failure_class=failure_class)
            self._wake()

    def _wake(self, *, placement: bool = False) -> None:
        self._context.queue.add(Key(MacAgent.crd.kind, "", self._mac))
        if placement:
            self._context.queue.add(PLACEMENT)
