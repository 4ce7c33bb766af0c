"""What a clip needs before the lane can have it: its bytes in scratch, or room there for what will be spoken."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from voxfleet_agent.lanes.lane_types import ClipTask
from voxfleet_agent.scratch import writing_scratch
from voxfleet_agent.stages.context import StageContext
from voxfleet_agent.stages.outage import OutageDetector, nearest_first
from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.stages.result_rows import checksum_mismatch, row_error_of
from voxfleet_agent.stages.synthesis_files import worst_case_bytes
from voxfleet_agent.storage import ObjectVersion
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.results import ManifestRow, RowError


@dataclass(frozen=True, slots=True)
class PreparedClip:
    """A clip that the lane can have, or why it is not worth the lane's time."""

    clip: ManifestRow
    path: Path
    size_bytes: int
    """Reserved."""
    retries: int = 0
    fetch_milliseconds: int = 0
    ready_at_seconds: float = 0.0
    """On the monotonic clock."""
    sha256: str | None = None
    error: RowError | None = None

    def task(self) -> ClipTask:
        max_bytes = None if self.clip.text is None else self.size_bytes
        return ClipTask(self.clip.index, self.path, self.clip.text, self.clip.audio_milliseconds, max_bytes)

    @property
    def fetched(self) -> Path | None:
        """The clip's own bytes, if it has any and they came."""
        return self.path if self.sha256 is not None else None


class ClipSource(Protocol):
    def reservation(self, clip: ManifestRow) -> tuple[str, int]:
        """(name in scratch, bytes) that the clip needs there."""
        ...

    async def prepare(self, clip: ManifestRow, path: Path) -> PreparedClip:
        """Raises VoxFleetError for what another clip would meet too."""
        ...


class FetchedClips:
    """Recordings, downloaded and checked."""

    def __init__(
        self,
        ctx: StageContext,
        clips: Mapping[int, ManifestRow],
        witnesses: OutageDetector,
        retries: Counter[FailureClass],
    ) -> None:
        """`clips`: the shard's; `retries` is added to."""
        self._ctx = ctx
        self._clips = clips
        self._witnesses = witnesses
        self._retries = retries

    def reservation(self, clip: ManifestRow) -> tuple[str, int]:
        return f"clip-{clip.index}", clip.size_bytes or 0

    async def prepare(self, clip: ManifestRow, path: Path) -> PreparedClip:
        started = time.monotonic()
        uri, version = clip.uri or "", ObjectVersion(clip.size_bytes or 0, clip.etag)
        retrier = Retrier(self._ctx.spec.contract.retries, self._ctx.budget.spend_retry)
        sha256, error = None, None
        try:
            sha256 = await retrier(lambda: self._ctx.storage.download(uri, path, version))
            self._witnesses.saw(uri)
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
            version.size_bytes,
            retries=retrier.counts.total(),
            fetch_milliseconds=round((now - started) * 1000),
            ready_at_seconds=now,
            sha256=sha256,
            error=error,
        )

    async def _clip_error(self, failure: VoxFleetError, clip: ManifestRow) -> RowError:
        """The clip's own failure. Raises when it is not: an outage must end the attempt, not fail clip after clip."""
        near = (self._clips[index] for index in nearest_first(clip.index, self._clips))
        uris = (other.uri or "" for other in near if other.refusal is None)
        await self._witnesses.require_own(failure, clip.uri or "", uris)
        return row_error_of(failure)


class ReservedOutputs:
    """Texts: nothing to fetch, but room for the longest file that may be spoken."""

    def __init__(self, ctx: StageContext) -> None:
        contract = ctx.spec.contract
        self._container = contract.output.audio.container.value
        self._size_bytes = worst_case_bytes(contract)

    def reservation(self, clip: ManifestRow) -> tuple[str, int]:
        return f"clip-{clip.index}.{self._container}", self._size_bytes

    async def prepare(self, clip: ManifestRow, path: Path) -> PreparedClip:
        with writing_scratch():
            await asyncio.to_thread(path.unlink, missing_ok=True)  # of an earlier run of this attempt
        return PreparedClip(clip, path, self._size_bytes, ready_at_seconds=time.monotonic())


class PrefetchWindow:
    """Clips between their reservation and their row, bounded by count and by bytes."""

    def __init__(self, clips: Callable[[], int], limit_bytes: int) -> None:
        """`clips`: the most at this moment; the lane's batch size may change."""
        self._clips = clips
        self._limit_bytes = limit_bytes
        self._sizes_bytes: list[int] = []
        self._left = asyncio.Event()

    async def enter(self, size_bytes: int) -> None:
        """Waits for room; a clip larger than all of it goes alone. One caller at a time."""
        while self._sizes_bytes and (
            len(self._sizes_bytes) >= self._clips() or sum(self._sizes_bytes) + size_bytes > self._limit_bytes
        ):
            self._left.clear()
            await self._left.wait()
        self._sizes_bytes.append(size_bytes)

    def leave(self, size_bytes: int) -> None:
        self._sizes_bytes.remove(size_bytes)
        self._left.set()
