"""A job's throughput and latency, from its rows, for repro/metrics.json and its report. Pure.

The order of the rows does not matter.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from voxfleet_agent.percentiles import Percentiles, percentiles
from voxfleet_api.base import Decimal3, SpecModel
from voxfleet_api.rows import ClipStatus, ResultRow, Timings
from voxfleet_report.distribution import Distribution, distribution

_STAGES = tuple(Timings.model_fields)


class TimingMetrics(SpecModel):
    """Timings of clips that reached a lane, in milliseconds."""

    clips: int
    audio_milliseconds: int
    own: Percentiles
    """A clip's own fetch, decode, infer and write."""
    latency: Percentiles
    """From the start of a clip's fetch to its durable row: its own time, and its wait behind other clips of the job."""
    stages: dict[str, Percentiles]
    """By the names of a row's timings without their unit."""
    rtf: Decimal3
    """Real-time factor: inference time per second of audio. Each clip counts its share of its batch's inference."""


class JobMetrics(SpecModel):
    """The content of metrics.json."""

    clips: dict[str, int]
    """Number of clips by status."""
    audio_milliseconds: int
    """The audio of all clips."""
    failure_classes: dict[str, int]
    warnings: dict[str, int]
    """Number of clips by the code of a warning."""
    retries: int
    batch_sizes: dict[str, int]
    """Number of clips by the size of their batch."""
    timings: dict[str, TimingMetrics]
    """Timings by status."""


class _TimingSums:
    """Sums and latencies of all clips with one status."""

    def __init__(self) -> None:
        self.stages = {name: array("q") for name in _STAGES}
        self.own = array("q")
        self.latencies = array("q")
        self.rtf_thousandths = array("q")
        self.audio_milliseconds = 0
        self.infer_microseconds = 0

    def metrics(self) -> TimingMetrics:
        thousandths = self.infer_microseconds // max(1, self.audio_milliseconds)
        return TimingMetrics(
            clips=len(self.latencies),
            audio_milliseconds=self.audio_milliseconds,
            own=percentiles(self.own),
            latency=percentiles(self.latencies),
            stages={name.removesuffix("_milliseconds"): percentiles(values) for name, values in self.stages.items()},
            rtf=f"{thousandths // 1000}.{thousandths % 1000:03d}",
        )


@dataclass(frozen=True, slots=True)
class ClipTimes:
    """How the times of the clips with a result spread."""

    milliseconds: dict[str, Distribution]
    """By `latency`, `own` and the names of a row's timings without their unit."""
    rtf_thousandths: Distribution | None
    audio_milliseconds: int
    infer_milliseconds: int
    """Each batch counts once."""


class JobMetricsSum:
    """Adds rows up without keeping them."""

    def __init__(self) -> None:
        self._statuses: Counter[ClipStatus] = Counter()
        self._classes: Counter[str] = Counter()
        self._warned: Counter[str] = Counter()
        self._batches: Counter[int] = Counter()
        self._timed: dict[ClipStatus, _TimingSums] = {}
        self._audio_milliseconds = 0
        self._retries = 0

    def add(self, rows: Iterable[ResultRow]) -> None:
        for row in rows:
            self._statuses[row.status] += 1
            self._audio_milliseconds += row.audio_milliseconds
            self._retries += row.retries or 0
            self._warned.update({warning.code.value for warning in row.warnings})
            if row.error is not None and row.error.failure_class is not None:
                self._classes[row.error.failure_class.value] += 1
            if row.batch_size is not None and row.timings is not None:
                self._batches[row.batch_size] += 1
                self._add_timings(self._timed.setdefault(row.status, _TimingSums()), row, row.timings, row.batch_size)

    def metrics(self) -> JobMetrics:
        return JobMetrics(
            clips={status.value: self._statuses[status] for status in ClipStatus},
            audio_milliseconds=self._audio_milliseconds,
            failure_classes=dict(self._classes),
            warnings=dict(self._warned),
            retries=self._retries,
            batch_sizes={str(size): count for size, count in self._batches.items()},
            timings={status.value: timed.metrics() for status, timed in self._timed.items()},
        )

    def clip_times(self) -> ClipTimes:
        timed = self._timed.get(ClipStatus.SUCCEEDED, _TimingSums())
        values = {"latency": timed.latencies, "own": timed.own}
        values |= {name.removesuffix("_milliseconds"): times for name, times in timed.stages.items()}
        spread = {name: distribution(times) for name, times in values.items()}
        return ClipTimes(
            milliseconds={name: found for name, found in spread.items() if found is not None},
            rtf_thousandths=distribution(timed.rtf_thousandths),
            audio_milliseconds=timed.audio_milliseconds,
            infer_milliseconds=timed.infer_microseconds // 1000,
        )

    def _add_timings(self, timed: _TimingSums, row: ResultRow, timings: Timings, batch_size: int) -> None:
        latency = 0
        for name in _STAGES:
            milliseconds = int(getattr(timings, name))
            timed.stages[name].append(milliseconds)
            latency += milliseconds
        timed.own.append(latency - timings.wait_milliseconds)
        timed.latencies.append(latency)
        timed.audio_milliseconds += row.audio_milliseconds
        infer_microseconds = timings.infer_milliseconds * 1000 // max(1, batch_size)
        timed.infer_microseconds += infer_microseconds
        timed.rtf_thousandths.append(infer_microseconds // max(1, row.audio_milliseconds))
