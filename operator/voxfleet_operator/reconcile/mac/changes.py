"""What people are told of a Mac as its status changes, one event for each change. Pure.

The status before is the stored one. So a new leader tells nothing twice, and what happened while none led is told, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from voxfleet_api.conditions import Condition, ConditionType, Reason, find
from voxfleet_api.kinds.mac_agent import MacAgentStatus, Machine
from voxfleet_operator.reconcile.mac.exclusion import exclusion_text

UNKNOWN_VERSION = "unknown"


@dataclass(frozen=True, slots=True)
class Announcement:
    reason: str
    note: str
    warning: bool = False


def changes(before: MacAgentStatus, after: MacAgentStatus) -> tuple[Announcement, ...]:
    found = [_contact(before, after), _drained(before, after), _exclusion(before, after), _refuses(before, after)]
    if before.machine is not None and after.machine is not None:
        found += _machine(before.machine, after.machine)
    return tuple(item for item in found if item is not None)


def _contact(before: MacAgentStatus, after: MacAgentStatus) -> Announcement | None:
    """Contact came, went, or fails for another reason."""
    old, new = find(before.conditions, ConditionType.REACHABLE), find(after.conditions, ConditionType.REACHABLE)
    if new is None or new.status == "Unknown" or (old is not None and old.reason == new.reason):
        return None
    return Announcement(new.reason, new.message, _is_bad(new))


def _is_bad(reachable: Condition) -> bool:
    return reachable.status == "False"


def _drained(before: MacAgentStatus, after: MacAgentStatus) -> Announcement | None:
    """The Mac has become empty: people wait for it."""
    old, new = find(before.conditions, ConditionType.DRAINING), find(after.conditions, ConditionType.DRAINING)
    if new is None or new.status != "False" or (old is not None and old.status == "False"):
        return None
    return Announcement(new.reason, new.message)


def _exclusion(before: MacAgentStatus, after: MacAgentStatus) -> Announcement | None:
    old, new = before.exclusion, after.exclusion
    if new is not None and (old is None or old.until != new.until):
        return Announcement("Excluded", f"takes no attempts for a while: {exclusion_text(new)}", warning=True)
    if old is not None and new is None:
        return Announcement("ExclusionEnded", "takes attempts again")
    return None


def _refuses(before: MacAgentStatus, after: MacAgentStatus) -> Announcement | None:
    old, new = find(before.conditions, ConditionType.AVAILABLE), find(after.conditions, ConditionType.AVAILABLE)
    if new is None or new.reason != Reason.REFUSES_ATTEMPTS or (old is not None and old.reason == new.reason):
        return None
    return Announcement(new.reason, new.message, warning=True)


def _machine(old: Machine, new: Machine) -> Iterable[Announcement]:
    if old.hardware_id != new.hardware_id:
        note = (
            f"another machine answers under this name: hardware id {new.hardware_id}, before {old.hardware_id}; what"
            " the old one still had counts as lost once its lease is over"
        )
        yield Announcement("MachineReplaced", note, warning=True)
        return
    if None not in (old.ledger_chain_id, new.ledger_chain_id) and old.ledger_chain_id != new.ledger_chain_id:
        note = (
            f"the agent signs ledger chain {new.ledger_chain_id}, before {old.ledger_chain_id}: it has lost its state,"
            " or got another key. Attempts that it had begin anew, and machine time that was not read before is lost"
        )
        yield Announcement("LedgerBegunAnew", note, warning=True)
    if old.boot_id is not None and new.boot_id is not None and old.boot_id != new.boot_id:
        yield Announcement("MacRebooted", "the Mac was started anew; attempts that it had are resumed")
    moved = [
        f"{name} {old.versions.get(name, UNKNOWN_VERSION)} -> {new.versions.get(name, UNKNOWN_VERSION)}"
        for name in sorted({*old.versions, *new.versions})
        if old.versions.get(name) != new.versions.get(name)
    ]
    if moved:
        yield Announcement("VersionsChanged", f"the agent runs with other versions: {', '.join(moved)}")
