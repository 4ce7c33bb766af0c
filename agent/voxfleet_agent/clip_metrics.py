"""How long clips take, and what becomes of them, counted as their rows become durable."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from voxfleet_agent import metric_list
from voxfleet_api.rows import ClipStatus, ResultRow

PARTS = ("fetch", "decode", "wait", "infer", "write")


class ClipMetrics:
    def __init__(self) -> None:
        self._clips = metric_list.CLIPS.counter(None)
        self._audio = metric_list.AUDIO_SECONDS.counter(None)
        self._seconds = metric_list.CLIP_SECONDS.histogram(None)
        self._part_seconds = metric_list.CLIP_PART_SECONDS.histogram(None)

    def register(self, registry: CollectorRegistry) -> None:
        for collector in (self._clips, self._audio, self._seconds, self._part_seconds):
            registry.register(collector)

    def recorded(self, row: ResultRow) -> None:
        """Latencies are those of clips that succeeded: one that is refused says nothing about speed."""
        self._clips.labels(row.status.value).inc()
        if row.status is not ClipStatus.SUCCEEDED:
            return
        self._audio.inc(row.audio_milliseconds / 1000)
        if row.timings is None:
            return
        own = 0
        for part in PARTS:
            milliseconds: int = getattr(row.timings, f"{part}_milliseconds")
            self._part_seconds.labels(part).observe(milliseconds / 1000)
            own += 0 if part == "wait" else milliseconds
        self._seconds.observe(own / 1000)
