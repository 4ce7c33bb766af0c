"""What people are told of a Mac besides its conditions, one event for each change. Pure.

The status before is the stored one. So a new leader tells nothing twice, and what happened while none led is told, too.
"""

from __future__ import annotations

from collections.abc import Iterable

from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.kinds.mac_agent import MacAgentStatus, Machine
from voxfleet_operator.event_reasons import EventReason
from voxfleet_operator.reconcile.mac.exclusion import exclusion_text
from voxfleet_operator.reconcile.transitions import Announcement

UNKNOWN_VERSION = "unknown"


def changes(before: MacAgentStatus, after: MacAgentStatus) -> tuple[Announcement, ...]:
    found = [_exclusion(before, after), _contention(before, after)]
    if before.machine is not None and after.machine is not None:
        found += _machine(before.machine, after.machine)
    return tuple(item for item in found if item is not None)


def _exclusion(before: MacAgentStatus, after: MacAgentStatus) -> Announcement | None:
    old, new = before.exclusion, after.exclusion
    if new is not None and (old is None or old.until != new.until):
        return Announcement(EventReason.EXCLUDED, f"takes no attempts for a while: {exclusion_text(new)}")
    if old is not None and new is None:
        return Announcement(EventReason.EXCLUSION_ENDED, "takes attempts again")
    return None


def _contention(before: MacAgentStatus, after: MacAgentStatus) -> Announcement | None:
    """That it begins is told with its condition."""
    was, still = (is_true(status.conditions, ConditionType.CONTENDED) for status in (before, after))
    if was and not still:
        return Announcement(EventReason.CONTENTION_ENDED, "nothing seems to slow its lanes down any more")
    return None


def _machine(old: Machine, new: Machine) -> Iterable[Announcement]:
    if old.hardware_id != new.hardware_id:
        note = (
            f"another machine answers under this name: hardware id {new.hardware_id}, before {old.hardware_id}; what"
            " the old one still had counts as lost once its lease is over"
        )
        yield Announcement(EventReason.MACHINE_REPLACED, note)
        return
    if None not in (old.ledger_chain_id, new.ledger_chain_id) and old.ledger_chain_id != new.ledger_chain_id:
        note = (
            f"the agent signs ledger chain {new.ledger_chain_id}, before {old.ledger_chain_id}: it has lost its state,"
            " or got another key. Attempts that it had begin anew, and machine time that was not read before is lost"
        )
        yield Announcement(EventReason.LEDGER_BEGUN_ANEW, note)
    if old.boot_id is not None and new.boot_id is not None and old.boot_id != new.boot_id:
        yield Announcement(EventReason.MAC_REBOOTED, "the Mac was started anew; attempts that it had are resumed")
    moved = [
        f"{name} {old.versions.get(name, UNKNOWN_VERSION)} -> {new.versions.get(name, UNKNOWN_VERSION)}"
        for name in sorted({*old.versions, *new.versions})
        if old.versions.get(name) != new.versions.get(name)
    ]
    if moved:
        yield Announcement(EventReason.VERSIONS_CHANGED, f"the agent runs with other versions: {', '.join(moved)}")
