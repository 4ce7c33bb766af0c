"""Chooses the fetched clips of the lane's next batch: full batches of one bucket, unless the lane would sit idle."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


def choose_bucket(
    ready: Mapping[int, int], awaited: Mapping[int, int], batch_size: int, *, in_lane: int, fetching: int
) -> int | None:
    """Returns the bucket of the next batch; None when no clip is ready, or a batch can fill while the lane works.

    `ready` and `awaited` count the clips of each bucket that are fetched and not fetched yet; `in_lane` counts the
    clips in the lane, `fetching` those that are being fetched. Pure.
    """
    filled = {bucket: count for bucket, count in ready.items() if count}
    if not filled:
        return None
    complete = [bucket for bucket, count in filled.items() if count >= batch_size or not awaited.get(bucket)]
    if complete:
        return min(complete, key=lambda bucket: (filled[bucket] < batch_size, bucket))
    if in_lane and fetching:
        return None
    return max(filled, key=lambda bucket: (filled[bucket], -bucket))


class ReadyClips(Generic[T]):
    """Holds fetched clips until the lane takes them. The caller either adds or drops each awaited clip, once."""

    def __init__(self, awaited: Mapping[int, int], batch_size: Callable[[], int]) -> None:
        """`awaited`: how many clips of each bucket will come. `batch_size` may change between batches."""
        self._awaited = dict(awaited)
        self._batch_size = batch_size
        self._ready: dict[int, list[T]] = {}
        self._in_lane = 0
        self._fetching = 0
        self._changed = asyncio.Event()
        self.closed = False

    def close(self) -> None:
        """Ends `batches` before its time: the lane gets no further clip."""
        self.closed = True
        self._changed.set()

    def start_fetch(self) -> None:
        self._fetching += 1

    def add(self, bucket: int, clip: T) -> None:
        """Ends a clip's fetch and makes the clip available to the lane."""
        self._ready.setdefault(bucket, []).append(clip)
        self._end_fetch(bucket)

    def drop(self, bucket: int) -> None:
        """Ends a clip's fetch; the clip never reaches the lane."""
        self._end_fetch(bucket)

    def verdict_received(self) -> None:
        self._in_lane -= 1
        self._changed.set()

    async def batches(self) -> AsyncGenerator[list[T], None]:
        """Yields batches until every awaited clip has been yielded or dropped, or until `close`."""
        while not self.closed and (any(self._awaited.values()) or any(self._ready.values())):
            batch = self._next_batch()
            if batch:
                yield batch
            else:
                await self._changed.wait()
                self._changed.clear()

    def _next_batch(self) -> list[T]:
        counts = {bucket: len(clips) for bucket, clips in self._ready.items()}
        size = max(1, self._batch_size())
        bucket = choose_bucket(counts, self._awaited, size, in_lane=self._in_lane, fetching=self._fetching)
        if bucket is None:
            return []
        batch, self._ready[bucket] = self._ready[bucket][:size], self._ready[bucket][size:]
        self._in_lane += len(batch)
        return batch

    def _end_fetch(self, bucket: int) -> None:
        self._awaited[bucket] -= 1
        self._fetching -= 1
        self._changed.set()


SHORTEST_EDGE_MILLISECONDS = 1000
GROWTH = 1.25
"""Factor between neighbouring edges: at most a fifth of a batch is padding, and 24 hours need about 50 buckets."""

UNKNOWN_LENGTH = 1_000_000
"""The bucket of clips whose header does not give their length."""


def bucket_of(audio_milliseconds: int) -> int:
    """Bucket 0 holds clips of at most SHORTEST_EDGE_MILLISECONDS; each further bucket reaches GROWTH times as far."""
    if audio_milliseconds <= 0:
        return UNKNOWN_LENGTH
    if audio_milliseconds <= SHORTEST_EDGE_MILLISECONDS:
        return 0
    bucket = math.ceil(math.log(audio_milliseconds / SHORTEST_EDGE_MILLISECONDS, GROWTH))
    # The logarithm is rounded, but a length that lies exactly on an edge belongs to the bucket below it.
    while bucket > 0 and audio_milliseconds <= edge_milliseconds(bucket - 1):
        bucket -= 1
    while audio_milliseconds > edge_milliseconds(bucket):
        bucket += 1
    return bucket


def edge_milliseconds(bucket: int) -> int:
    """The greatest length that belongs to a bucket."""
    return math.floor(SHORTEST_EDGE_MILLISECONDS * GROWTH**bucket)


def sort_into_buckets(clips: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    """Clip indexes by bucket, from each clip's (index, milliseconds): shortest first, unknown lengths last."""
    buckets: dict[int, list[int]] = {}
    for bucket, _, index in sorted((bucket_of(length), length, index) for index, length in clips):
        buckets.setdefault(bucket, []).append(index)
    return buckets
