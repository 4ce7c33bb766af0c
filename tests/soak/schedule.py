"""Which process dies when, and over which clips, as a seed decides. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

EDGES = (
    "plan-uploaded",
    "row-sealed",
    "base-frozen",
    "reserved",
    "row-recorded",
    "part-frozen",
    "part-uploaded",
    "part-marked",
    "commit-uploaded",
    "outcome-recorded",
    "index-uploaded",
)
"""The agent's named edges (voxfleet_agent.crash)."""
REPEATED_EDGES = ("reserved", "row-recorded")
MOST_KILLS = 3
LONGEST_WAIT_SECONDS = 5.0


class Target(StrEnum):
    AGENT_AT_EDGE = "AgentAtEdge"
    AGENT = "Agent"
    LANE = "Lane"
    BOTH = "Both"


@dataclass(frozen=True)
class Kill:
    """One kill -9. Each is armed once the one before it has struck."""

    target: Target
    edge: str | None = None
    """With the count that it is met, such as `row-recorded@3`; only for AGENT_AT_EDGE."""
    after_seconds: float = 0.0
    """From the moment it is armed; for the others."""


@dataclass(frozen=True)
class Schedule:
    seed: int
    clips: tuple[str, ...]
    """Ids of the clips, in the order of the manifest."""
    batch_size: int
    kills: tuple[Kill, ...]


def make_schedule(seed: int, clip_ids: Sequence[str]) -> Schedule:
    """The same seed and clips give the same schedule."""
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
    clips = tuple(chance.sample(list(clip_ids), chance.randint(6, min(14, len(clip_ids)))))
    kills = tuple(_kill(chance, len(clips)) for _ in range(chance.randint(1, MOST_KILLS)))
    return Schedule(seed, clips, chance.choice((1, 2, 4)), kills)


def _kill(chance: random.Random, clips: int) -> Kill:
    target = chance.choice(list(Target))
    if target is not Target.AGENT_AT_EDGE:
        return Kill(target, after_seconds=round(chance.uniform(0.0, LONGEST_WAIT_SECONDS), 2))
    edge = chance.choice(EDGES)
    count = chance.randint(1, clips // 2) if edge in REPEATED_EDGES else 1
    return Kill(target, edge=edge if count == 1 else f"{edge}@{count}")
