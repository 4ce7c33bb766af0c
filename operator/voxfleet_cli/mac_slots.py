"""A Mac for placement's filters, as its MacAgent shows it. Pure.

What only its agent tells counts as good: its age, its scratch.
"""

from __future__ import annotations

from datetime import datetime

from voxfleet_api.conditions import ConditionType, Reason, find
from voxfleet_api.kinds import MacAgent
from voxfleet_operator.placement.filters import UNACCEPTED
from voxfleet_operator.placement.snapshot import CONTROL_SLOTS, MacSlot, MacTraits
from voxfleet_operator.reconcile.mac.reported_machine import lane_memory_bytes, offline_lanes
from voxfleet_operator.reconcile.mac_closing import closing


def slot_of(mac: MacAgent, now: datetime, held_lanes: int = 0, held_control_slots: int = 0) -> MacSlot:
    """Of a Mac that is available, or not yet accepted. Its times count from `now`."""
    machine, closes_at = mac.status.machine, closing(mac, now).return_at
    lanes = 0 if machine is None else offline_lanes(machine)
    return MacSlot(
        name=mac.metadata.name,
        traits=MacTraits(
            access=mac.spec.access,
            taints=mac.spec.taints,
            chip="" if machine is None else machine.chip,
            memory_bytes=0 if machine is None else machine.memory_bytes,
            lane_memory_bytes=None if machine is None else lane_memory_bytes(machine),
            has_offline_lanes=machine is None or lanes > 0,
            keeps_within_prefixes=True,
            knows_chosen_clips=True,
            runs_pieces=True,
            tried_by=None if mac.spec.acceptance_job is None else mac.spec.acceptance_job.uid,
            unaccepted=UNACCEPTED if unaccepted(mac) else None,
        ),
        labels=mac.metadata.labels,
        free_lanes=max(0, lanes - held_lanes),
        free_control_slots=max(0, CONTROL_SLOTS - held_control_slots),
        closes_seconds=None if closes_at is None else (closes_at - now).total_seconds(),
    )


def unaccepted(mac: MacAgent) -> bool:
    """Whether the job that tries it is all that keeps it from being available."""
    available = find(mac.status.conditions, ConditionType.AVAILABLE)
    return available is not None and available.reason == Reason.AWAITS_ACCEPTANCE
