"""Chooses the batch size from a ladder of measured tiers. Pure.

Memory knee: the largest batch size of the unbroken series of tiers at or under the memory cap; 1 when even the first
tier exceeds it. A tier's memory is the larger of its process's peak and Metal's peak, which overlap on unified memory.

Latency knee: the last tier whose throughput gains more than its p95 grows,

    throughput(k) / throughput(previous)  >  p95(k) / p95(previous),

starting at the smallest tier. The comparison uses two fitted lines instead of single measurements: the time of a batch
is modelled as `fixed + each x k`, and both coefficients are fitted by least squares of the relative error, once to the
mean time of a batch (throughput) and once to its p95. Near its maximum the ratio of gain to growth is flat, so with 2 %
of noise a comparison of neighbouring measurements would move the knee by several tiers; the lines use every tier and do
not. With two tiers, the measurements are compared directly. Only tiers under the cap count, because a tier that swaps
says nothing about the others.

The smaller knee is used until a job has to step down from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from voxfleet_api.results import LadderTable, LadderTier

ROUNDING = 1e-9
"""Relative; a gain that exceeds the growth by less than this does not count."""


@dataclass(frozen=True, slots=True)
class Knees:
    memory: int
    latency: int

    @property
    def chosen(self) -> int:
        return min(self.memory, self.latency)


@dataclass(frozen=True, slots=True)
class _Line:
    """The time of a batch: `fixed + each x batch size`; neither coefficient is negative."""

    fixed: float
    each: float

    def at(self, batch_size: int) -> float:
        return self.fixed + self.each * batch_size


def memory_bytes(tier: LadderTier) -> int:
    """The tier's peak memory."""
    return max(tier.peak_rss_bytes, tier.metal_peak_bytes or 0)


def decide_knees(tiers: Sequence[LadderTier], memory_cap_bytes: int) -> Knees:
    """Both knees of `tiers`, in ascending order of batch size. Raises ValueError for no tiers or another order."""
    sizes = [tier.batch_size for tier in tiers]
    if not sizes or sizes != sorted(set(sizes)):
        raise ValueError(f"a ladder needs tiers of ascending batch sizes, not {sizes}")
    fitting = _fitting(tiers, memory_cap_bytes)
    if not fitting:
        return Knees(memory=1, latency=sizes[0])
    return Knees(memory=fitting[-1].batch_size, latency=_latency_knee(fitting))


def explain(table: LadderTable) -> str:
    """Explains in words which batch size is used and which knee determined it."""
    fitting = _fitting(table.tiers, table.memory_cap_bytes)
    used = f"{table.chosen} is used"
    if table.stepped_down_for is not None:
        knee = min(table.memory_knee, table.latency_knee)
        return f"{used} and no longer {knee}, the knee: a job had to step down, because {table.stepped_down_for}"
    if not fitting:
        return f"{used}: even batch size {table.tiers[0].batch_size} needs more than the memory cap"
    if table.latency_knee < fitting[-1].batch_size:
        return f"{used}, the latency knee: beyond it a clip's p95 grows more than the throughput gains"
    if len(fitting) < len(table.tiers):
        return f"{used}, the memory knee: the next batch size needs more than the memory cap"
    if len(table.tiers) == 1:
        return f"{used}: no larger batch size could be measured"
    return f"{used}, the largest measured: throughput still gains more than a clip's p95 grows"


def _fitting(tiers: Sequence[LadderTier], memory_cap_bytes: int) -> list[LadderTier]:
    fitting: list[LadderTier] = []
    for tier in tiers:
        if memory_bytes(tier) > memory_cap_bytes:
            break
        fitting.append(tier)
    return fitting


def _latency_knee(tiers: Sequence[LadderTier]) -> int:
    sizes = [tier.batch_size for tier in tiers]
    if len(sizes) == 1:
        return sizes[0]
    mean = _fit(sizes, [tier.batch_size / max(tier.audio_seconds_per_second, 1e-9) for tier in tiers])
    p95 = _fit(sizes, [float(max(1, tier.clip_p95_milliseconds)) for tier in tiers])
    knee = sizes[0]
    for size in sizes[1:]:
        gain = (size / mean.at(size)) / (knee / mean.at(knee))
        growth = p95.at(size) / p95.at(knee)
        if gain <= growth * (1 + ROUNDING):
            break
        knee = size
    return knee


def _fit(sizes: Sequence[int], times: Sequence[float]) -> _Line:
    """The line with the least squared relative error through positive times."""
    # Divided by the time, the line becomes fixed x u + each x v = 1.
    pairs = [(1 / time, size / time) for size, time in zip(sizes, times, strict=True)]
    uu = sum(u * u for u, _ in pairs)
    uv = sum(u * v for u, v in pairs)
    vv = sum(v * v for _, v in pairs)
    u_sum, v_sum = sum(u for u, _ in pairs), sum(v for _, v in pairs)
    determinant = uu * vv - uv * uv
    fixed, each = (u_sum * vv - v_sum * uv) / determinant, (v_sum * uu - u_sum * uv) / determinant
    if fixed < 0:
        return _Line(0.0, v_sum / vv)
    if each < 0:
        return _Line(u_sum / uu, 0.0)
    return _Line(fixed, each)
