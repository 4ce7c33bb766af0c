"""Whether a Mac takes attempts, and if not, why. Pure.

This is the one answer behind the Available condition, the phrase in a job's pending reason, and `voxfleet why`, which
reads the conditions.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.mac_agent import MacExclusion
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.reconcile.mac.exclusion import exclusion_text


class Obstacle(StrEnum):
    """Why a Mac takes no attempt of any job. When several hold, the first in this order is reported."""

    DELETED = "Deleted"
    UNSCHEDULABLE = "Unschedulable"
    DUPLICATE = "Duplicate"
    UNREACHABLE = "Unreachable"
    INCOMPATIBLE = "Incompatible"
    UNVERIFIED = "Unverified"
    FAILS_TOO_OFTEN = "FailsTooOften"


class ConditionVerdict(NamedTuple):
    """What a condition says; `status` is None while it is unknown."""

    status: bool | None
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Availability:
    obstacle: Obstacle | None
    """None: the Mac takes attempts."""
    verdict: ConditionVerdict
    detail: str
    """What the Mac last showed, for people who ask why it takes nothing."""


def availability(mac: MacAgent, view: MacView, exclusion: MacExclusion | None = None) -> Availability:
    """`exclusion`: the one that holds now."""
    obstacle, verdict = _first_obstacle(mac, view)
    if obstacle is None and exclusion is not None:
        text = exclusion_text(exclusion)
        message = f"{text}. Then it is tried again. Look at the agent's log and at what else runs on the Mac"
        return Availability(Obstacle.FAILS_TOO_OFTEN, ConditionVerdict(False, Reason.FAILS_TOO_OFTEN, message), text)
    return Availability(obstacle, verdict, "" if obstacle is None else _last_shown(view))


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


def _first_obstacle(mac: MacAgent, view: MacView) -> tuple[Obstacle | None, ConditionVerdict]:
    if mac.metadata.deletion_timestamp is not None:
        return Obstacle.DELETED, ConditionVerdict(False, Reason.UNSCHEDULABLE, "the MacAgent is being deleted")
    if mac.spec.unschedulable:
        message = "spec.unschedulable is true; running attempts finish"
        return Obstacle.UNSCHEDULABLE, ConditionVerdict(False, Reason.UNSCHEDULABLE, message)
    if not (found := reachable(view)).status:
        duplicate = view.reason is Reason.DUPLICATE_MACHINE
        return (Obstacle.DUPLICATE if duplicate else Obstacle.UNREACHABLE), found
    if not (found := runtime_compatible(view)).status:
        return (Obstacle.UNREACHABLE if view.machine is None else Obstacle.INCOMPATIBLE), found
    if not (found := ledger_verified(view)).status:
        return Obstacle.UNVERIFIED, found
    return None, ConditionVerdict(True, Reason.AVAILABLE, "the Mac takes attempts")


def _last_shown(view: MacView) -> str:
    if not view.connected:
        return view.message
    if view.ledger_error is not None:
        return view.ledger_error
    return "" if view.machine is None else view.machine.runtime_message
