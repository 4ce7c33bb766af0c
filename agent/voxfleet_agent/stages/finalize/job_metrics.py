"""repro/metrics.json: what a job's rows say of its speed. Pure; the order of the rows does not matter."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable

from voxfleet_agent.percentiles import Percentiles, percentiles
from voxfleet_api.base import Decimal3, SpecModel
from voxfleet_api.results import ClipStatus, ResultRow, Timings

_STAGES = tuple(Timings.model_fields)


class TimingMetrics(SpecModel):
    """Of clips that reached a lane; `latency` is the sum of a clip's stages."""

    clips: int
    audio_milliseconds: int
    latency: Percentiles
    stages: dict[str, Percentiles]
    """By the names of a row's timings, without their unit."""
    rtf: Decimal3
    """Inference time, each clip with its share of its batch, for each second of audio."""


class JobMetrics(SpecModel):
    """metrics.json."""

    clips: dict[str, int]
    """By status."""
    audio_milliseconds: int
    """Of all clips."""
    failure_classes: dict[str, int]
    retries: int
    batch_sizes: dict[str, int]
    """Clips by the size of their batch."""
    timings: dict[str, TimingMetrics]
    """By status."""


class _Timed:
    """Numbers of the clips of one status."""

    def __init__(self) -> None:
        self.stages = {name: array("q") for name in _STAGES}
        self.latencies = array("q")
        self.audio_milliseconds = 0
        self.infer_microseconds = 0

    def metrics(self) -> TimingMetrics:
        thousandths = self.infer_microseconds // max(1, self.audio_milliseconds)
        return TimingMetrics(
            clips=len(self.latencies),
            audio_milliseconds=self.audio_milliseconds,
            latency=percentiles(self.latencies),
            stages={name.removesuffix("_milliseconds"): percentiles(values) for name, values in self.stages.items()},
            rtf=f"{thousandths // 1000}.{thousandths % 1000:03d}",
        )


class JobMetricsSum:
    """Adds rows up; keeps numbers, not rows."""

    def __init__(self) -> None:
        self._statuses: Counter[ClipStatus] = Counter()
        self._classes: Counter[str] = Counter()
        self._batches: Counter[int] = Counter()
        self._timed: dict[ClipStatus, _Timed] = {}
        self._audio_milliseconds = 0
        self._retries = 0

    def add(self, rows: Iterable[ResultRow]) -> None:
        for row in rows:
            self._statuses[row.status] += 1
            self._audio_milliseconds += row.audio_milliseconds
            self._retries += row.retries or 0
            if row.error is not None and row.error.failure_class is not None:
                self._classes[row.error.failure_class.value] += 1
            if row.batch_size is not None and row.timings is not None:
                self._batches[row.batch_size] += 1
                self._add_timings(self._timed.setdefault(row.status, _Timed()), row, row.timings, row.batch_size)

    def metrics(self) -> JobMetrics:
        return JobMetrics(
            clips={status.value: self._statuses[status] for status in ClipStatus},
            audio_milliseconds=self._audio_milliseconds,
            failure_classes=dict(self._classes),
            retries=self._retries,
            batch_sizes={str(size): count for size, count in self._batches.items()},
            timings={status.value: timed.metrics() for status, timed in self._timed.items()},
        )

    def _add_timings(self, timed: _Timed, row: ResultRow, timings: Timings, batch_size: int) -> None:
        latency = 0
        for name in _STAGES:
            milliseconds = int(getattr(timings, name))
            timed.stages[name].append(milliseconds)
            latency += milliseconds
        timed.latencies.append(latency)
        timed.audio_milliseconds += row.audio_milliseconds
        timed.infer_microseconds += timings.infer_milliseconds * 1000 // max(1, batch_size)
