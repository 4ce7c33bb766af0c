"""From planned clips to durable rows: fetching stays ahead of the lane, parts leave behind its back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from voxfleet_agent.stages.parts import PART_ROWS, PART_SECONDS, Parts
from voxfleet_agent.stages.retry import with_retries
from voxfleet_agent.stages.rows import checksum_mismatch, error_of, failed_row, verdict_row
from voxfleet_agent.stages.stage import ClipTask, ResolvedModel, StageContext, Transcriber
from voxfleet_agent.storage import ObjectVersion
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.results import ManifestRow, ResultRow, RowError, Timings

FETCHED_AHEAD = 4
"""Clips in scratch, or on their way there, that the lane has not finished."""

_CLIP_CLASSES = frozenset(
    {
        FailureClass.INPUT_CHANGED,
        FailureClass.INPUT_NOT_FOUND,
        FailureClass.ACCESS_DENIED,
        FailureClass.TRANSPORT,
        FailureClass.THROTTLED,
    }
)
_MAYBE_EVERYWHERE = frozenset({FailureClass.ACCESS_DENIED, FailureClass.TRANSPORT, FailureClass.THROTTLED})


@dataclass(frozen=True, slots=True)
class Fetched:
    """A clip in scratch, or why it is not worth the lane's time."""

    clip: ManifestRow
    path: Path
    sha256: str | None
    error: RowError | None
    fetch_milliseconds: int
    ready_at: float


class Pipeline:
    """One run over the clips that are still to do."""

    def __init__(
        self,
        ctx: StageContext,
        lane: Transcriber,
        model: ResolvedModel,
        parts: Parts,
        recorded: Callable[[], None],
        output_uri: str,
    ) -> None:
        """`recorded` is called after each durable row; `output_uri` is an object that can be read if any can."""
        self._ctx = ctx
        self._lane = lane
        self._model = model
        self._parts = parts
        self._recorded = recorded
        self._output_uri = output_uri
        self._fetched: asyncio.Queue[Fetched] = asyncio.Queue()
        self._ahead = asyncio.Semaphore(FETCHED_AHEAD)
        self._held: set[Path] = set()
        self._unfrozen = 0
        self._part_due = asyncio.Event()
        self._done = False

    async def run(self, clips: Sequence[ManifestRow]) -> None:
        """Leaves a durable row for each clip. Raises VoxFleetError for what another clip would meet too."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._deliver_parts())
                accepted = [clip for clip in clips if clip.refusal is None]
                for clip in clips:
                    if clip.refusal is not None:
                        await self._record(failed_row(clip, clip.refusal, self._attempt, self._ctx.provenance))
                group.create_task(self._fetch_all(group, accepted))
                if accepted:
                    await self._lane.load(self._model)
                for _ in accepted:
                    await self._finish(await self._fetched.get())
                self._done = True
                self._part_due.set()
        finally:
            for path in sorted(self._held):
                await self._ctx.scratch.release(path)

    @property
    def _attempt(self) -> int:
        return self._ctx.spec.attempt

    async def _fetch_all(self, group: asyncio.TaskGroup, clips: Sequence[ManifestRow]) -> None:
        """Reserves in order, one clip at a time, so that no fetch waits for bytes that a later clip holds."""
        for clip in clips:
            await self._ahead.acquire()
            path = await self._ctx.scratch.reserve(f"clip-{clip.index}", clip.size_bytes or 0)
            self._held.add(path)
            group.create_task(self._fetch(clip, path))

    async def _fetch(self, clip: ManifestRow, path: Path) -> None:
        started = time.monotonic()
        version = ObjectVersion(clip.size_bytes or 0, clip.etag)
        sha256, error = None, None
        try:
            sha256 = await with_retries(lambda: self._ctx.storage.download(clip.uri, path, version))
            if clip.sha256 is not None and sha256 != clip.sha256:
                error = checksum_mismatch(sha256, clip.sha256)
        except VoxFleetError as failure:
            error = await self._clip_error(failure)
        now = time.monotonic()
        await self._fetched.put(Fetched(clip, path, sha256, error, _milliseconds(now - started), now))

    async def _clip_error(self, failure: VoxFleetError) -> RowError:
        """The clip's own failure. Raises when it is not: an outage must end the attempt, not fail clip after clip."""
        if failure.failure_class not in _CLIP_CLASSES:
            raise failure
        if failure.failure_class in _MAYBE_EVERYWHERE:
            await self._ctx.storage.head(self._output_uri)
        return error_of(failure)

    async def _finish(self, fetched: Fetched) -> None:
        clip = fetched.clip
        if fetched.error is not None or fetched.sha256 is None:
            error = fetched.error or error_of(VoxFleetError(FailureClass.TRANSPORT, "was not fetched"))
            timings = Timings(fetch_milliseconds=fetched.fetch_milliseconds)
            row = failed_row(clip, error, self._attempt, self._ctx.provenance, sha256=fetched.sha256, timings=timings)
        else:
            waited = time.monotonic() - fetched.ready_at
            verdict = await self._lane.transcribe(ClipTask(clip.index, fetched.path, self._ctx.spec.contract))
            row = verdict_row(
                clip,
                verdict,
                self._attempt,
                self._ctx.provenance,
                sha256=fetched.sha256,
                fetch_milliseconds=fetched.fetch_milliseconds,
                wait_milliseconds=_milliseconds(waited),
            )
            self._ctx.audio_meter(verdict.audio_milliseconds)
        await self._record(row)
        await self._ctx.scratch.release(fetched.path)
        self._held.discard(fetched.path)
        self._ahead.release()

    async def _record(self, row: ResultRow) -> None:
        await self._ctx.journal.record_row(row)
        self._recorded()
        self._unfrozen += 1
        if self._unfrozen >= PART_ROWS:
            self._part_due.set()

    async def _deliver_parts(self) -> None:
        """An upload never keeps the lane waiting. What is recorded after the last round is the caller's to deliver."""
        while not self._done:
            try:
                async with asyncio.timeout(PART_SECONDS):
                    await self._part_due.wait()
            except TimeoutError:
                pass  # the time has come without enough rows
            self._part_due.clear()
            self._unfrozen = 0
            await self._parts.deliver()


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
