"""Stubs of the lane, the journal, ladders and quarantine. They behave as stages/stage_context.py documents."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from voxfleet_agent.journal.stage_journal import FrozenPart
from voxfleet_agent.lanes.lane_types import (
    ClipTask,
    ClipVerdict,
    Lane,
    LaneSpec,
    LoadedModel,
    StepDown,
    SynthesizedFile,
)
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.stages.stage_context import StageJournal
from voxfleet_agent.storage import Listing, ObjectVersion, Storage
from voxfleet_agent.storage.listing import EnterFolder, every_folder
from voxfleet_agent.storage.upload_content import Content
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.job_model import ModelSource
from voxfleet_api.ladder_table import LadderTable, LadderTier
from voxfleet_api.rows import Attestation, Evidence, ResultRow, TimedText
from voxfleet_api.run_record import LaneReadings

T = TypeVar("T")

MODEL_DIGEST = "sha256:" + "5" * 64
RATE_HZ = 16000
CLIP_MILLISECONDS = 200


class Edges:
    """Points before and after each durable write and each transfer, where a test can look or end the run."""

    def __init__(self, watch: Callable[[str], None] = lambda name: None) -> None:
        self.watch = watch
        self.passed: list[str] = []

    def step(self, name: str) -> None:
        self.passed.append(name)
        self.watch(name)


class MemoryJournal(StageJournal):
    """A journal in memory."""

    def __init__(self, edges: Edges) -> None:
        self.edges = edges
        self.base_content: bytes | None = None
        self.rows: dict[int, ResultRow] = {}
        self.frozen: dict[int, FrozenPart] = {}
        self.contents: dict[int, bytes] = {}
        self.in_parts: set[int] = set()
        self.contents_read: list[int] = []
        self.transaction_sizes: list[int] = []
        """Number of rows in each transaction."""

    async def base(self) -> bytes | None:
        self.edges.step("read base")
        return self.base_content

    async def freeze_base(self, content: bytes, kept_rows: Sequence[ResultRow] = ()) -> None:
        self.edges.step("before freeze base")
        assert self.base_content is None, "a base is frozen once"
        self.base_content = content
        self.rows.update((row.index, row) for row in kept_rows)
        self.edges.step("after freeze base")

    async def record_rows(self, rows: Sequence[ResultRow]) -> None:
        self.edges.step("before record row")
        for row in rows:
            assert row.index not in self.rows, f"clip {row.index} has two rows under one attempt"
        self.rows.update((row.index, row) for row in rows)
        self.transaction_sizes.append(len(rows))
        self.edges.step("after record row")

    async def recorded_indexes(self) -> frozenset[int]:
        return frozenset(self.rows)

    async def unfrozen_lines(self, limit: int) -> Sequence[tuple[int, bytes]]:
        return [(index, self.rows[index].line()) for index in sorted(self.rows.keys() - self.in_parts)][:limit]

    async def freeze_part(self, part: FrozenPart, content: bytes, indexes: Sequence[int]) -> None:
        self.edges.step(f"before freeze part-{part.number:06d}")
        assert part.number not in self.frozen
        assert self.in_parts.isdisjoint(indexes)
        assert set(indexes) <= self.rows.keys()
        self.frozen[part.number] = part
        self.contents[part.number] = content
        self.in_parts.update(indexes)
        self.edges.step(f"after freeze part-{part.number:06d}")

    async def parts(self) -> Sequence[FrozenPart]:
        return [self.frozen[number] for number in sorted(self.frozen)]

    async def part_content(self, number: int) -> bytes:
        self.contents_read.append(number)
        return self.contents[number]

    async def mark_uploaded(self, number: int) -> None:
        self.edges.step(f"before mark part-{number:06d}")
        self.frozen[number] = replace(self.frozen[number], uploaded=True)
        self.edges.step(f"after mark part-{number:06d}")


class WatchedStorage(Storage):
    """The real storage on local files, with an edge before and after each transfer."""

    def __init__(self, allow: Sequence[str], edges: Edges) -> None:
        super().__init__(allow)
        self.edges = edges

    async def download(self, uri: str, target: Path, version: ObjectVersion) -> str:
        return await self._around("download", uri, lambda: super(WatchedStorage, self).download(uri, target, version))

    async def put(self, uri: str, content: bytes | Content) -> None:
        await self._around("put", uri, lambda: super(WatchedStorage, self).put(uri, content))

    async def put_once(self, uri: str, content: bytes) -> None:
        await self._around("put", uri, lambda: super(WatchedStorage, self).put_once(uri, content))

    async def put_file(self, uri: str, path: Path) -> None:
        await self._around("put", uri, lambda: super(WatchedStorage, self).put_file(uri, path))

    async def list_objects(self, prefix: str, limit: int, enter: EnterFolder = every_folder) -> Listing:
        return await self._around(
            "list", prefix, lambda: super(WatchedStorage, self).list_objects(prefix, limit, enter)
        )

    async def _around(self, verb: str, uri: str, call: Callable[[], Awaitable[T]]) -> T:
        name = f"{verb} {uri.rpartition('/')[2]}"
        self.edges.step(f"before {name}")
        result = await call()
        self.edges.step(f"after {name}")
        return result


class StubLane:
    """A deterministic lane: the text of a clip is a function of its bytes. It reads one batch ahead."""

    def __init__(self, journal: MemoryJournal | None = None, batch_size: int = 1) -> None:
        self.batch_size = batch_size
        self.batches_clips = True
        self.journal = journal
        self.loaded: list[LaneSpec] = []
        self.batches: list[list[int]] = []
        self.worked_on: list[int] = []
        self.failures: dict[int, tuple[FailureClass, str]] = {}
        self.retried_for: dict[int, tuple[FailureClass, ...]] = {}
        self.before: Callable[[ClipTask], Awaitable[None]] | None = None
        self.segments: tuple[TimedText, ...] | None = None
        self.stepped_down: StepDown | None = None

    async def load(self, model: ResolvedModel, lane_spec: LaneSpec) -> LoadedModel:
        self.loaded.append(lane_spec)
        return LoadedModel(
            RATE_HZ,
            "stub",
            self.batches_clips,
            1000,
            "float32",
            64,
            7,
            "stub BLAS",
            {"MLX_AUDIO_BATCH_SIZE": str(self.batch_size)},
        )

    async def work(self, batches: AsyncIterator[Sequence[ClipTask]]) -> AsyncGenerator[ClipVerdict, None]:
        iterator = aiter(batches)
        next_batch = asyncio.ensure_future(anext(iterator, None))
        try:
            while (batch := await next_batch) is not None:
                next_batch = asyncio.ensure_future(anext(iterator, None))
                self.batches.append([task.index for task in batch])
                for task in batch:
                    yield await self.verdict(task, len(batch))
        finally:
            if next_batch.cancel():
                await asyncio.wait({next_batch})

    async def verdict(self, task: ClipTask, batch_size: int) -> ClipVerdict:
        if self.before is not None:
            await self.before(task)
        if self.journal is not None:
            assert task.index not in self.journal.rows, "a recorded clip is never worked on again"
        self.worked_on.append(task.index)
        failure_class, reason = self.failures.get(task.index, (None, ""))
        verdict = ClipVerdict(
            index=task.index,
            failure_class=failure_class,
            reason=reason,
            audio_milliseconds=CLIP_MILLISECONDS,
            decode_milliseconds=1,
            infer_milliseconds=2,
            batch_size=batch_size,
            retried_for=self.retried_for.get(task.index, ()),
        )
        if failure_class is not None:
            return verdict
        if task.text is not None:
            content = synthesized_bytes(task.text)
            task.path.write_bytes(content)
            return replace(
                verdict, synthesized=SynthesizedFile(len(content), 24_000, chunks=3, interval_milliseconds=480)
            )
        return replace(
            verdict,
            text=text_of(task.path.read_bytes()),
            segments=self.segments,
            words=self.segments,
            language="en",
            attestation=Attestation(
                container="wav", encoding="pcm16", sample_rate_hz=RATE_HZ, channels=1, decoder="stub 1"
            ),
        )

    async def unload(self) -> None:
        raise AssertionError("only the ladder unloads a lane, never a stage")

    def readings(self) -> LaneReadings:
        return LaneReadings(ring_bytes=64, batch_size=self.batch_size)


class FixedModel:
    def __init__(self, digest: str = MODEL_DIGEST, path: Path = Path("/nowhere")) -> None:
        self.digest = digest
        self.path = path

    async def resolve(self, source: ModelSource, storage: Storage) -> ResolvedModel:
        return ResolvedModel(self.path, self.digest, files={"model.safetensors": "5" * 64})


MEASURING_MILLISECONDS = 20


class StubLadders:
    """Records the clips that it is asked to measure."""

    def __init__(self, chosen: int = 2) -> None:
        self.chosen = chosen
        self.measured: list[list[tuple[int, bytes]]] = []
        self.stored_table: LadderTable | None = None
        self.stepped_down: list[tuple[int, str]] = []

    async def table(
        self,
        lane: Lane,
        model: ResolvedModel,
        lane_spec: LaneSpec,
        longest: Callable[[], Awaitable[Sequence[ClipTask]]],
    ) -> LadderTable | None:
        clips = await longest() if (await lane.load(model, lane_spec)).batches else ()
        self.measured.append([(task.index, task.path.read_bytes()) for task in clips])
        await asyncio.sleep(MEASURING_MILLISECONDS / 1000)  # measuring takes time
        return ladder_table(self.chosen)

    def stored(self, model: ResolvedModel, contract_digest: str) -> LadderTable | None:
        return self.stored_table

    async def step_down(self, model: ResolvedModel, contract_digest: str, batch_size: int, reason: str) -> None:
        self.stepped_down.append((batch_size, reason))


class StubQuarantine:
    def __init__(self, edges: Edges) -> None:
        self.edges = edges
        self.kept: list[tuple[Evidence, bytes | None]] = []

    async def keep(self, evidence: Evidence, clip: Path | None) -> None:
        self.edges.step(f"keep {evidence.index}")
        self.kept.append((evidence, None if clip is None else await asyncio.to_thread(clip.read_bytes)))


def ladder_table(chosen: int) -> LadderTable:
    tiers = tuple(
        LadderTier(
            batch_size=size,
            peak_rss_bytes=1000 * size,
            audio_milliseconds=3000,
            infer_milliseconds=700,
            clip_p50_milliseconds=size,
            clip_p95_milliseconds=2 * size,
        )
        for size in (1, 2)
    )
    return LadderTable(
        model_digest=MODEL_DIGEST,
        contract_digest=MODEL_DIGEST,
        chip="M4",
        versions={"mlx": "0.32.4"},
        sample_rate_hz=RATE_HZ,
        memory_cap_bytes=10_000,
        tiers=tiers,
        memory_knee=2,
        latency_knee=1,
        throughput_knee=chosen,
        chosen=chosen,
    )


def text_of(content: bytes) -> str:
    return f"words of {hashlib.sha256(content).hexdigest()[:8]}"


def synthesized_bytes(text: str) -> bytes:
    return f"speech of {text}".encode()
