"""Whether somebody else slows a Mac's lanes down, as its agent found. Pure.

The agent's verdict turns only after minutes, and its figure is that of the turn. So nothing here moves with work.
"""

from __future__ import annotations

from collections.abc import Sequence

from voxfleet_api.conditions import ConditionType, Reason, is_true
from voxfleet_api.kinds import MacAgent
from voxfleet_api.machine_messages import LaneContention, MachineFacts
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.reconcile.mac.verdict import ConditionVerdict

SHOWN_LANES = 4
SHOWN_TENANTS = 4
MAX_NAME = 63
MAX_PERCENT = 10_000
"""More is believed of no agent."""


def contended(mac: MacAgent, view: MacView) -> ConditionVerdict | None:
    """None: nobody does, or the agent does not say.

    Without contact nobody knows, and what was found last stands.
    """
    facts = view.machine
    if not view.connected or facts is None:
        return _as_stored(mac)
    if not facts.contended_lanes:
        return None
    return ConditionVerdict(True, Reason.LANES_SLOWED_DOWN, _message(facts.contended_lanes, _tenants(mac, facts)))


def _as_stored(mac: MacAgent) -> ConditionVerdict | None:
    stored = next((item for item in mac.status.conditions if item.type == ConditionType.CONTENDED), None)
    if stored is None or not is_true(mac.status.conditions, ConditionType.CONTENDED):
        return None
    return ConditionVerdict(True, Reason.LANES_SLOWED_DOWN, stored.message)


def _tenants(mac: MacAgent, facts: MachineFacts) -> Sequence[str]:
    """For whom memory is reserved on the Mac, by name. The agent's file wins."""
    return [item.name for item in (mac.spec.reserved if facts.reserved is None else facts.reserved)]


def _message(lanes: Sequence[LaneContention], tenants: Sequence[str]) -> str:
    shown = ", ".join(f"{lane.lane[:MAX_NAME]} {_times(lane)}" for lane in lanes[:SHOWN_LANES])
    more = ", …" if len(lanes) > SHOWN_LANES else ""
    known = ", ".join(name[:MAX_NAME] for name in tenants[:SHOWN_TENANTS])
    who = f"; memory is reserved there for {known}" if known else ""
    return (
        f"for minutes, lanes have taken about so many times as long as their ladder measured: {shown}{more}{who}."
        " Something else uses this Mac's processors or GPU, or its clock is lowered; see"
        " docs/runbooks/VoxFleetMacContended.md"
    )


def _times(lane: LaneContention) -> str:
    percent = max(100, min(lane.slowdown_percent, MAX_PERCENT))
    return f"{percent // 100}.{percent % 100 // 10}"
