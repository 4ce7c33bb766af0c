"""How a shard's clips are put in order, so that a batch holds clips of nearly one length. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

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
