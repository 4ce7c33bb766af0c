"""From planned clips to durable rows: fetching stays ahead of the lane, rows and parts leave behind its back."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

from voxfleet_agent.lanes.lane_types import LANE_BATCHES, ClipTask, ClipVerdict, Lane, LaneSpec, LoadedModel
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.stages.context import StageContext
from voxfleet_agent.stages.job_files import JobFiles
from voxfleet_agent.stages.process.batching import ReadyClips
from voxfleet_agent.stages.process.part_uploader import PartUploader
from voxfleet_agent.stages.process.prefetch import ClipSource, PrefetchWindow, PreparedClip
from voxfleet_agent.stages.process.row_recorder import RowRecorder
from voxfleet_agent.stages.result_rows import RowFactory
from voxfleet_agent.stages.synthesis_files import deliver_audio
from voxfleet_api.failures import FailureClass
from voxfleet_api.results import ManifestRow, Timings, attempt_folder

BATCHES_AHEAD = LANE_BATCHES + 2
"""Those in the lane, one that fills up, one whose rows are being written."""
WINDOW_BYTES = 512 * 2**20
REFUSED_AT_A_TIME = 8


class Pipeline:
    """One run over the clips that are still to do."""

    def __init__(
        self,
        ctx: StageContext,
        lane: Lane,
        intake: ClipSource,
        recorder: RowRecorder,
        parts: PartUploader,
        files: JobFiles,
        retries: Counter[FailureClass],
    ) -> None:
        """`retries` is added to."""
        self._ctx = ctx
        self._lane = lane
        self._intake = intake
        self._recorder = recorder
        self._parts = parts
        self._files = files
        self._retries = retries
        self._folder = attempt_folder(ctx.spec.shard_uid, ctx.spec.attempt)
        self._rows = RowFactory(ctx.spec.attempt, ctx.provenance, ctx.spec.contract.output.timestamps)
        self._window = PrefetchWindow(lambda: BATCHES_AHEAD * self._lane.batch_size, WINDOW_BYTES)
        self._held: set[Path] = set()
        self._in_lane: dict[int, PreparedClip] = {}
        self._loaded_at_seconds = 0.0

    async def run(
        self,
        clips: Mapping[int, ManifestRow],
        refused: Sequence[int],
        buckets: Mapping[int, Sequence[int]],
        model: ResolvedModel,
        order: LaneSpec,
        batch_size: int | None,
    ) -> LoadedModel | None:
        """Leaves a durable row for each clip; None when none of them needed the lane.

        `refused` and the indexes in `buckets` are the clips to do; `batch_size`: the lane's own when None. Raises
        VoxFleetError for what another clip would meet too.
        """
        facts = None
        if batch_size is not None:
            self._lane.batch_size = batch_size  # loading tells it to the child
        try:
            async with asyncio.TaskGroup() as delivery:
                delivery.create_task(self._parts.keep_delivering())
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._record_refused(clips, refused))
                    if buckets:
                        batches = ReadyClips[PreparedClip](
                            {bucket: len(indexes) for bucket, indexes in buckets.items()},
                            lambda: self._lane.batch_size,
                        )
                        group.create_task(self._prepare_all(group, batches, clips, buckets))
                        facts = await self._lane.load(model, order)
                        await self._ctx.working()
                        self._loaded_at_seconds = time.monotonic()
                        await self._work(group, batches)
                self._parts.end()
        finally:
            for path in sorted(self._held):
                await self._ctx.scratch.release(path)
        return facts

    async def _record_refused(self, clips: Mapping[int, ManifestRow], refused: Sequence[int]) -> None:
        """What Plan refused becomes rows, beside the lane's work."""
        indexes = iter(refused)

        async def record_next() -> None:
            for index in indexes:
                clip = clips[index]
                if clip.refusal is not None:
                    await self._recorder.record(self._rows.failed(clip, clip.refusal), clip)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(REFUSED_AT_A_TIME, len(refused))):
                group.create_task(record_next())

    async def _prepare_all(
        self,
        group: asyncio.TaskGroup,
        batches: ReadyClips[PreparedClip],
        clips: Mapping[int, ManifestRow],
        buckets: Mapping[int, Sequence[int]],
    ) -> None:
        """Reserves in order, one clip at a time, so that no fetch waits for bytes that a later clip holds."""
        for bucket, indexes in buckets.items():
            for index in indexes:
                clip = clips[index]
                name, size_bytes = self._intake.reservation(clip)
                await self._window.enter(size_bytes)
                path = await self._ctx.scratch.reserve(name, size_bytes)
                self._held.add(path)
                batches.start()
                group.create_task(self._prepare(batches, bucket, clip, path))

    async def _prepare(self, batches: ReadyClips[PreparedClip], bucket: int, clip: ManifestRow, path: Path) -> None:
        prepared = await self._intake.prepare(clip, path)
        if prepared.error is None:
            batches.arrive(bucket, prepared)
            return
        batches.drop(bucket)
        row = self._rows.failed(
            clip,
            prepared.error,
            sha256=prepared.sha256,
            timings=Timings(fetch_milliseconds=prepared.fetch_milliseconds),
            retries=prepared.retries,
        )
        await self._recorder.record(row, clip, prepared.fetched)
        await self._release(prepared)

    async def _work(self, group: asyncio.TaskGroup, batches: ReadyClips[PreparedClip]) -> None:
        async with aclosing(self._tasks(batches)) as tasks, aclosing(self._lane.work(tasks)) as verdicts:
            async for verdict in verdicts:
                prepared = self._in_lane.pop(verdict.index, None)
                if prepared is None:
                    raise RuntimeError(f"the lane gave a verdict on clip {verdict.index}, which it did not have")
                batches.answered()
                # In a task of its own: neither a sync of the journal nor an upload holds up the next verdict.
                group.create_task(self._finish(prepared, verdict))
        if self._in_lane:
            raise RuntimeError(f"the lane ended without a verdict on {len(self._in_lane)} clips")

    async def _tasks(self, batches: ReadyClips[PreparedClip]) -> AsyncGenerator[list[ClipTask], None]:
        async with aclosing(batches.take()) as taken:
            async for batch in taken:
                self._in_lane.update((prepared.clip.index, prepared) for prepared in batch)
                yield [prepared.task() for prepared in batch]

    async def _finish(self, prepared: PreparedClip, verdict: ClipVerdict) -> None:
        self._ctx.audio_meter(verdict.audio_milliseconds)
        clip, audio, answered_at = prepared.clip, None, time.monotonic()
        if clip.text is not None and verdict.failure_class is None:
            if verdict.synthesized is None:
                raise RuntimeError(f"the lane spoke clip {clip.index}, but names no file")
            output = self._ctx.spec.contract.output.audio
            audio = await deliver_audio(
                self._files, self._folder, clip.index, prepared.path, verdict.synthesized, output
            )
        inside = verdict.decode_milliseconds + verdict.infer_milliseconds
        # Loading the model is the attempt's time and no clip's.
        waits_since = max(prepared.ready_at_seconds, self._loaded_at_seconds)
        row = self._rows.answered(
            clip,
            verdict,
            sha256=prepared.sha256,
            timings=Timings(
                fetch_milliseconds=prepared.fetch_milliseconds,
                decode_milliseconds=verdict.decode_milliseconds,
                # Whatever else passed between the fetch and the verdict, inside the lane and before it.
                wait_milliseconds=max(0, _milliseconds(answered_at - waits_since) - inside),
                infer_milliseconds=verdict.infer_milliseconds,
                write_milliseconds=0 if audio is None else _milliseconds(time.monotonic() - answered_at),
            ),
            retries=prepared.retries + verdict.retries,
            audio=audio,
        )
        await self._recorder.record(row, clip, prepared.fetched)
        await self._release(prepared)
        for cause in verdict.retried_for:
            self._retries[cause] += 1
            self._ctx.budget.spend_retry(cause)

    async def _release(self, prepared: PreparedClip) -> None:
        await self._ctx.scratch.release(prepared.path)
        self._held.discard(prepared.path)
        self._window.leave(prepared.size_bytes)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
