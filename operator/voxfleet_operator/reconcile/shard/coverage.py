"""Which Process shards cover a job's clips, each clip once. Pure.

The planned shards do, and where one was split, its halves cover what it did. A part that exists although the shard
above it is not closed counts for nothing: an operator that knows no parts may have taken up that shard again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_operator.reconcile.shard.facts import ShardFacts
from voxfleet_operator.reconcile.shard.new_shard import NewShard
from voxfleet_operator.reconcile.shard.pieces import HALVES, half_of, path_of

Place = tuple[int, str]
"""The ordinal of a planned shard, and the path of a part of it; an empty path is all of it."""


@dataclass(frozen=True)
class Coverage:
    covering: tuple[ShardFacts, ...]
    """Of the shards that cover the clips, in the order of their clips."""
    superseded: tuple[AudioShard, ...]
    """Those that were split."""
    _places: Mapping[Place, ShardFacts]

    @classmethod
    def of(cls, shards: Iterable[AudioShard]) -> Coverage:
        """`shards`: all of one job, of whatever stage."""
        return cls.of_facts(map(ShardFacts.of, shards))

    @classmethod
    def of_facts(cls, facts: Iterable[ShardFacts]) -> Coverage:
        places = {(found.ordinal, found.path): found for found in facts if found.is_process}
        tree = [places[place] for place in sorted(places)]
        if any(found.path or found.is_superseded for found in tree):
            tree = [found for ordinal, path in sorted(places) if not path for found in _below(places, ordinal, "")]
        return cls(
            tuple(found for found in tree if not found.is_superseded),
            tuple(found.shard for found in tree if found.is_superseded),
            places,
        )

    @cached_property
    def process(self) -> tuple[AudioShard, ...]:
        """The shards that cover the clips, in the order of their clips."""
        return tuple(found.shard for found in self.covering)

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


def _below(places: Mapping[Place, ShardFacts], ordinal: int, path: str) -> Iterator[ShardFacts]:
    found = places.get((ordinal, path))
    if found is None:
        return
    yield found
    if found.is_superseded:
        for half in HALVES:
            yield from _below(places, ordinal, path + half)
