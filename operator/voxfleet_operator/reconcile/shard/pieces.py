"""The parts into which a planned shard is split: halves, named by the path of 0 and 1 that leads to them. Pure.

The range and the name of a part follow from the plan and its path alone. So whoever finds a shard closed can make its
halves, and makes the same ones as anybody else.
"""

from __future__ import annotations

from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import ShardPiece

HALVES = ("0", "1")


def piece_range(planned: range, path: str) -> range:
    """The clips of a part of the planned shard; all of them for an empty path."""
    part = planned
    for half in path:
        middle = part.start + (len(part) + 1) // 2
        part = range(part.start, middle) if half == HALVES[0] else range(middle, part.stop)
    return part


def path_of(shard: AudioShard) -> str:
    return "" if shard.spec.piece is None else shard.spec.piece.path


def half_of(shard: AudioShard, half: str) -> ShardPiece:
    """What the half of a closed shard is. The attempt with which it was closed was never assigned."""
    above = () if shard.spec.piece is None else shard.spec.piece.inherits
    return ShardPiece(
        path=path_of(shard) + half,
        inherits=(shard.metadata.uid, *above),
        after_attempt=shard.status.attempt or 1,
    )


def attempts_before(shard: AudioShard) -> int:
    """The number of its newest attempt, or of the newest one of the shards that it was split from."""
    if shard.status.attempt is not None:
        return shard.status.attempt
    return 0 if shard.spec.piece is None else shard.spec.piece.after_attempt
