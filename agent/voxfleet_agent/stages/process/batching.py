"""Which ready clips the lane is given next: whole batches of one bucket, unless the lane would have to wait."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


def choose_bucket(
    ready: Mapping[int, int], awaited: Mapping[int, int], batch_size: int, *, in_lane: int, arriving: int
) -> int | None:
    """The bucket to take the next batch from; None: waiting makes a better one and costs the lane nothing. Pure.

    `ready` and `awaited` count the clips of each bucket, `in_lane` those that the lane has, `arriving` those whose
    fetch is under way.
    """
    filled = {bucket: count for bucket, count in ready.items() if count}
    if not filled:
        return None
    complete = [bucket for bucket, count in filled.items() if count >= batch_size or not awaited.get(bucket)]
    if complete:
        return min(complete, key=lambda bucket: (filled[bucket] < batch_size, bucket))
    if in_lane and arriving:
        return None
    return max(filled, key=lambda bucket: (filled[bucket], -bucket))


class ReadyClips(Generic[T]):
    """Clips between their fetch and the lane. Each one awaited is told to `arrive` or to `drop` once."""

    def __init__(self, awaited: Mapping[int, int], batch_size: Callable[[], int]) -> None:
        """`awaited`: how many clips of each bucket will come. `batch_size` may change between batches."""
        self._awaited = dict(awaited)
        self._batch_size = batch_size
        self._ready: dict[int, list[T]] = {}
        self._in_lane = 0
        self._arriving = 0
        self._changed = asyncio.Event()

    def start(self) -> None:
        """A fetch is under way."""
        self._arriving += 1

    def arrive(self, bucket: int, clip: T) -> None:
        self._ready.setdefault(bucket, []).append(clip)
        self._end_fetch(bucket)

    def drop(self, bucket: int) -> None:
        """A clip that the lane never sees."""
        self._end_fetch(bucket)

    def answered(self) -> None:
        """The lane is done with one clip."""
        self._in_lane -= 1
        self._changed.set()

    async def take(self) -> AsyncGenerator[list[T], None]:
        """Batches until every awaited clip was given out or dropped."""
        while any(self._awaited.values()) or any(self._ready.values()):
            batch = self._next()
            if batch:
                yield batch
            else:
                await self._changed.wait()
                self._changed.clear()

    def _next(self) -> list[T]:
        counts = {bucket: len(clips) for bucket, clips in self._ready.items()}
        size = max(1, self._batch_size())
        bucket = choose_bucket(counts, self._awaited, size, in_lane=self._in_lane, arriving=self._arriving)
        if bucket is None:
            return []
        batch, self._ready[bucket] = self._ready[bucket][:size], self._ready[bucket][size:]
        self._in_lane += len(batch)
        return batch

    def _end_fetch(self, bucket: int) -> None:
        self._awaited[bucket] -= 1
        self._arriving -= 1
        self._changed.set()


SHORTEST_EDGE_MILLISECONDS = 1000
GROWTH = 1.25
"""From one edge to the next: padding is at most a fifth of a batch, and 24 hours need about 50 buckets."""

UNKNOWN = 1_000_000
"""The bucket of clips whose header does not tell their length."""


def bucket_of(audio_milliseconds: int) -> int:
    """Bucket 0 holds what is at most SHORTEST_EDGE_MILLISECONDS long, each later one up to GROWTH times more."""
    if audio_milliseconds <= 0:
        return UNKNOWN
    if audio_milliseconds <= SHORTEST_EDGE_MILLISECONDS:
        return 0
    bucket = math.ceil(math.log(audio_milliseconds / SHORTEST_EDGE_MILLISECONDS, GROWTH))
    # Logarithms round: what lies on an edge belongs below it.
    while bucket > 0 and audio_milliseconds <= edge_milliseconds(bucket - 1):
        bucket -= 1
    while audio_milliseconds > edge_milliseconds(bucket):
        bucket += 1
    return bucket


def edge_milliseconds(bucket: int) -> int:
    """The longest length in a bucket."""
    return math.floor(SHORTEST_EDGE_MILLISECONDS * GROWTH**bucket)


def sort_into_buckets(clips: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    """Indexes by bucket, from (index, milliseconds) of each clip: shortest first, unknown lengths last."""
    buckets: dict[int, list[int]] = {}
    for bucket, _, index in sorted((bucket_of(length), length, index) for index, length in clips):
        buckets.setdefault(bucket, []).append(index)
    return buckets
