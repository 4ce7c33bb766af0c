"""How many clips, Macs and words a status has room for: whatever fails, none grows beyond 64 kB. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import TypeVar

from voxfleet_api.base import StatusModel
from voxfleet_api.kinds.audio_shard import AudioShardStatus
from voxfleet_api.kinds.job_status import STATUS_CLIPS, AudioBatchJobStatus, FailedClip
from voxfleet_api.stored_size import stored_bytes

STATUS_BYTES = 60_000
"""The API server keeps some kB beside a status: metadata, managedFields and the spec."""
USAGE_BYTES = 6_000
"""Of the attempts of a shard that are listed."""
CLIPS_BYTES = 5_400
"""Of each of the two lists of clips."""
MACS_BYTES = 4_000
MAX_MACS = 256

C = TypeVar("C", bound=FailedClip)
S = TypeVar("S", bound=StatusModel)
T = TypeVar("T")


def first_clips(clips: Iterable[C]) -> tuple[C, ...]:
    """The first clips by index, as many as a status names and has room for."""
    first = sorted(clips, key=lambda clip: clip.index)[:STATUS_CLIPS]
    return _within(CLIPS_BYTES, first, stored_bytes)


def first_macs(names: Iterable[str]) -> tuple[str, ...]:
    return _within(MACS_BYTES, sorted(names)[:MAX_MACS], stored_bytes)


def fitted_job(status: AudioBatchJobStatus) -> AudioBatchJobStatus:
    """`status` with its lists cut where a plan of thousands of shards leaves no room for all of them."""
    return _fitted(status, STATUS_BYTES, ("macs", "failures", "quarantine"))


def fitted_shard(status: AudioShardStatus) -> AudioShardStatus:
    """The same of a shard's status, which still gets the machine time of its attempts."""
    return _fitted(status, STATUS_BYTES - USAGE_BYTES, ("failures", "quarantine"))


def _fitted(status: S, limit_bytes: int, names: Iterable[str]) -> S:
    """Gives up what stands in these lists, from the end of each, in this order."""
    for name in names:
        items: Sequence[FailedClip | str] = getattr(status, name)
        beyond = stored_bytes(status) - limit_bytes
        if beyond <= 0:
            break
        left = sum(stored_bytes(item) + 1 for item in items) - beyond
        status = status.model_copy(update={name: _within(left, items, stored_bytes)})
    return status


def _within(limit_bytes: int, items: Iterable[T], size_bytes: Callable[[T], int]) -> tuple[T, ...]:
    """The first items, as long as their JSON with a comma each is no longer than the limit."""
    sized = [(item, size_bytes(item) + 1) for item in items]
    sums = accumulate(size for _, size in sized)
    return tuple(item for (item, _), total in zip(sized, sums, strict=True) if total <= limit_bytes)
