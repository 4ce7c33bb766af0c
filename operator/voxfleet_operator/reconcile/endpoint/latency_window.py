"""How long the turns of the last minutes took, out of what an agent has counted since its lane is there. Pure.

What grew between two looks is added up, and now and then the sum so far is kept as a step. The window's turns are the
difference between the sum and the step that is as old as the window. Counts that begin anew are none that go back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from voxfleet_api.endpoint_latency import KindLatency, LaneLatency, difference, summed

STEPS = 30
"""In a window, so that a turn may be in it for a thirtieth too long."""

Latencies = Mapping[str, KindLatency]
"""By kind."""


@dataclass(frozen=True, slots=True)
class Step:
    at_seconds: float
    grown: Latencies


@dataclass(frozen=True, slots=True)
class LaneWindow:
    """One lane's. At most STEPS + 2 steps, the oldest first."""

    last: LaneLatency
    """What the agent said last."""
    grown: Latencies = field(default_factory=dict)
    """All turns since the lane was first looked at."""
    steps: tuple[Step, ...] = ()


def step_seconds(window_seconds: float) -> float:
    return window_seconds / STEPS


def looked_at(
    window: LaneWindow | None, told: LaneLatency, now_seconds: float, window_seconds: float
) -> tuple[LaneWindow, Latencies]:
    """The window after the agent has `told` its counts, and what grew since it told them last.

    `window` None: the lane was never looked at; what it has counted by then is not known to be of these minutes.
    """
    if window is None:
        return LaneWindow(told, {}, (Step(now_seconds, {}),)), {}
    grew = {} if told is window.last else growth(window.last, told)
    if not grew and now_seconds < window.steps[-1].at_seconds + step_seconds(window_seconds):
        return LaneWindow(told, window.grown, window.steps), grew
    grown = added((window.grown, grew)) if grew else window.grown
    steps = window.steps
    if now_seconds >= steps[-1].at_seconds + step_seconds(window_seconds):
        steps = _trimmed((*steps, Step(now_seconds, grown)), now_seconds - window_seconds)
    return LaneWindow(told, grown, steps), grew


def turns_within(window: LaneWindow, now_seconds: float, window_seconds: float) -> Latencies:
    base = _trimmed(window.steps, now_seconds - window_seconds)[0].grown
    if base is window.grown:
        return {}
    found = _differences(base, window.grown) or {}
    return {kind: latency for kind, latency in found.items() if latency.turns}


def growth(before: LaneLatency, after: LaneLatency) -> Latencies:
    """What was counted in between; all of it, where the agent began anew."""
    grew = None if before.since != after.since else _differences(_by_kind(before.kinds), _by_kind(after.kinds))
    if grew is None:
        grew = _by_kind(after.kinds)
    return {kind: latency for kind, latency in grew.items() if latency.turns}


def added(parts: Iterable[Latencies]) -> Latencies:
    """The sums, by kind."""
    of_kind: dict[str, list[KindLatency]] = {}
    for part in parts:
        for kind, latency in part.items():
            of_kind.setdefault(kind, []).append(latency)
    return {kind: found[0] if len(found) == 1 else summed(found, kind) for kind, found in of_kind.items()}


def _by_kind(latencies: Iterable[KindLatency]) -> Latencies:
    return {latency.latency: latency for latency in latencies}


def _differences(before: Latencies, after: Latencies) -> Latencies | None:
    """None: a count went back."""
    found: dict[str, KindLatency] = {}
    for kind in {**before, **after}:
        nothing = KindLatency(latency=kind)
        more = difference(after.get(kind, nothing), before.get(kind, nothing))
        if more is None:
            return None
        found[kind] = more
    return found


def _trimmed(steps: Sequence[Step], begin_seconds: float) -> tuple[Step, ...]:
    """From the newest step that is as old as the window; all of them, if none is."""
    first = max((n for n, step in enumerate(steps) if step.at_seconds <= begin_seconds), default=0)
    return tuple(steps[first:])
