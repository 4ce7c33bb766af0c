"""What a seed stands for: the Macs, the jobs, and when which fault comes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from tests.sim.faults import FAULTS
from tests.sim.machine import JobWork


@dataclass(frozen=True, slots=True)
class PlannedJob:
    name: str
    arrives: float
    parallelism: int
    work: JobWork
    halt_percent: int | None
    deleted_after: float | None = None
    """Seconds from its arrival until a person deletes it, if one does."""


@dataclass(frozen=True, slots=True)
class PlannedFault:
    at: float
    kind: str


@dataclass(frozen=True, slots=True)
class Scenario:
    seed: int
    lanes: tuple[int, ...]
    """Of each Mac."""
    lease_seconds: int
    jobs: tuple[PlannedJob, ...]
    faults: tuple[PlannedFault, ...]
    stage_failure_rate: float
    replicas: int = 2

    @property
    def calm_at(self) -> float:
        """When trouble ends, but for what cannot be undone."""
        return max([fault.at for fault in self.faults], default=0.0) + 60.0

    def without_faults(self) -> Scenario:
        return replace(self, faults=(), stage_failure_rate=0.0)


def scenario(seed: int) -> Scenario:
    random = Random(seed)  # noqa: S311 # a run that can be repeated, no secret
    faults = _faults(random)
    return Scenario(
        seed=seed,
        lanes=tuple(random.choice([1, 1, 2]) for _ in range(random.randint(1, 3))),
        lease_seconds=random.choice([30, 60, 90]),
        jobs=tuple(_job(random, number) for number in range(random.choice([1, 1, 1, 2, 2, 3]))),
        faults=faults,
        stage_failure_rate=random.choice([0.0, 0.0, 0.1, 0.3]) if faults else 0.0,
    )


def _job(random: Random, number: int) -> PlannedJob:
    boundaries = [0]
    for _ in range(random.choice([1, 2, 2, 3, 5])):
        boundaries.append(boundaries[-1] + random.randint(1, 3))
    poison = frozenset(index for index in range(boundaries[-1]) if random.random() < random.choice([0.0, 0.1, 0.3]))
    return PlannedJob(
        name=f"job-{number}",
        arrives=random.uniform(0, 90) if number else random.uniform(0, 20),
        parallelism=random.choice([1, 2, 4]),
        work=JobWork(
            tuple(boundaries),
            clip_seconds=random.choice([0.5, 3.0, 10.0, 25.0]),
            poison=poison,
            job_failure_rate=random.choice([0.0] * 5 + [0.2]),
        ),
        halt_percent=random.choice([None, None, 20]),
        deleted_after=random.uniform(1, 200) if random.random() < 0.15 else None,
    )


def _faults(random: Random) -> tuple[PlannedFault, ...]:
    """Each seed has a few kinds of fault, so that each kind also meets a quiet world."""
    count = random.choice([0, 1, 2, 4, 8])
    kinds = random.sample(sorted(FAULTS), min(count, random.randint(1, 4)))
    if not kinds:
        return ()
    until = random.choice([60, 150, 300])
    return tuple(
        sorted(
            (PlannedFault(random.uniform(1, until), random.choice(kinds)) for _ in range(count)),
            key=lambda fault: fault.at,
        )
    )
