"""Counts, times and percentiles of a finished run's rows. Pure."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from voxfleet_agent.percentiles import Percentiles, percentiles
from voxfleet_api.results import Counts
from voxfleet_api.rows import ClipStatus, ResultRow, Timings

TIMINGS = ("fetch", "decode", "wait", "infer", "write")
OWN = "own"
"""All of a clip's latency but the wait, which it spent behind other clips of its job."""
LATENCY = "latency"
"""From the start of a clip's fetch to its row being durable."""


@dataclass(frozen=True, slots=True)
class RowStatistics:
    counts: Counts
    classes: dict[str, int]
    """Rows without a result, by failure class."""
    warnings: dict[str, int]
    """Rows with a warning, by its code."""
    audio_milliseconds: int
    """Audio of the clips that have a result."""
    infer_milliseconds: int
    """The model's time for these clips: each batch counts once, shared among its clips."""
    spreads: dict[str, Percentiles]
    """Percentiles by timing, and of OWN and LATENCY; empty when no clip was timed."""

    @property
    def audio_seconds_per_infer_second(self) -> float | None:
        return self.audio_milliseconds / self.infer_milliseconds if self.infer_milliseconds else None

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of inference per second of audio."""
        return self.infer_milliseconds / self.audio_milliseconds if self.audio_milliseconds else None


def row_statistics(rows: Iterable[ResultRow]) -> RowStatistics:
    """Reads the rows once and keeps numbers only."""
    status: Counter[ClipStatus] = Counter()
    classes: Counter[str] = Counter()
    warned: Counter[str] = Counter()
    values = {name: array("q") for name in (*TIMINGS, OWN, LATENCY)}
    audio_milliseconds, infer_milliseconds = 0, 0.0
    for row in rows:
        status[row.status] += 1
        warned.update({warning.code.value for warning in row.warnings})
        if row.error is not None and row.error.failure_class is not None:
            classes[row.error.failure_class.value] += 1
        if row.status is ClipStatus.SUCCEEDED and row.timings is not None:
            audio_milliseconds += row.audio_milliseconds
            infer_milliseconds += infer_share_milliseconds(row)
            for name, times in values.items():
                times.append(timing(row.timings, name))
    return RowStatistics(
        counts=Counts(
            succeeded=status[ClipStatus.SUCCEEDED],
            failed=status[ClipStatus.FAILED],
            quarantined=status[ClipStatus.QUARANTINED],
            not_run=status[ClipStatus.NOT_RUN],
        ),
        classes=dict(sorted(classes.items())),
        warnings=dict(sorted(warned.items())),
        audio_milliseconds=audio_milliseconds,
        infer_milliseconds=round(infer_milliseconds),
        spreads={name: percentiles(times) for name, times in values.items() if times},
    )


def infer_share_milliseconds(row: ResultRow) -> float:
    """Returns the clip's share of the model's time for its batch."""
    return 0.0 if row.timings is None else row.timings.infer_milliseconds / max(1, row.batch_size or 1)


def timing(timings: Timings, name: str) -> int:
    """Returns the milliseconds of one of TIMINGS, of OWN or of LATENCY."""
    if name == LATENCY:
        return sum(timing(timings, part) for part in TIMINGS)
    if name == OWN:
        return timing(timings, LATENCY) - timings.wait_milliseconds
    value: int = getattr(timings, f"{name}_milliseconds")
    return value
