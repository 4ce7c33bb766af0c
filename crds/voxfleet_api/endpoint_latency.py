"""How long the turns of an endpoint's lane took: what its agent counts, and what is read out of it. Pure.

A turn is an utterance or an upload that became text, or a text that became speech; `session_protocol.LatencyKind` says
from when until when each is measured. An agent only ever adds up, so that whoever looks now and then learns by
differences what happened in between. Clips of batches are never in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import accumulate
from typing import Annotated

from pydantic import Field

from voxfleet_api.base import OPEN_VALUE, StatusModel, Timestamp

# fmt: off
BOUNDS_MILLISECONDS = (
    10, 20, 30, 50, 75, 100, 150, 200, 250, 300, 400, 500, 600, 700, 800, 900, 1_000, 1_200, 1_500, 2_000, 2_500,
    3_000, 4_000, 5_000, 7_500, 10_000, 15_000, 30_000, 60_000,
)
# fmt: on
"""The longest time of each bucket; one more has all that took longer. They never change: agents and operators of
different versions count in the same ones."""
BUCKETS = len(BOUNDS_MILLISECONDS) + 1
MOST_KINDS = 8
HELD_TO_TARGET = frozenset({"FinalText", "UploadedText", "FirstAudio"})
"""The LatencyKinds that `slo.interactiveP95` is about; others are only counted."""
MOST_SLOW_PERCENT = 5
"""Of turns, so many may take longer than the target: that is what a p95 promises."""
FEWEST_TURNS = 5
"""Fewer say nothing of a p95."""

MOST = 2**53
Count = Annotated[int, Field(ge=0, le=MOST)]


class LatencyPart(StrEnum):
    """Where the time of a turn went."""

    GATEWAY = "Gateway"
    TUNNEL = "Tunnel"  # from the gateway to the Mac and back
    WAIT = "Wait"  # for the end of the turn to be certain, and for the model
    INFER = "Infer"


class Histogram(StatusModel):
    """Times, by how long they were."""

    counts: Annotated[tuple[Count, ...], Field(min_length=BUCKETS, max_length=BUCKETS)] = (0,) * BUCKETS
    sum_milliseconds: Count = 0
    slow_milliseconds: Count = 0
    """The part of the sum that is of turns that took longer than the target."""


class KindLatency(StatusModel):
    """All turns of one kind."""

    latency: Annotated[str, OPEN_VALUE]
    """A LatencyKind, or one of a newer side."""
    turns: Count = 0
    slow: Count = 0
    """Turns that took longer than the contract's `slo.interactiveP95`; 0 without one, and for kinds beside it."""
    stalls: Count = 0
    """Chunks of speech that came later than playback needed them."""
    total: Histogram = Histogram()
    gateway: Histogram = Histogram()
    tunnel: Histogram = Histogram()
    wait: Histogram = Histogram()
    infer: Histogram = Histogram()

    def part(self, part: LatencyPart) -> Histogram:
        match part:
            case LatencyPart.GATEWAY:
                return self.gateway
            case LatencyPart.TUNNEL:
                return self.tunnel
            case LatencyPart.WAIT:
                return self.wait
            case LatencyPart.INFER:
                return self.infer

    def histograms(self) -> Iterator[Histogram]:
        yield from (self.total, self.gateway, self.tunnel, self.wait, self.infer)


class LaneLatency(StatusModel):
    """What an agent has counted of a lane since the lane is there; it is kept in memory alone."""

    since: Timestamp
    """When it began to count: with another time, it began anew."""
    kinds: Annotated[tuple[KindLatency, ...], Field(max_length=MOST_KINDS)] = ()


def bucket_of(milliseconds: int) -> int:
    """The index of the bucket that counts this time."""
    return next((n for n, bound in enumerate(BOUNDS_MILLISECONDS) if milliseconds <= bound), BUCKETS - 1)


def summed(latencies: Iterable[KindLatency], kind: str) -> KindLatency:
    """All of them together, as if of one kind, which is called `kind`."""
    total = KindLatency(latency=kind)
    for latency in latencies:
        total = _combined(total, latency, 1)
    return total


def difference(after: KindLatency, before: KindLatency) -> KindLatency | None:
    """What was counted between the two; None: a count went back, so that they are not counts of one lane."""
    if any(now < then for now, then in zip(_counts(after), _counts(before), strict=True)):
        return None
    return _combined(after, before, -1)


def is_beyond(turns: int, slow: int) -> bool:
    """Whether more turns took longer than the target than a p95 allows."""
    return slow * 100 > MOST_SLOW_PERCENT * turns


def percentile_milliseconds(latency: KindLatency, percent: int, target_milliseconds: int | None) -> int | None:
    """Between the bounds of its bucket by interpolation, at most the longest bound; None without a turn.

    `target_milliseconds`: how many turns are slower is known exactly, so that the p95 lies beyond the target if and
    only if more than 5 % of the turns do.
    """
    if latency.turns == 0:
        return None
    points = [(0, 0), *zip(BOUNDS_MILLISECONDS, accumulate(latency.total.counts), strict=False)]
    if target_milliseconds is not None:
        within = latency.turns - latency.slow
        points = [
            *((bound, min(count, within)) for bound, count in points if bound < target_milliseconds),
            (target_milliseconds, within),
            *((bound, max(count, within)) for bound, count in points if bound > target_milliseconds),
        ]
    rank = -(-latency.turns * percent // 100)
    low, below = points[0]
    for bound, count in points[1:]:
        if count >= rank:
            return low + -(-(bound - low) * (rank - below) // (count - below))
        low, below = bound, count
    return low if target_milliseconds is None else max(low, target_milliseconds + 1)


def _combined(one: KindLatency, other: KindLatency, sign: int) -> KindLatency:
    """Not validated again: an operator does it for every lane whenever one says something."""
    return KindLatency.model_construct(
        latency=one.latency,
        turns=_count(one.turns, other.turns, sign),
        slow=_count(one.slow, other.slow, sign),
        stalls=_count(one.stalls, other.stalls, sign),
        total=_combined_histogram(one.total, other.total, sign),
        gateway=_combined_histogram(one.gateway, other.gateway, sign),
        tunnel=_combined_histogram(one.tunnel, other.tunnel, sign),
        wait=_combined_histogram(one.wait, other.wait, sign),
        infer=_combined_histogram(one.infer, other.infer, sign),
    )


def _combined_histogram(one: Histogram, other: Histogram, sign: int) -> Histogram:
    return Histogram.model_construct(
        counts=tuple(_count(a, b, sign) for a, b in zip(one.counts, other.counts, strict=True)),
        sum_milliseconds=_count(one.sum_milliseconds, other.sum_milliseconds, sign),
        slow_milliseconds=_count(one.slow_milliseconds, other.slow_milliseconds, sign),
    )


def _count(one: int, other: int, sign: int) -> int:
    return min(MOST, one + sign * other)


def _counts(latency: KindLatency) -> Iterator[int]:
    yield from (latency.turns, latency.slow, latency.stalls)
    for histogram in latency.histograms():
        yield from (*histogram.counts, histogram.sum_milliseconds, histogram.slow_milliseconds)
