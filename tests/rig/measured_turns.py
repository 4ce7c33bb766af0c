"""Turns as a gateway measures them, counted as an agent counts them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from tests.unit.operator.decisions.bodies import contract

from voxfleet_agent.endpoint_lanes.latencies import LaneLatencies
from voxfleet_api.kinds.voice_contract import VoiceContract, VoiceContractSpec
from voxfleet_api.session_protocol import LatencyKind, TurnMeasured

BEGUN = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def promising(target: str | None = "1s") -> VoiceContractSpec:
    """A contract whose slo.interactiveP95 is the target."""
    spec = contract() if target is None else contract(slo={"interactiveP95": target})
    return VoiceContract.load(spec).spec


def a_turn(
    total: int,
    *,
    gateway: int = 0,
    tunnel: int = 0,
    wait: int = 0,
    infer: int = 0,
    stalls: int = 0,
    kind: LatencyKind = LatencyKind.FINAL_TEXT,
) -> TurnMeasured:
    """In milliseconds."""
    return TurnMeasured(
        latency=kind,
        total_milliseconds=total,
        gateway_milliseconds=gateway,
        tunnel_milliseconds=tunnel,
        wait_milliseconds=wait,
        infer_milliseconds=infer,
        stalls=stalls,
    )


def counted(
    *turns: TurnMeasured | int,
    target: str | None = "1s",
    begun: datetime = BEGUN,
    seconds: Callable[[], float] = lambda: 0.0,
) -> LaneLatencies:
    """An int: a turn of so many milliseconds, of which nothing else is known."""
    latencies = LaneLatencies(promising(target), begun, seconds)
    for turn in turns:
        latencies.measured(a_turn(turn) if isinstance(turn, int) else turn)
    return latencies
