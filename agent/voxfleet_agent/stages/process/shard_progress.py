"""How far a shard has come, in clips and in audio."""

from __future__ import annotations

from collections.abc import Mapping

from voxfleet_agent.stages.stage_context import ProgressSink
from voxfleet_api.rows import ManifestRow


class ShardProgressMeter:
    """Counts audio as Plan found it: a clip without an announced length counts as a clip alone."""

    def __init__(self, sink: ProgressSink, clips: Mapping[int, ManifestRow], done: int, done_milliseconds: int) -> None:
        """`done`, `done_milliseconds`: the clips of the shard that have a row already, and their audio."""
        self._sink = sink
        self._clips = clips
        self._done = done
        self._done_milliseconds = done_milliseconds
        self._under_way: dict[int, int] = {}
        """Milliseconds heard, by the index of a clip without a row."""
        self._report()

    def heard(self, index: int, audio_milliseconds: int) -> None:
        """The model has worked through this much of a clip. It never falls: a second try begins at the start."""
        heard_milliseconds = min(audio_milliseconds, self._clips[index].audio_milliseconds)
        if heard_milliseconds > self._under_way.get(index, 0):
            self._under_way[index] = heard_milliseconds
            self._report()

    def row_recorded(self, index: int) -> None:
        """The clip has its durable row."""
        self._under_way.pop(index, None)
        self._done += 1
        self._done_milliseconds += self._clips[index].audio_milliseconds
        self._report()

    def _report(self) -> None:
        self._sink(self._done, len(self._clips), self._done_milliseconds + sum(self._under_way.values()))
