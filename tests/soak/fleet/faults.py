"""Which part of a fleet is hurt when, how, and for how long, as a seed decides. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

LEASE_SECONDS = 10
LOST_MARGIN_SECONDS = 3
MOST_FAULTS = 3
FEWEST_CLIPS, MOST_CLIPS = 60, 140
FEWEST_TAKEOVERS_PERCENT = 34
"""Of all runs; the seeds make half of them lose a Mac."""


class Target(StrEnum):
    AGENT = "agent"
    LANE = "lane"
    OPERATOR = "operator"
    LINK = "link"
    APISERVER = "apiserver"
    ETCD = "etcd"


class Harm(StrEnum):
    KILL = "killed"
    FREEZE = "frozen"
    STALL = "stalled"  # bytes wait and arrive late
    DROP = "dropped"  # bytes are swallowed
    DELAY = "delayed"
    HALF_CLOSE = "half-closed"


class Moment(StrEnum):
    """Of a job, in the order in which it meets them."""

    PLANNING = "Planning"
    WORKING = "Working"
    """A Process attempt has its first rows."""
    MERGING = "Merging"
    DELETING = "Deleting"


@dataclass(frozen=True)
class FaultKind:
    target: Target
    harm: Harm
    shortest_seconds: float
    longest_seconds: float
    until: str = ""
    """What happens before it ends: the Mac is lost, the leader is deposed."""

    def __str__(self) -> str:
        return f"{self.target} {self.harm}{f' until {self.until}' if self.until else ''}"


LOSING_KINDS = (
    # Nobody answers at once, so silence counts from the last renewal.
    FaultKind(Target.AGENT, Harm.KILL, 16.0, 19.0, until="lost"),
    # A renewal hangs for 10 s before the session gives up, and counts as a lease that was granted.
    FaultKind(Target.AGENT, Harm.FREEZE, 21.0, 25.0, until="lost"),
    FaultKind(Target.LINK, Harm.STALL, 21.0, 25.0, until="lost"),
    FaultKind(Target.LINK, Harm.DROP, 21.0, 25.0, until="lost"),
)
BRIEF_KINDS = (
    FaultKind(Target.AGENT, Harm.KILL, 0.1, 3.0),
    FaultKind(Target.AGENT, Harm.FREEZE, 1.0, 8.0),
    FaultKind(Target.LANE, Harm.KILL, 0.0, 0.0),
    FaultKind(Target.LANE, Harm.FREEZE, 1.0, 6.0),
    FaultKind(Target.OPERATOR, Harm.KILL, 0.1, 3.0),
    FaultKind(Target.OPERATOR, Harm.FREEZE, 1.0, 4.0),
    FaultKind(Target.OPERATOR, Harm.FREEZE, 11.0, 14.0, until="deposed"),
    FaultKind(Target.LINK, Harm.STALL, 1.0, 8.0),
    FaultKind(Target.LINK, Harm.DROP, 1.0, 8.0),
    FaultKind(Target.LINK, Harm.DELAY, 4.0, 10.0),
    FaultKind(Target.LINK, Harm.HALF_CLOSE, 0.0, 0.0),
    FaultKind(Target.APISERVER, Harm.KILL, 0.1, 4.0),
    FaultKind(Target.ETCD, Harm.KILL, 0.1, 4.0),
)
KINDS = (*LOSING_KINDS, *BRIEF_KINDS)
OF_A_MAC = frozenset({Target.AGENT, Target.LANE, Target.LINK})
MOMENTS = {Target.LANE: (Moment.WORKING,)}
"""Where not all moments make sense: only Process has a lane."""


@dataclass(frozen=True)
class Fault:
    kind: FaultKind
    moment: Moment
    after_seconds: float
    """Since the moment was first seen."""
    for_seconds: float

    def __str__(self) -> str:
        lasting = f" for {self.for_seconds} s" if self.for_seconds else ""
        return f"{self.kind} while {self.moment} after {self.after_seconds} s{lasting}"


@dataclass(frozen=True)
class FleetSchedule:
    seed: int
    clips: int
    shard_audio_seconds: int
    parallelism: int
    replicas: int
    faults: tuple[Fault, ...]


def make_fleet_schedule(seed: int) -> FleetSchedule:
    """The same seed gives the same schedule. Each kind has its turn; every second seed loses a Mac."""
    chance = random.Random(f"fleet-{seed}")  # noqa: S311 - repeatable on purpose
    kinds = [BRIEF_KINDS[seed % len(BRIEF_KINDS)]]
    kinds += chance.choices(BRIEF_KINDS, k=chance.randint(0, MOST_FAULTS - 2))
    faults = [_fault(chance, kind) for kind in kinds]
    if seed % 2 == 0:
        losing = LOSING_KINDS[seed // 2 % len(LOSING_KINDS)]
        lasting = round(chance.uniform(losing.shortest_seconds, losing.longest_seconds), 1)
        faults.insert(0, Fault(losing, Moment.WORKING, after_seconds=0.0, for_seconds=lasting))
    return FleetSchedule(
        seed=seed,
        clips=chance.randint(FEWEST_CLIPS, MOST_CLIPS),
        shard_audio_seconds=chance.choice((15, 25, 40)),
        parallelism=chance.choice((1, 2, 3, 3)),
        replicas=2 if seed % 3 == 0 else 1,
        faults=tuple(faults),
    )


def _fault(chance: random.Random, kind: FaultKind) -> Fault:
    moment = chance.choice(MOMENTS.get(kind.target, tuple(Moment)))
    lasting = round(chance.uniform(kind.shortest_seconds, kind.longest_seconds), 1)
    return Fault(kind, moment, round(chance.uniform(0.0, 0.6), 2), lasting)


def spared_kinds(struck: Iterable[str]) -> list[str]:
    """The kinds of fault that none of these was."""
    found = set(struck)
    return [str(kind) for kind in KINDS if str(kind) not in found]
