"""Chooses the batch size from a ladder of measured tiers. Pure.

Memory knee: the largest batch size of the unbroken series of tiers at or under the memory cap; 1 when even the first
tier exceeds it. A tier's memory is the larger of its process's peak and Metal's peak, which overlap on unified memory.
Only these tiers count for the other knees, because a tier that swaps says nothing about the others.

Throughput knee: the smallest batch size whose throughput is within 5 % of the best, among the tiers whose p95 keeps to
the contract's slo.offlineTailP95. It is the batch size of an offline pool, which is paid by the machine-hour.

Latency knee: the last tier whose throughput gains more than its p95 grows,

    throughput(k) / throughput(previous)  >  p95(k) / p95(previous),

starting at the smallest tier. Near its maximum the ratio of gain to growth is flat, so 2 % of noise would move this
knee by several tiers. Therefore the time of a batch is modelled as `fixed + each x k`; both coefficients are fitted by
least squares of the relative error, once to the mean time of a batch (throughput) and once to its p95. Where the line
misses what was measured by more than noise explains, the measured time counts. With two tiers nothing is fitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from voxfleet_api.ladder_table import LadderTable, LadderTier

ROUNDING = 1e-9
"""Relative; a gain that exceeds the growth by less than this does not count."""
TOLERANCE = 0.05
"""Relative: throughputs that differ by less are as good as equal."""
MISFIT = 0.2
"""Relative; beyond what noise explains, a measured time is used instead of the fitted one."""


@dataclass(frozen=True, slots=True)
class Knees:
    memory: int
    latency: int
    throughput: int


ONE = Knees(memory=1, latency=1, throughput=1)
"""Those of a model that works on one clip at a time."""


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


def decide_knees(tiers: Sequence[LadderTier], memory_cap_bytes: int, tail_p95_milliseconds: int | None = None) -> Knees:
    """All knees of `tiers`, in ascending order of batch size. Raises ValueError for no tiers or another order."""
    sizes = [tier.batch_size for tier in tiers]
    if not sizes or sizes != sorted(set(sizes)):
        raise ValueError(f"a ladder needs tiers of ascending batch sizes, not {sizes}")
    fitting = _fitting(tiers, memory_cap_bytes)
    if not fitting:
        return Knees(memory=1, latency=sizes[0], throughput=1)
    return Knees(
        memory=fitting[-1].batch_size,
        latency=_latency_knee(fitting),
        throughput=_throughput_knee(_in_time(fitting, tail_p95_milliseconds) or fitting[:1]),
    )


def explain(table: LadderTable) -> str:
    """Explains in words which batch size is used and what determined it."""
    fitting = _fitting(table.tiers, table.memory_cap_bytes)
    used = f"{table.chosen} is used"
    if table.one_clip_at_a_time:
        return f"{used}: a {table.family} model works on one clip at a time, so nothing was measured"
    if table.stepped_down_for is not None:
        return (
            f"{used} and no longer {table.throughput_knee}, the throughput knee: a job had to step down, because"
            f" {table.stepped_down_for}"
        )
    if not fitting:
        return f"{used}: even batch size {table.tiers[0].batch_size} needs more than the memory cap"
    in_time = _in_time(fitting, table.tail_p95_milliseconds)
    if not in_time:
        return f"{used}: even its p95 is longer than slo.offlineTailP95"
    if len(table.tiers) == 1:
        return f"{used}: no larger batch size could be measured"
    limits = _deciding_limits(table, fitting, in_time)
    under = f" under {' and '.join(limits)}" if limits else ""
    return f"{used}, the throughput knee: the smallest within 5 % of the best throughput{under}"


def _deciding_limits(table: LadderTable, fitting: Sequence[LadderTier], in_time: Sequence[LadderTier]) -> list[str]:
    """The limits without which another batch size would be the throughput knee."""
    knee = _throughput_knee(in_time)
    without = {
        "slo.offlineTailP95": fitting,
        "the memory cap": _in_time(table.tiers, table.tail_p95_milliseconds),
    }
    alone = [limit for limit, tiers in without.items() if _throughput_knee(tiers) != knee]
    # Where each limit suffices, it takes both to be lifted.
    return alone or ([*without] if _throughput_knee(table.tiers) != knee else [])


def _in_time(tiers: Sequence[LadderTier], tail_p95_milliseconds: int | None) -> list[LadderTier]:
    return [
        tier for tier in tiers if tail_p95_milliseconds is None or tier.clip_p95_milliseconds <= tail_p95_milliseconds
    ]


def _throughput_knee(tiers: Sequence[LadderTier]) -> int:
    enough = (1 - TOLERANCE) * max(tier.audio_seconds_per_second for tier in tiers)
    return next(tier.batch_size for tier in tiers if tier.audio_seconds_per_second >= enough)


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
    mean = _smoothed({tier.batch_size: tier.batch_size / max(tier.audio_seconds_per_second, 1e-9) for tier in tiers})
    p95 = _smoothed({tier.batch_size: float(max(1, tier.clip_p95_milliseconds)) for tier in tiers})
    knee = sizes[0]
    for size in sizes[1:]:
        gain = (size / mean[size]) / (knee / mean[knee])
        growth = p95[size] / p95[knee]
        if gain <= growth * (1 + ROUNDING):
            break
        knee = size
    return knee


def _smoothed(times: Mapping[int, float]) -> dict[int, float]:
    """Times by batch size: those of the fitted line, or the measured ones where the line misses them."""
    line = _fit(list(times), list(times.values()))
    return {size: line.at(size) if abs(line.at(size) - time) <= MISFIT * time else time for size, time in times.items()}


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
