"""From planned clips to durable rows: clips are fetched ahead of the lane; rows and parts are written behind it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path

from voxfleet_agent.lanes.lane_types import LANE_BATCHES, ClipTask, ClipVerdict, Lane, LaneSpec, LoadedModel
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.stages.job_files import JobFiles
from voxfleet_agent.stages.process.batching import ReadyClips
from voxfleet_agent.stages.process.part_uploader import PartUploader
from voxfleet_agent.stages.process.prefetch import ClipSource, PrefetchWindow, PreparedClip, WindowLimits
from voxfleet_agent.stages.process.row_recorder import RowRecorder
from voxfleet_agent.stages.result_rows import RowFactory
from voxfleet_agent.stages.stage_context import StageContext
from voxfleet_agent.stages.synthesis_files import deliver_audio
from voxfleet_api.failures import FailureClass
from voxfleet_api.results import attempt_folder
from voxfleet_api.rows import ManifestRow, RowError, Timings

UNRECORDED_BATCHES = LANE_BATCHES + 2
"""Batches between lane and row: those inside the lane and two whose rows are being written. A crash repeats these."""
WINDOW = WindowLimits(audio_milliseconds=600_000, min_clips=48, max_clips=256, bytes=512 * 2**20)
"""Ten minutes of audio are seconds of a fast lane's work: time for several fetches from far away."""
FETCHES_AT_A_TIME = 16
REFUSED_AT_A_TIME = 8


