"""How clips are grouped into shards. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def boundaries(audio_milliseconds: Sequence[int], target_milliseconds: int, max_shards: int) -> tuple[int, ...]:
    """Shard k holds the clips from boundary k up to, without, boundary k+1; (0,) when there is no clip.

    Neighbours share a shard while their audio starts in the same stretch of `target_milliseconds`; the stretch grows
    when the job would need more than `max_shards`. No shard is empty.
    """
    count = len(audio_milliseconds)
    if count == 0:
        return (0,)
    total = sum(audio_milliseconds)
    stretch = max(target_milliseconds, -(-total // max_shards), 1)
    last = max(total - 1, 0) // stretch
    cuts = [0]
    start = previous = 0
    for index, length in enumerate(audio_milliseconds):
        current = min(start // stretch, last)
        if current != previous:
            cuts.append(index)
            previous = current
        start += length
    return (*cuts, count)
