"""What a probe measured, as percentiles by part. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from voxfleet_cli.columns import table

TOTAL, WAY, REST = "total", "way", "rest"
INFER = "infer"
PARTS = ("gateway", "tunnel", "wait", INFER)
"""As the gateway names them: its own work, the way to the Mac and back, waiting for the model, the model."""
PERCENTS, WIDE_PERCENTS = (50, 95, 99), (50, 90, 95, 99, 100)


@dataclass(frozen=True, slots=True)
class Call:
    """One that was answered. `total_milliseconds`: as its caller measured it."""

    total_milliseconds: float
    parts_milliseconds: Mapping[str, float] = field(default_factory=dict)


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that at least so many percent of them do not exceed. Raises ValueError for no values."""
    if not values:
        raise ValueError("there are no values")
    ordered = sorted(values)
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]


def by_part(calls: Sequence[Call]) -> dict[str, list[float]]:
    """Milliseconds of the calls by part, the total first.

    `way` is what the gateway does not account for: the network between caller and gateway. It is `rest`, with wait and
    model in it, where the gateway does not know these yet: with the first sound of streamed speech.
    """
    found = {TOTAL: [call.total_milliseconds for call in calls]}
    told = [call for call in calls if call.parts_milliseconds]
    if told:
        known = [part for part in PARTS if any(part in call.parts_milliseconds for call in told)]
        found[WAY if INFER in known else REST] = [
            max(0.0, call.total_milliseconds - sum(call.parts_milliseconds.get(part, 0.0) for part in known))
            for call in told
        ]
        found |= {part: [call.parts_milliseconds.get(part, 0.0) for call in told] for part in known}
    return found


def plain(calls: Sequence[Call], percents: Sequence[int] = WIDE_PERCENTS) -> dict[str, dict[str, float]]:
    """Milliseconds by part and percentile."""
    return {
        part: {_name(percent).lower(): round(percentile(values, percent), 1) for percent in percents}
        for part, values in by_part(calls).items()
        if values
    }


def text(calls: Sequence[Call], *, wide: bool) -> str:
    """A table in milliseconds."""
    percents = WIDE_PERCENTS if wide else PERCENTS
    rows = [[part, *(f"{value:.0f}" for value in figures.values())] for part, figures in plain(calls, percents).items()]
    return table(["PART (MS)", *(_name(percent) for percent in percents)], rows)


def _name(percent: int) -> str:
    return "MAX" if percent == 100 else f"P{percent}"
