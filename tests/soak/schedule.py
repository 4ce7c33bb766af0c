"""Which process dies when, and over which clips, as a seed decides. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from voxfleet_api.kinds.audio_shard import Stage

MOST_KILLS = 3
FEWEST_CLIPS, MOST_CLIPS = 6, 14


class Victim(StrEnum):
    AGENT = "Agent"
    LANE = "Lane"
    BOTH = "Both"


class Moment(StrEnum):
    """Of a lane's child, in the order in which a job meets them."""

    LOAD = "Load"
    DECODE = "Decode"
    INFERENCE = "Inference"
    BETWEEN_BATCHES = "BetweenBatches"
    """Every clip of a batch has its verdict, and the batch has not been called done."""


EDGES: dict[Stage, tuple[str, ...]] = {
    Stage.PLAN: ("plan-uploaded", "outcome-recorded"),
    Stage.PROCESS: (
        "base-frozen",
        "row-sealed",
        "reserved",
        "row-recorded",
        "part-frozen",
        "part-uploaded",
        "part-marked",
        "run-uploaded",
        "commit-uploaded",
        "outcome-recorded",
        "row-sealed@3",
    ),
    Stage.FINALIZE: ("reserved", "index-uploaded", "outcome-recorded"),
}
"""The agent's crash points (voxfleet_shared) in the order in which an attempt of the stage meets them. Rows are
sealed when the lane begins to work (1), with the outcome, which `outcome-recorded` follows at once (2), and at the
end (3)."""
REPEATED_EDGES = (Stage.PROCESS, "reserved"), (Stage.PROCESS, "row-recorded")
LONGEST_WAIT_SECONDS = {Stage.PLAN: 0.05, Stage.PROCESS: 3.0, Stage.FINALIZE: 0.05}


@dataclass(frozen=True)
class Place:
    """Where a kill -9 strikes: at an edge of the agent, at a moment of the lane's child, or, without both, any time."""

    stage: Stage
    victim: Victim
    edge: str | None = None
    moment: Moment | None = None

    def __str__(self) -> str:
        return f"{self.stage}: {self.victim} at {self.edge or self.moment or 'any time'}"


PLACES = (
    *(Place(stage, Victim.AGENT, edge=edge) for stage, edges in EDGES.items() for edge in edges),
    *(Place(Stage.PROCESS, victim, moment=moment) for moment, victim in product(Moment, Victim)),
    *(Place(Stage.PROCESS, victim) for victim in Victim),
    Place(Stage.PLAN, Victim.AGENT),
    Place(Stage.FINALIZE, Victim.AGENT),
)
"""In the order in which a job meets them, edges, moments and any time each for themselves."""


@dataclass(frozen=True)
class Kill:
    place: Place
    count: int = 1
    """The how manieth time that the edge or moment is met."""
    after_seconds: float = 0.0
    """Since the kill before it, or the stage's start; without edge and moment."""

    def __str__(self) -> str:
        if self.place.edge is None and self.place.moment is None:
            return f"{self.place} after {self.after_seconds} s"
        return f"{self.place}@{self.count}" if self.count > 1 else f"{self.place}"


@dataclass(frozen=True)
class Schedule:
    seed: int
    clips: tuple[str, ...]
    """Ids of the clips, in the order of the manifest."""
    batch_size: int
    kills: tuple[Kill, ...]
    """In the order of PLACES."""


def make_schedule(seed: int, clip_ids: Sequence[str]) -> Schedule:
    """The same seed and clips give the same schedule."""
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
    most = min(MOST_CLIPS, len(clip_ids))
    clips = tuple(chance.sample(list(clip_ids), chance.randint(FEWEST_CLIPS, most)))
    places = sorted(chance.choices(PLACES, k=chance.randint(1, MOST_KILLS)), key=PLACES.index)
    kills = tuple(_kill(chance, place, len(clips)) for place in places)
    return Schedule(seed, clips, chance.choice((1, 2, 4)), kills)


def spared_places(struck: Iterable[Kill]) -> list[Place]:
    """Where none of these kills was."""
    places = {kill.place for kill in struck}
    return [place for place in PLACES if place not in places]


def _kill(chance: random.Random, place: Place, clips: int) -> Kill:
    if place.edge is not None:
        # So few that each of the most kills finds as many clips left.
        repeated = (place.stage, place.edge) in REPEATED_EDGES
        return Kill(place, count=chance.randint(1, clips // MOST_KILLS) if repeated else 1)
    if place.moment is not None:
        return Kill(place, count=1 if place.moment is Moment.LOAD else chance.randint(1, 2))
    return Kill(place, after_seconds=round(chance.uniform(0.0, LONGEST_WAIT_SECONDS[place.stage]), 2))
