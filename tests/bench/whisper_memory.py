"""The memory of a lane with a real model over many lengths of speech."""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from tests.bench.failure import MeasurementFailed
from tests.bench.lane_figures import FLAT_KILOBYTES, SETTLED_AFTER, lane_order, verdicts_of
from tests.bench.report import Figure, Goal
from tests.bench.resident import slope
from tests.bench.spoken_clips import RATE_HZ, read_aloud, write_clip

from voxfleet_accuracy.sounds import Samples
from voxfleet_agent.lanes.lane import ProcessLane
from voxfleet_agent.lanes.lane_types import ClipTask
from voxfleet_agent.models.resolved_model import ResolvedModel

DISTINCT_DURATIONS = 500
SHORTEST_MILLISECONDS, STEP_MILLISECONDS = 500, 57
"""The longest clip has 29 s: Whisper hears 30 s at once."""
SHORT_SECONDS, WHOLE_SECONDS = 120.0, 1800.0
REPORT_SECONDS = 60.0
MIB = 2**20

Say = Callable[[str], None]


@dataclass(frozen=True)
class ResidentSizes:
    """The lane's resident memory after each clip, in bytes."""

    sizes: tuple[float, ...]
    durations: int
    """How many lengths were different."""

    @property
    def settled(self) -> list[float]:
        return list(self.sizes[SETTLED_AFTER:])

    @property
    def growth_bytes(self) -> float:
        """From the first tenth after settling to the last tenth: the difference of their medians."""
        tenth = max(1, len(self.settled) // 10)
        return statistics.median(self.settled[-tenth:]) - statistics.median(self.settled[:tenth])


def whisper_memory_figures(directory: Path, model: ResolvedModel, whole: bool, say: Say) -> list[Figure]:
    """Runs clips of many lengths in a random order: for two minutes, or the whole of half an hour and every length.

    Raises MeasurementFailed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    seconds, durations = (WHOLE_SECONDS, DISTINCT_DURATIONS) if whole else (SHORT_SECONDS, SETTLED_AFTER + 2)
    say(f"a lane with Whisper tiny.en, {seconds / 60:g} minutes of clips and at least {durations} lengths")
    found = asyncio.run(_resident_sizes(directory, model, seconds, durations, say))
    what = f"{len(found.sizes)} clips of {found.durations} distinct durations, Whisper tiny.en"
    return [
        Figure(
            "whisper_growth_kilobytes_per_clip",
            slope(found.settled) / 1000,
            f"kB a clip, a child's resident memory by least squares, {what}",
            # Fewer clips tell more of their lengths than of the memory.
            Goal("<=", FLAT_KILOBYTES) if whole else None,
        ),
        Figure("whisper_growth_megabytes", found.growth_bytes / 1e6, f"MB from the first tenth to the last, {what}"),
        Figure("whisper_peak_rss_megabytes", max(found.sizes) / 1e6, f"MB of a lane's child, {what}"),
    ]


async def _resident_sizes(
    directory: Path, model: ResolvedModel, seconds: float, durations: int, say: Say
) -> ResidentSizes:
    lane = ProcessLane("bench-0", directory / "lane")
    sizes: list[float] = []
    lengths: set[int] = set()
    try:
        await lane.load(model, lane_order())
        if lane.pid is None:
            raise MeasurementFailed("the lane has no process")
        child = psutil.Process(lane.pid)
        started = told = time.monotonic()
        for number, (milliseconds, samples) in enumerate(_cuts(read_aloud())):
            path = write_clip(directory / "clip.wav", samples)
            await verdicts_of(lane, [[ClipTask(number, path, None, milliseconds)]], any_verdict=True)
            if lane.pid != child.pid:
                raise MeasurementFailed(f"the lane's child was replaced at clip {number}, {milliseconds} ms long")
            sizes.append(float(child.memory_info().rss))
            lengths.add(milliseconds)
            now = time.monotonic()
            if now - told >= REPORT_SECONDS:
                told = now
                say(f"{(now - started) / 60:.0f} min: {len(sizes)} clips, {sizes[-1] / MIB:.0f} MiB")
            if now - started >= seconds and len(lengths) >= durations:
                break
    finally:
        await lane.kill()
    return ResidentSizes(tuple(sizes), len(lengths))


def _cuts(audio: Samples) -> Iterator[tuple[int, Samples]]:
    """Stretches of `audio`, (N,) at RATE_HZ, without end: every length once before one comes again."""
    chance = random.Random(3)  # noqa: S311 - growth with time must not look like growth with length
    for _ in itertools.count():
        for number in chance.sample(range(DISTINCT_DURATIONS), DISTINCT_DURATIONS):
            milliseconds = SHORTEST_MILLISECONDS + number * STEP_MILLISECONDS
            frames = milliseconds * RATE_HZ // 1000
            start = chance.randrange(len(audio) - frames)
            yield milliseconds, audio[start : start + frames]
