"""Figures of one lane: its speed on the pool, its memory over many lengths, and the built-in model's ladder."""

from __future__ import annotations

import asyncio
import os
import random
import time
import wave
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path

import psutil
from rich.console import Console
from tests.bench.agent_alone import BENCH_CONTRACT
from tests.bench.baselines import check_words
from tests.bench.clips import Pool
from tests.bench.failure import MeasurementFailed
from tests.bench.pace import Pace, pace_of_verdicts
from tests.bench.report import Figure, Goal
from tests.bench.resident import slope

from voxfleet_agent import blas
from voxfleet_agent.commands.ladder import print_ladders
from voxfleet_agent.engine.compute_dtype import dtype_rule
from voxfleet_agent.ladder.ladder_book import MacLadderBook
from voxfleet_agent.lanes.lane import ProcessLane
from voxfleet_agent.lanes.lane_types import ClipTask, ClipVerdict, LaneSpec
from voxfleet_agent.machine import read_machine
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.models.store import ModelStore
from voxfleet_agent.stages.process.batching import sort_into_buckets
from voxfleet_agent.storage import Storage
from voxfleet_api.kinds.contract_limits import Batching, Ladder
from voxfleet_api.kinds.job_model import BuiltinModel, BuiltinName, ModelSource
from voxfleet_api.kinds.job_task import Task, Transcription
from voxfleet_api.ladder_table import LadderTable
from voxfleet_dev.mac import agent_environment

DISTINCT_DURATIONS = 200
FOOTPRINT_PASSES = 3
"""Over all durations: a child's size moves by megabytes with the length of its last clip."""
SETTLED_AFTER = DISTINCT_DURATIONS
"""Clips before the child's memory is looked at: until then, each length leaves buffers in MLX's cache, up to its limit.
"""
FOOTPRINT_CAP = "1Gi"
"""The lane's memory cap: MLX may keep about a fifth of it for reuse, which the first pass uses up."""
SHORTEST_MILLISECONDS, STEP_MILLISECONDS = 500, 37
RATE_HZ = 16_000
FLAT_KILOBYTES = 10.0
"""A clip; 4 MB over the passes that count."""
LADDER_CLIPS = 8

Say = Callable[[str], None]


def set_blas() -> None:
    """For lanes and peers alike: on Linux the BLAS that an agent runs with; its threads are each one's own choice."""
    os.environ.update({key: value for key, value in agent_environment().items() if key == "LD_PRELOAD"})
    os.environ.pop(blas.THREADS_VARIABLE, None)


class LaneBench:
    """A lane with the built-in model, in a process of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lane = ProcessLane("bench-0", directory / "lane")

    def pace(self, pool: Pool, batch_size: int) -> Pace:
        """`Lane.work` on a loaded lane, shortest clips first."""
        return asyncio.run(self._pace(pool, batch_size))

    def ladder(self, pool: Pool) -> LadderTable:
        """Measured on the pool's longest clips. Raises MeasurementFailed."""
        return asyncio.run(self._ladder(pool))

    def footprint_slope(self, durations: int = DISTINCT_DURATIONS) -> tuple[float, float]:
        """Bytes a clip by which the child grows over clips of as many lengths, and its size at the end."""
        return asyncio.run(self._footprint_slope(durations))

    async def _pace(self, pool: Pool, batch_size: int) -> Pace:
        lengths = [round(seconds * 1000) for seconds in pool.audio_seconds]
        tasks = [ClipTask(index, clip.path, None, lengths[index]) for index, clip in enumerate(pool.clips)]
        batches = [
            [tasks[index] for index in indexes[start : start + batch_size]]
            for indexes in sort_into_buckets(enumerate(lengths)).values()
            for start in range(0, len(indexes), batch_size)
        ]
        try:
            await self._lane.load(await self._model(), lane_order())
            self._lane.batch_size = batch_size
            await verdicts_of(self._lane, batches[:1])
            started = time.perf_counter()
            verdicts = await verdicts_of(self._lane, batches)
            seconds = time.perf_counter() - started
        finally:
            await self._lane.kill()
        texts = {verdict.index: verdict.text or "" for verdict in verdicts}
        check_words("the lane", pool, [texts[index] for index in range(len(tasks))])
        return pace_of_verdicts(verdicts, pool.total_audio_seconds, seconds)

    async def _ladder(self, pool: Pool) -> LadderTable:
        longest = sorted(range(len(pool.clips)), key=lambda index: -pool.audio_seconds[index])[:LADDER_CLIPS]
        clips = [
            ClipTask(index, pool.clips[index].path, None, round(pool.audio_seconds[index] * 1000)) for index in longest
        ]

        async def longest_clips() -> list[ClipTask]:
            return clips

        machine = read_machine(self._directory)
        rule = dtype_rule(metal=machine.gpu_working_set_bytes is not None)
        book = MacLadderBook(self._directory / "ladders", machine.chip, machine.versions, 8 * 2**30, rule)
        try:
            table = await book.table(self._lane, await self._model(), lane_order(Ladder()), longest_clips)
        finally:
            await self._lane.kill()
        if table is None:
            raise MeasurementFailed("no clip of the pool could be measured")
        return table

    async def _footprint_slope(self, durations: int) -> tuple[float, float]:
        clips = _noises(self._directory / "noises", durations)
        order = random.Random(3)  # noqa: S311 - growth with time must not look like growth with length
        sizes: list[float] = []
        try:
            await self._lane.load(await self._model(), lane_order(memory_cap=FOOTPRINT_CAP))
            if self._lane.pid is None:
                raise MeasurementFailed("the lane has no process")
            child = psutil.Process(self._lane.pid)
            for _ in range(FOOTPRINT_PASSES):
                order.shuffle(clips)
                for clip in clips:
                    await verdicts_of(self._lane, [[clip]])
                    sizes.append(float(child.memory_info().rss))
        finally:
            await self._lane.kill()
        return slope(sizes[SETTLED_AFTER:]), sizes[-1]

    async def _model(self) -> ResolvedModel:
        self._directory.mkdir(parents=True, exist_ok=True)
        models = ModelStore(self._directory / "models", 2**30)
        return await models.resolve(ModelSource(builtin=BuiltinModel(name=BuiltinName.COMMANDS)), Storage((), None))


