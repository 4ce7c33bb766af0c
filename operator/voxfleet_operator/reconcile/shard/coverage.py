"""Which Process shards cover a job's clips, each clip once. Pure.

The planned shards do, and where one was split, its halves cover what it did. A part that exists although the shard
above it is not closed counts for nothing: an operator that knows no parts may have taken up that shard again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_operator.reconcile.shard.new_shard import NewShard
from voxfleet_operator.reconcile.shard.pieces import HALVES, half_of, path_of
from voxfleet_operator.reconcile.shard.status import is_superseded

Place = tuple[int, str]
"""The ordinal of a planned shard, and the path of a part of it; an empty path is all of it."""


@dataclass(frozen=True, slots=True)
class Coverage:
    process: tuple[AudioShard, ...]
    """The shards that cover the clips, in the order of their clips."""
    superseded: tuple[AudioShard, ...]
    """Those that were split."""
    _places: Mapping[Place, AudioShard]

    @classmethod
    def of(cls, shards: Iterable[AudioShard]) -> Coverage:
        """`shards`: all of one job, of whatever stage."""
        places = {place_of(shard): shard for shard in shards if shard.spec.stage is Stage.PROCESS}
        planned = sorted(ordinal for ordinal, path in places if not path)
        tree = [shard for ordinal in planned for shard in _below(places, ordinal, "")]
        return cls(
            tuple(shard for shard in tree if not is_superseded(shard)),
            tuple(shard for shard in tree if is_superseded(shard)),
            places,
        )

    def missing(self, total: int) -> tuple[NewShard, ...]:
        """What is left to create, of `total` planned shards and of the halves of those that were split."""
        planned = (NewShard(Stage.PROCESS, number) for number in range(total) if (number, "") not in self._places)
        halves = (
            NewShard(Stage.PROCESS, shard.spec.ordinal, half_of(shard, half))
            for shard in self.superseded
            for half in HALVES
            if (shard.spec.ordinal or 0, path_of(shard) + half) not in self._places
        )
        return (*planned, *halves)


def place_of(shard: AudioShard) -> Place:
    return shard.spec.ordinal or 0, path_of(shard)


def _below(places: Mapping[Place, AudioShard], ordinal: int, path: str) -> Iterator[AudioShard]:
    shard = places.get((ordinal, path))
    if shard is None:
        return
    yield shard
    if is_superseded(shard):
        for half in HALVES:
            yield from _below(places, ordinal, path + half)
