"""Which part of a fleet is hurt when, how, and for how long, as a seed decides. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

LEASE_SECONDS = 10
LOST_MARGIN_SECONDS = 3
MOST_FAULTS = 3
LOST_WITHIN_SECONDS = 45.0
"""Then a Mac that should be lost returns all the same: what it worked on may just have ended."""
FEWEST_CLIPS, MOST_CLIPS = 60, 140
TAKEOVERS_ONE_IN = 3
"""At least; the seeds make every second run lose a Mac."""


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
    """What happens before it ends: a Mac is lost, a leader is deposed."""

    @property
    def loses_mac(self) -> bool:
        return self.until == "lost"

    def __str__(self) -> str:
        return f"{self.target} {self.harm}{f' until {self.until}' if self.until else ''}"


LOSING_KINDS = (
    FaultKind(Target.AGENT, Harm.KILL, 0.0, 6.0, until="lost"),
    FaultKind(Target.AGENT, Harm.FREEZE, 0.0, 6.0, until="lost"),
    FaultKind(Target.LINK, Harm.STALL, 0.0, 6.0, until="lost"),
    FaultKind(Target.LINK, Harm.DROP, 0.0, 6.0, until="lost"),
)
"""They last until a shard's status says that its Mac is lost, and for so long after that: the Mac returns while another
one works on, or when that has ended."""
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
        lasting = f"{' and' if self.kind.until else ''} for {self.for_seconds} s" if self.for_seconds else ""
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
        faults.insert(0, Fault(losing, Moment.WORKING, after_seconds=0.0, for_seconds=_lasting(chance, losing)))
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
    return Fault(kind, moment, round(chance.uniform(0.0, 0.6), 2), _lasting(chance, kind))


def _lasting(chance: random.Random, kind: FaultKind) -> float:
    return round(chance.uniform(kind.shortest_seconds, kind.longest_seconds), 1)