def ladder_figures(bench: LaneBench, pool: Pool, console: Console) -> tuple[list[Figure], int]:
    """The ladder as a table on the console, its outcome as figures, and the batch size to use."""
    table = bench.ladder(pool)
    print_ladders([table], console)
    tiers = [
        Figure(
            f"ladder_batch_{tier.batch_size}_audio_seconds_per_second",
            tier.audio_seconds_per_second,
            f"audio seconds a second of inference, batch {tier.batch_size}, p95 {tier.clip_p95_milliseconds} ms,"
            f" peak {tier.peak_rss_bytes / 2**20:.0f} MiB",
        )
        for tier in table.tiers
    ]
    chosen = Figure(
        "ladder_batch_size",
        float(table.chosen),
        f"clips a batch, built-in model; knees: memory {table.memory_knee}, latency {table.latency_knee},"
        f" throughput {table.throughput_knee}",
    )
    return [*tiers, chosen], table.chosen


def footprint_figures(bench: LaneBench, say: Say) -> list[Figure]:
    say(f"a lane, {FOOTPRINT_PASSES} times {DISTINCT_DURATIONS} clips of as many lengths")
    bytes_a_clip, last_bytes = bench.footprint_slope()
    say(f"the child grew by {bytes_a_clip / 1000:.1f} kB a clip, to {last_bytes / 1e6:.0f} MB")
    return [
        Figure(
            "lane_growth_kilobytes_per_clip",
            bytes_a_clip / 1000,
            f"kB a clip, a child's resident memory after the first of {FOOTPRINT_PASSES} passes over"
            f" {DISTINCT_DURATIONS} distinct durations, memory cap {FOOTPRINT_CAP}",
            Goal("<=", FLAT_KILOBYTES),
        )
    ]


async def verdicts_of(
    lane: ProcessLane, batches: Sequence[Sequence[ClipTask]], *, any_verdict: bool = False
) -> list[ClipVerdict]:
    """Raises MeasurementFailed for a clip that failed, unless `any_verdict` is good enough."""

    async def fed() -> AsyncIterator[Sequence[ClipTask]]:
        for batch in batches:
            yield batch

    verdicts: list[ClipVerdict] = []
    async with aclosing(lane.work(fed())) as working:
        async for verdict in working:
            if verdict.failure_class is not None and not any_verdict:
                raise MeasurementFailed(f"clip {verdict.index}: {verdict.failure_class}: {verdict.reason}")
            verdicts.append(verdict)
    return verdicts


def lane_order(ladder: Ladder | None = None, memory_cap: str | None = None) -> LaneSpec:
    contract = BENCH_CONTRACT.model_copy(update={"batching": Batching(ladder=ladder, memory_cap=memory_cap)})
    return LaneSpec(task=Task.TRANSCRIBE, contract=contract, transcription=Transcription())


def _noises(folder: Path, count: int) -> list[ClipTask]:
    """Clips of quiet noise, each of another length."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = random.Random(1)  # noqa: S311 - sound
    tasks = []
    for number in range(count):
        milliseconds = SHORTEST_MILLISECONDS + number * STEP_MILLISECONDS
        path = folder / f"{number:03d}.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE_HZ)
            samples = (noise.randrange(-100, 100) for _ in range(RATE_HZ * milliseconds // 1000))
            file.writeframes(b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples))
        tasks.append(ClipTask(number, path, None, milliseconds))
    return tasks
