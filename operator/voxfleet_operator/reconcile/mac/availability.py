"""Whether a Mac takes attempts, and if not, why. Pure.

This is the one answer behind the Available condition, the phrase in a job's pending reason, and `voxfleet why`, which
reads the conditions.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from voxfleet_api.conditions import ConditionType, Reason, find
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.mac_agent import MacExclusion
from voxfleet_api.opening_hours import UnusableHours, local_text, rental_ends, standing
from voxfleet_operator.fleet.closing import ClosingPhase
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.reconcile.mac.acceptance import awaits_acceptance
from voxfleet_operator.reconcile.mac.exclusion import exclusion_text
from voxfleet_operator.reconcile.mac.pools import overcommitted
from voxfleet_operator.reconcile.mac.reported_machine import shown_machine
from voxfleet_operator.reconcile.mac.verdict import ConditionVerdict
from voxfleet_operator.reconcile.mac_closing import RETURN_GRACE, closing
from voxfleet_operator.reconcile.refusing_macs import LONGEST_SECONDS, REFUSALS, Refusing


class Obstacle(StrEnum):
    """Why a Mac takes no attempt of any job. When several hold, the first in this order is reported."""

    DELETED = "Deleted"
    UNSCHEDULABLE = "Unschedulable"
    DRAINING = "Draining"
    UNUSABLE_HOURS = "UnusableHours"
    OUTSIDE_WINDOW = "OutsideWindow"
    OUTSIDE_RENTAL = "OutsideRental"
    DUPLICATE = "Duplicate"
    UNREACHABLE = "Unreachable"
    INCOMPATIBLE = "Incompatible"
    UNVERIFIED = "Unverified"
    DELETION_HANGS = "DeletionHangs"
    OVERCOMMITTED = "Overcommitted"
    FAILS_TOO_OFTEN = "FailsTooOften"
    REFUSES_ATTEMPTS = "RefusesAttempts"
    UNACCEPTED = "Unaccepted"
    """The last one: the job that tries the Mac runs in spite of it, and of no other."""


@dataclass(frozen=True, slots=True)
class Availability:
    obstacle: Obstacle | None
    """None: the Mac takes attempts."""
    verdict: ConditionVerdict
    detail: str
    """What the Mac last showed, for people who ask why it takes nothing."""


OF_ITS_HOURS = frozenset({Obstacle.UNUSABLE_HOURS, Obstacle.OUTSIDE_WINDOW, Obstacle.OUTSIDE_RENTAL})


def availability(
    mac: MacAgent,
    view: MacView,
    now: datetime,
    exclusion: MacExclusion | None = None,
    refusing: Refusing | None = None,
) -> Availability:
    """`exclusion`: the one that holds now. `refusing`: what it answered to the last attempts."""
    obstacle, verdict = _first_obstacle(mac, view, now)
    if obstacle in OF_ITS_HOURS or obstacle is Obstacle.OVERCOMMITTED:
        return Availability(obstacle, verdict, verdict.message)
    if obstacle is None and exclusion is not None:
        text = exclusion_text(exclusion)
        message = f"{text}. Then it is tried again. Look at the agent's log and at what else runs on the Mac"
        return Availability(Obstacle.FAILS_TOO_OFTEN, ConditionVerdict(False, Reason.FAILS_TOO_OFTEN, message), text)
    if obstacle is None and refusing is not None and refusing.is_shown:
        verdict = ConditionVerdict(False, Reason.REFUSES_ATTEMPTS, _refuses(refusing))
        return Availability(Obstacle.REFUSES_ATTEMPTS, verdict, f"HTTP {refusing.status}")
    if obstacle is None and (unaccepted := awaits_acceptance(mac, view)) is not None:
        return Availability(Obstacle.UNACCEPTED, unaccepted, unaccepted.message)
    return Availability(obstacle, verdict, "" if obstacle is None else _last_shown(view))


def accepted(mac: MacAgent, view: MacView, now: datetime) -> ConditionVerdict:
    """Whether the spec can be used. What the API server cannot check is checked here, and by the session."""
    if view.reason is Reason.INVALID_SPEC:
        return ConditionVerdict(False, Reason.INVALID_SPEC, view.message)
    try:
        standing(mac.spec.availability, now)
    except UnusableHours as error:
        return ConditionVerdict(False, Reason.INVALID_SPEC, str(error))
    if view.reason is Reason.CONNECTING and (refused := _refused_before(mac)) is not None:
        return refused
    if (too_much := overcommitted(mac, shown_machine(mac, view))) is not None:
        return too_much
    return ConditionVerdict(True, Reason.ACCEPTED, "the spec is usable")


def _refused_before(mac: MacAgent) -> ConditionVerdict | None:
    """The stored refusal of this very spec: a session that has only begun to connect knows no better."""
    stored = find(mac.status.conditions, ConditionType.ACCEPTED)
    if stored is None or stored.reason != Reason.INVALID_SPEC or stored.observed_generation != mac.metadata.generation:
        return None
    return ConditionVerdict(False, Reason.INVALID_SPEC, stored.message)


def reachable(view: MacView) -> ConditionVerdict:
    if view.connected:
        return ConditionVerdict(True, Reason.CONNECTED, "the agent proved its identity and answers")
    status = None if view.reason in (Reason.CONNECTING, Reason.UNKNOWN) else False
    return ConditionVerdict(status, view.reason, view.message)


def runtime_compatible(view: MacView) -> ConditionVerdict:
    if view.machine is None:
        return ConditionVerdict(None, Reason.UNKNOWN, "the agent was not reached yet")
    if view.machine.runtime_compatible:
        return ConditionVerdict(True, Reason.COMPATIBLE, view.machine.runtime_message)
    return ConditionVerdict(False, Reason.INCOMPATIBLE, view.machine.runtime_message)


def ledger_verified(view: MacView) -> ConditionVerdict:
    if view.ledger_error is not None:
        return ConditionVerdict(False, Reason.ROW_REFUSED, view.ledger_error)
    if view.machine is None:
        return ConditionVerdict(None, Reason.UNKNOWN, "the agent was not reached yet")
    return ConditionVerdict(True, Reason.VERIFIED, "all signed rows that were read verify")


def _first_obstacle(mac: MacAgent, view: MacView, now: datetime) -> tuple[Obstacle | None, ConditionVerdict]:
    if mac.metadata.deletion_timestamp is not None:
        return Obstacle.DELETED, ConditionVerdict(False, Reason.UNSCHEDULABLE, "the MacAgent is being deleted")
    if mac.spec.unschedulable:
        message = "spec.unschedulable is true; running attempts finish"
        return Obstacle.UNSCHEDULABLE, ConditionVerdict(False, Reason.UNSCHEDULABLE, message)
    if mac.spec.drain is not None:
        message = "spec.drain is set; the condition Draining says what still runs"
        return Obstacle.DRAINING, ConditionVerdict(False, Reason.DRAINING, message)
    if (closed := _closed(mac, now)) is not None:
        return closed
    if not (found := reachable(view)).status:
        duplicate = view.reason is Reason.DUPLICATE_MACHINE
        return (Obstacle.DUPLICATE if duplicate else Obstacle.UNREACHABLE), found
    if not (found := runtime_compatible(view)).status:
        return (Obstacle.UNREACHABLE if view.machine is None else Obstacle.INCOMPATIBLE), found
    if not (found := ledger_verified(view)).status:
        return Obstacle.UNVERIFIED, found
    if view.hung_deletions:
        return Obstacle.DELETION_HANGS, ConditionVerdict(False, Reason.DELETION_HANGS, _hangs(view))
    if (too_much := overcommitted(mac, shown_machine(mac, view))) is not None:
        return Obstacle.OVERCOMMITTED, too_much
    until = closing(mac, now).return_at
    text = "" if until is None else f" until {local_text(mac.spec.availability, until)}"
    return None, ConditionVerdict(True, Reason.AVAILABLE, f"the Mac takes attempts{text}")


def _closed(mac: MacAgent, now: datetime) -> tuple[Obstacle, ConditionVerdict] | None:
    """Why the Mac takes nothing at this time of day; None if it is open."""
    hours = mac.spec.availability
    try:
        found, rental_end = standing(hours, now), rental_ends(hours)
    except UnusableHours as error:
        return Obstacle.UNUSABLE_HOURS, ConditionVerdict(False, Reason.INVALID_SPEC, str(error))
    opens = "" if found.next_start is None else f"opens at {local_text(hours, found.next_start)}"
    if found.now is None and found.in_rental:
        message = opens or "no window opens before its rental ends; write another spec.availability"
        return Obstacle.OUTSIDE_WINDOW, ConditionVerdict(False, Reason.OUTSIDE_WINDOW, message)
    if found.now is not None and closing(mac, now).phase(now) is ClosingPhase.OPEN:
        return None
    if rental_end is not None and rental_end - RETURN_GRACE <= now:
        tense = "ended" if rental_end <= now else "ends"
        opens = f"its rental {tense} at {local_text(hours, rental_end)}"
    return Obstacle.OUTSIDE_RENTAL, ConditionVerdict(False, Reason.OUTSIDE_RENTAL, opens)


def _hangs(view: MacView) -> str:
    first, others = view.hung_deletions[0], len(view.hung_deletions) - 1
    more = f" and {others} more" if others else ""
    return f"its agent does not come to an end with deleting attempt {first}{more}; restart it. What runs there goes on"


def _refuses(refusing: Refusing) -> str:
    return (
        f"its agent refused {REFUSALS} attempts in a row or more for want of room, where it seemed to have some; the"
        f" last: HTTP {refusing.status}: {refusing.message}. It is tried again every {LONGEST_SECONDS / 60:g} minutes,"
        " and the first attempt that it takes ends this. Look at the agent's log and at what else runs on the Mac"
    )


def _last_shown(view: MacView) -> str:
    if not view.connected:
        return view.message
    if view.ledger_error is not None:
        return view.ledger_error
    if view.hung_deletions:
        return _hangs(view)
    return "" if view.machine is None else view.machine.runtime_message