class Pipeline:
    """One run over the clips that have no row yet."""

    def __init__(
        self,
        ctx: StageContext,
        lane: Lane,
        clip_source: ClipSource,
        recorder: RowRecorder,
        parts: PartUploader,
        files: JobFiles,
        retries: Counter[FailureClass],
        heard: Callable[[int, int], None],
    ) -> None:
        """The pipeline adds the lane's retries to `retries`.

        `heard`: called with a clip's index and the milliseconds of it that the model has worked through.
        """
        self._ctx = ctx
        self._lane = lane
        self._clip_source = clip_source
        self._recorder = recorder
        self._parts = parts
        self._files = files
        self._retries = retries
        self._heard = heard
        self._attempt_folder = attempt_folder(ctx.spec.shard_uid, ctx.spec.attempt)
        self._rows = RowFactory(ctx.spec.attempt, ctx.provenance, ctx.spec.contract.output.timestamps)
        self._window = PrefetchWindow(WINDOW)
        self._fetches = asyncio.Semaphore(FETCHES_AT_A_TIME)
        self._unrecorded = 0
        """Clips that the lane has got and whose rows are not durable yet."""
        self._recorded = asyncio.Event()
        self._reserved_paths: set[Path] = set()
        self._in_lane: dict[int, PreparedClip] = {}
        self._preparing: set[asyncio.Task[None]] = set()
        self._recording: set[asyncio.Task[None]] = set()
        self._loaded_at_seconds = 0.0
        self.called_back = False
        """Whether it ended before its time, so that clips may be left."""

    async def run(
        self,
        clips: Mapping[int, ManifestRow],
        refused: Sequence[int],
        buckets: Mapping[int, Sequence[int]],
        model: ResolvedModel,
        lane_spec: LaneSpec,
        batch_size: int | None,
    ) -> LoadedModel | None:
        """Records a durable row for each clip; returns None when no clip needed the lane.

        When the attempt is called back, only the clips in flight still get theirs. `refused` and the indexes in
        `buckets` are the clips to run. `batch_size` None: the lane keeps its own. Raises VoxFleetError for a failure
        that other clips would meet too.
        """
        loaded = None
        if batch_size is not None:
            self._lane.batch_size = batch_size  # before `load`, which passes it to the worker
        try:
            async with asyncio.TaskGroup() as delivery:
                delivery.create_task(self._parts.keep_delivering())
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._record_refused(clips, refused))
                    if buckets:
                        ready = ReadyClips[PreparedClip](
                            {bucket: len(indexes) for bucket, indexes in buckets.items()},
                            lambda: self._lane.batch_size,
                        )
                        watching = group.create_task(self._close_when_called_back(ready))
                        prefetching = group.create_task(self._prefetch(group, ready, clips, buckets))
                        loaded = await self._lane.load(model, lane_spec)
                        self._rows = replace(self._rows, dtype=loaded.dtype)
                        await self._ctx.working()
                        self._loaded_at_seconds = time.monotonic()
                        await self._run_lane(group, ready)
                        watching.cancel()
                        if ready.closed:
                            self.called_back = True
                            await self._end_early(prefetching)
                self._parts.end()
        finally:
            for path in sorted(self._reserved_paths):
                await self._ctx.scratch.release(path)
        return loaded

    async def _record_refused(self, clips: Mapping[int, ManifestRow], refused: Sequence[int]) -> None:
        """Records the rows of clips that Plan refused, while the lane works on the others."""
        indexes = iter(refused)

        async def record_next() -> None:
            for index in indexes:
                if self._ctx.permit.called_back:
                    self.called_back = True
                    return
                clip = clips[index]
                if clip.refusal is not None:
                    await self._recorder.record(self._rows.failed(clip, clip.refusal), clip)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(REFUSED_AT_A_TIME, len(refused))):
                group.create_task(record_next())

    async def _prefetch(
        self,
        group: asyncio.TaskGroup,
        ready: ReadyClips[PreparedClip],
        clips: Mapping[int, ManifestRow],
        buckets: Mapping[int, Sequence[int]],
    ) -> None:
        """Reserves scratch in order, one clip at a time, so that no fetch waits for bytes that a later clip holds."""
        for bucket, indexes in buckets.items():
            for index in indexes:
                clip = clips[index]
                name, size_bytes = self._clip_source.reservation(clip)
                await self._fetches.acquire()
                await self._window.acquire(clip.audio_milliseconds, size_bytes)
                path = await self._ctx.scratch.reserve(name, size_bytes)
                self._reserved_paths.add(path)
                ready.start_fetch()
                _keep(self._preparing, group.create_task(self._prepare(group, ready, bucket, clip, path)))

    async def _prepare(
        self, group: asyncio.TaskGroup, ready: ReadyClips[PreparedClip], bucket: int, clip: ManifestRow, path: Path
    ) -> None:
        """Passes the prepared clip on to the lane, or has its row recorded when the preparation failed."""
        prepared = await self._clip_source.prepare(clip, path)
        self._fetches.release()
        if prepared.error is None:
            ready.add(bucket, prepared)
            return
        ready.drop(bucket)
        _keep(self._recording, group.create_task(self._record_failed(clip, prepared, prepared.error)))

    async def _close_when_called_back(self, ready: ReadyClips[PreparedClip]) -> None:
        await self._ctx.permit.wait_called_back()
        ready.close()

    async def _end_early(self, prefetching: asyncio.Task[None]) -> None:
        """Ends the fetches of clips that the lane will not get; rows that are being written are finished."""
        fetches = {prefetching, *self._preparing}
        for task in fetches:
            task.cancel()
        await asyncio.wait(fetches)
        if self._recording:
            await asyncio.wait(self._recording)

    async def _record_failed(self, clip: ManifestRow, prepared: PreparedClip, error: RowError) -> None:
        row = self._rows.failed(
            clip,
            error,
            sha256=prepared.sha256,
            timings=Timings(fetch_milliseconds=prepared.fetch_milliseconds),
            retries=prepared.retries,
        )
        await self._recorder.record(row, clip, prepared.fetched)
        await self._release(prepared)

    async def _run_lane(self, group: asyncio.TaskGroup, ready: ReadyClips[PreparedClip]) -> None:
        async with aclosing(self._lane_batches(ready)) as batches, aclosing(self._lane.work(batches)) as verdicts:
            async for verdict in verdicts:
                prepared = self._in_lane.pop(verdict.index, None)
                if prepared is None:
                    raise RuntimeError(f"the lane gave a verdict on clip {verdict.index}, which it did not have")
                ready.verdict_received()
                self._ctx.pace.clip_done(verdict)
                # In a task of its own, so that neither a journal sync nor an upload delays the next verdict.
                _keep(self._recording, group.create_task(self._record_verdict(prepared, verdict)))
        if self._in_lane:
            raise RuntimeError(f"the lane ended without a verdict on {len(self._in_lane)} clips")

    async def _lane_batches(self, ready: ReadyClips[PreparedClip]) -> AsyncGenerator[list[ClipTask], None]:
        async with aclosing(ready.batches()) as batches:
            async for batch in batches:
                while self._unrecorded and self._unrecorded + len(batch) > UNRECORDED_BATCHES * self._lane.batch_size:
                    self._recorded.clear()
                    await self._recorded.wait()
                await self._ctx.permit.check()
                if ready.closed:
                    return
                self._unrecorded += len(batch)
                self._in_lane.update((prepared.clip.index, prepared) for prepared in batch)
                self._ctx.pace.clips_sent(len(batch))
                yield [prepared.task(partial(self._heard, prepared.clip.index)) for prepared in batch]

    async def _record_verdict(self, prepared: PreparedClip, verdict: ClipVerdict) -> None:
        """Uploads the synthesized audio, if there is any, then records the clip's row and frees its scratch."""
        self._ctx.work_meter(audio_milliseconds=verdict.audio_milliseconds)
        clip, audio, verdict_at = prepared.clip, None, time.monotonic()
        if clip.text is not None and verdict.failure_class is None:
            if verdict.synthesized is None:
                raise RuntimeError(f"the lane spoke clip {clip.index}, but names no file")
            output = self._ctx.spec.contract.output.audio
            audio = await deliver_audio(
                self._files, self._attempt_folder, clip.index, prepared.path, verdict.synthesized, output
            )
        computing_milliseconds = verdict.decode_milliseconds + verdict.infer_milliseconds
        # Until the model is loaded, a clip that is ready does not count as waiting: that time is the attempt's.
        waiting_since = max(prepared.ready_at_seconds, self._loaded_at_seconds)
        row = self._rows.from_verdict(
            clip,
            verdict,
            sha256=prepared.sha256,
            timings=Timings(
                fetch_milliseconds=prepared.fetch_milliseconds,
                decode_milliseconds=verdict.decode_milliseconds,
                # All other time between fetch and verdict, before the lane and inside it.
                wait_milliseconds=max(0, _to_milliseconds(verdict_at - waiting_since) - computing_milliseconds),
                infer_milliseconds=verdict.infer_milliseconds,
                write_milliseconds=0 if audio is None else _to_milliseconds(time.monotonic() - verdict_at),
            ),
            retries=prepared.retries + verdict.retries,
            audio=audio,
        )
        await self._recorder.record(row, clip, prepared.fetched)
        self._unrecorded -= 1
        self._recorded.set()
        await self._release(prepared)
        for cause in verdict.retried_for:
            self._retries[cause] += 1
            self._ctx.budget.spend_retry(cause)

    async def _release(self, prepared: PreparedClip) -> None:
        await self._ctx.scratch.release(prepared.path)
        self._reserved_paths.discard(prepared.path)
        self._window.release(prepared.clip.audio_milliseconds, prepared.size_bytes)


def _keep(tasks: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
    """Keeps the task in the set until it is done."""
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def _to_milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
