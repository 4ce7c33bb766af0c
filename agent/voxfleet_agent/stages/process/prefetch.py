"""Prepares clips for the lane: downloads recordings into scratch, or reserves room there for synthesized audio."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from voxfleet_agent.lanes.lane_types import ClipTask
from voxfleet_agent.scratch_errors import scratch_errors
from voxfleet_agent.stages.outage import OutageDetector, nearest_first
from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.stages.result_rows import checksum_mismatch, row_error_of
from voxfleet_agent.stages.stage_context import StageContext
from voxfleet_agent.stages.synthesis_files import worst_case_bytes
from voxfleet_agent.storage import ObjectVersion
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.rows import ManifestRow, RowError


@dataclass(frozen=True, slots=True)
class PreparedClip:
    """A clip that is ready for the lane, or the error that keeps it from the lane."""

    clip: ManifestRow
    path: Path
    size_bytes: int
    """Reserved in scratch."""
    retries: int = 0
    fetch_milliseconds: int = 0
    ready_at_seconds: float = 0.0
    """On the monotonic clock."""
    sha256: str | None = None
    error: RowError | None = None

    def task(self, heard: Callable[[int], None]) -> ClipTask:
        """`heard`: see ClipTask."""
        max_bytes = None if self.clip.text is None else self.size_bytes
        return ClipTask(self.clip.index, self.path, self.clip.text, self.clip.audio_milliseconds, max_bytes, heard)

    @property
    def fetched(self) -> Path | None:
        """The downloaded clip; None for a text, and when the download failed."""
        return self.path if self.sha256 is not None else None


class ClipSource(Protocol):
    def reservation(self, clip: ManifestRow) -> tuple[str, int]:
        """(file name, bytes) to reserve in scratch for the clip."""
        ...

    async def prepare(self, clip: ManifestRow, path: Path) -> PreparedClip:
        """Raises VoxFleetError for a failure that other clips would meet too."""
        ...


class FetchedClips:
    """Downloads recordings and checks their sha256."""

    def __init__(
        self,
        ctx: StageContext,
        clips: Mapping[int, ManifestRow],
        outage_detector: OutageDetector,
        retries: Counter[FailureClass],
    ) -> None:
        """`clips`: all clips of the shard. Download retries are added to `retries`."""
        self._ctx = ctx
        self._clips = clips
        self._outage_detector = outage_detector
        self._retries = retries

    def reservation(self, clip: ManifestRow) -> tuple[str, int]:
        return f"clip-{clip.index}", clip_scratch_bytes(clip)

    async def prepare(self, clip: ManifestRow, path: Path) -> PreparedClip:
        started = time.monotonic()
        uri, version = clip.uri or "", ObjectVersion(clip.size_bytes or 0, clip.etag)
        retrier = Retrier(self._ctx.spec.contract.retries, self._ctx.budget.spend_retry)
        sha256, error = None, None
        try:
            sha256 = await retrier(lambda: self._ctx.storage.download(uri, path, version))
            self._outage_detector.record_readable(uri)
            if clip.sha256 is not None and sha256 != clip.sha256:
                error = checksum_mismatch(sha256, clip.sha256)
        except VoxFleetError as failure:
            error = await self._clip_error(failure, clip)
        finally:
            self._retries.update(retrier.counts)
        now = time.monotonic()
        return PreparedClip(
            clip,
            path,
            clip_scratch_bytes(clip),
            retries=retrier.counts.total(),
            fetch_milliseconds=round((now - started) * 1000),
            ready_at_seconds=now,
            sha256=sha256,
            error=error,
        )

    async def _clip_error(self, failure: VoxFleetError, clip: ManifestRow) -> RowError:
        """The error of the clip's row. Raises in an outage, which must end the attempt, not fail clip after clip."""
        neighbours = (self._clips[index] for index in nearest_first(clip.index, self._clips))
        uris = (neighbour.uri or "" for neighbour in neighbours if neighbour.refusal is None)
        await self._outage_detector.raise_if_outage(failure, clip.uri or "", uris)
        return row_error_of(failure)


def clip_scratch_bytes(clip: ManifestRow) -> int:
    """The scratch of a recording: its file, and beside it the copy of its audio that decoding may make."""
    return (clip.size_bytes or 0) + clip.decode_scratch_bytes


class ReservedOutputs:
    """Reserves room for the longest audio file that a text may produce; a text has nothing to fetch."""

    def __init__(self, ctx: StageContext) -> None:
        contract = ctx.spec.contract
        self._container = contract.output.audio.container.value
        self._size_bytes = worst_case_bytes(contract)

    def reservation(self, clip: ManifestRow) -> tuple[str, int]:
        return f"clip-{clip.index}.{self._container}", self._size_bytes

    async def prepare(self, clip: ManifestRow, path: Path) -> PreparedClip:
        with scratch_errors():
            await asyncio.to_thread(path.unlink, missing_ok=True)  # left by an earlier run of this attempt
        return PreparedClip(clip, path, self._size_bytes, ready_at_seconds=time.monotonic())


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """How much may be under way at once. The batch size plays no part: a lane that takes one clip at a time empties the
    window as fast as one that takes eight, and a fetch takes as long for either."""

    audio_milliseconds: int
    min_clips: int
    """As many may be under way however long they are, so that full batches of long clips come together."""
    max_clips: int
    bytes: int


class PrefetchWindow:
    """Bounds the clips between their reservation and their row by audio, number and bytes."""

    def __init__(self, limits: WindowLimits) -> None:
        self._limits = limits
        self._clips = 0
        self._audio_milliseconds = 0
        self._bytes = 0
        self._released = asyncio.Event()

    async def acquire(self, audio_milliseconds: int, size_bytes: int) -> None:
        """Waits for room. A clip larger than the whole window passes alone. Only one caller may wait at a time."""
        while not self._has_room(audio_milliseconds, size_bytes):
            self._released.clear()
            await self._released.wait()
        self._clips += 1
        self._audio_milliseconds += audio_milliseconds
        self._bytes += size_bytes

    def release(self, audio_milliseconds: int, size_bytes: int) -> None:
        self._clips -= 1
        self._audio_milliseconds -= audio_milliseconds
        self._bytes -= size_bytes
        self._released.set()

    def _has_room(self, audio_milliseconds: int, size_bytes: int) -> bool:
        limits = self._limits
        if not self._clips:
            return True
        if self._clips >= limits.max_clips or self._bytes + size_bytes > limits.bytes:
            return False
        short_enough = self._audio_milliseconds + audio_milliseconds <= limits.audio_milliseconds
        return short_enough or self._clips < limits.min_clips
