"""How long the turns of one lane took: counted since the lane is there, in memory, as its callers measured them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple

from voxfleet_agent.clock import timestamp
from voxfleet_api.endpoint_latency import (
    BUCKETS,
    FEWEST_TURNS,
    HELD_TO_TARGET,
    MOST_KINDS,
    Histogram,
    KindLatency,
    LaneLatency,
    bucket_of,
    is_beyond,
)
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.quantities import duration_milliseconds
from voxfleet_api.session_protocol import TurnMeasured

BURN_WINDOW_SECONDS = 60.0
"""Whether a lane burns is judged by the turns of so long."""
KEPT_TURNS = 512
LONGEST_MILLISECONDS = 3_600_000
MOST_STALLS = 2**20
"""Both of one turn: what a caller says must not grow the sums without a bound."""


class RecentTurn(NamedTuple):
    at_seconds: float
    """When it was told, on the lease clock."""
    slow: bool
    """Whether it took longer than the target."""


class LaneLatencies:
    """All counts only grow."""

    def __init__(self, contract: VoiceContractSpec, since: datetime, seconds: Callable[[], float]) -> None:
        """`since`: when the lane came to be, for whoever looks at the counts. `seconds`: the lease clock."""
        self._target_milliseconds = target_milliseconds(contract)
        self._since = timestamp(since)
        self._seconds = seconds
        self._kinds: dict[str, _Kind] = {}
        self._recent: deque[RecentTurn] = deque(maxlen=KEPT_TURNS)

    def measured(self, turn: TurnMeasured) -> None:
        kind = self._kinds.get(turn.latency)
        if kind is None:
            if len(self._kinds) >= MOST_KINDS:
                return
            kind = self._kinds[turn.latency] = _Kind(turn.latency)
        target = self._target_milliseconds
        held = turn.latency in HELD_TO_TARGET
        slow = held and target is not None and turn.total_milliseconds > target
        kind.count(turn, slow)
        if held:
            self._recent.append(RecentTurn(self._seconds(), slow))

    def told(self) -> LaneLatency:
        return LaneLatency(since=self._since, kinds=tuple(kind.told() for kind in self._kinds.values()))

    def burning_since_seconds(self) -> float | None:
        """Since when, on the lease clock, more turns are slower than the target than its p95 allows; None: it is kept,
        there is no target, or nobody has spoken lately.
        """
        return burning_since_seconds(self._recent, self._seconds())


def target_milliseconds(contract: VoiceContractSpec) -> int | None:
    target = contract.slo.interactive_p95
    return None if target is None else duration_milliseconds(target)


def burning_since_seconds(turns: Iterable[RecentTurn], now_seconds: float) -> float | None:
    """`turns`: in the order of their times. Each moment is judged by the turns of the minute before it, and too few
    turns are no burn. Pure.
    """
    since, minute, slow = None, deque[RecentTurn](), 0
    for turn in (*turns, None):
        at_seconds = now_seconds if turn is None else turn.at_seconds
        while minute and minute[0].at_seconds <= at_seconds - BURN_WINDOW_SECONDS:
            slow -= minute.popleft().slow
        if turn is not None:
            minute.append(turn)
            slow += turn.slow
        if len(minute) < FEWEST_TURNS or not is_beyond(len(minute), slow):
            since = None
        elif since is None:
            since = at_seconds
    return since


class _Times:
    def __init__(self) -> None:
        self._counts = [0] * BUCKETS
        self._sum_milliseconds, self._slow_milliseconds = 0, 0

    def count(self, milliseconds: int, slow: bool) -> None:
        milliseconds = min(milliseconds, LONGEST_MILLISECONDS)
        self._counts[bucket_of(milliseconds)] += 1
        self._sum_milliseconds += milliseconds
        self._slow_milliseconds += milliseconds if slow else 0

    def told(self) -> Histogram:
        return Histogram(
            counts=tuple(self._counts),
            sum_milliseconds=self._sum_milliseconds,
            slow_milliseconds=self._slow_milliseconds,
        )


class _Kind:
    def __init__(self, latency: str) -> None:
        self._latency = latency
        self._turns, self._slow, self._stalls = 0, 0, 0
        self._total, self._gateway, self._tunnel, self._wait, self._infer = (_Times() for _ in range(5))

    def count(self, turn: TurnMeasured, slow: bool) -> None:
        self._turns += 1
        self._slow += slow
        self._stalls += min(turn.stalls, MOST_STALLS)
        for times, milliseconds in (
            (self._total, turn.total_milliseconds),
            (self._gateway, turn.gateway_milliseconds),
            (self._tunnel, turn.tunnel_milliseconds),
            (self._wait, turn.wait_milliseconds),
            (self._infer, turn.infer_milliseconds),
        ):
            times.count(milliseconds, slow)

    def told(self) -> KindLatency:
        return KindLatency(
            latency=self._latency,
            turns=self._turns,
            slow=self._slow,
            stalls=self._stalls,
            total=self._total.told(),
            gateway=self._gateway.told(),
            tunnel=self._tunnel.told(),
            wait=self._wait.told(),
            infer=self._infer.told(),
        )
