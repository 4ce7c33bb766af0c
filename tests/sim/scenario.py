"""What a seed stands for: the Macs, the jobs, and when which fault comes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from tests.sim.faults import FAULTS
from tests.sim.machine import JobWork
from tests.sim.moments import MOMENTS

from voxfleet_operator.fleet.session_context import SessionTiming

TIMING = SessionTiming(silence_seconds=50.0, longest_renewal_interval_seconds=30.0)
"""Longer than the real intervals, to cost less."""


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
    """Seconds from the start, or from the moment that `after` names."""
    kind: str
    after: str | None = None
    """One of moments.MOMENTS, of which the first counts."""


@dataclass(frozen=True, slots=True)
class Scenario:
    seed: int
    lanes: tuple[int, ...]
    """Of each Mac."""
    lease_seconds: int
    jobs: tuple[PlannedJob, ...]
    faults: tuple[PlannedFault, ...]
    stage_failure_rate: float
    statement_seconds: int = 3600
    """Between two statements of a Mac."""
    gone_macs_removed: bool = False
    """Whether a person removes the MacAgents of Macs that never return before the jobs are deleted."""
    replicas: int = 2
    timing: SessionTiming = TIMING
    garbage_seconds: float = 5.0
    """Between two rounds of garbage collection, which also start dead processes again."""

    def without_faults(self) -> Scenario:
        return replace(self, faults=(), stage_failure_rate=0.0)


def scenario(seed: int) -> Scenario:
    random = Random(seed)  # noqa: S311 # a run that can be repeated, no secret
    themed = random.random() < THEMED_SHARE
    faults = random.choice(THEMES)(random) if themed else _faults(random)
    found = Scenario(
        seed=seed,
        lanes=tuple(random.choice([1, 1, 2]) for _ in range(random.randint(2 if themed else 1, 3))),
        lease_seconds=random.choice([30, 60, 90]),
        jobs=tuple(
            _job(random, number, themed=themed) for number in range(1 if themed else random.choice([1, 1, 1, 2, 2, 3]))
        ),
        faults=faults,
        stage_failure_rate=random.choice([0.0, 0.0, 0.1, 0.3]) if faults else 0.0,
        statement_seconds=random.choice([60, 60, 60, 120, 300, 900] if random.random() < 0.3 else [60, 120]),
        gone_macs_removed=random.random() < 0.7,
        replicas=2 if random.random() < 0.5 or OF_REPLICAS & {fault.kind for fault in faults} else 1,
    )
    return replace(found, faults=(*found.faults, *_beside(seed)))


def _beside(seed: int) -> tuple[PlannedFault, ...]:
    """A fault that came later: with a chance of its own, it leaves all other seeds as they were."""
    random = Random(f"outage {seed}")  # noqa: S311 # a run that can be repeated, no secret
    return (PlannedFault(random.uniform(1, 300), ARCHIVE_FAULT),) if random.random() < ARCHIVE_SHARE else ()


def _job(random: Random, number: int, *, themed: bool) -> PlannedJob:
    boundaries = [0]
    for _ in range(random.choice([1, 2, 2, 3, 5])):
        boundaries.append(boundaries[-1] + random.randint(1, 3))
    deadly = frozenset({random.randrange(boundaries[-1])} if random.random() < DEADLY_SHARE else ())
    poison = frozenset(index for index in range(boundaries[-1]) if random.random() < random.choice([0.0, 0.1, 0.3]))
    return PlannedJob(
        name=f"job-{number}",
        arrives=random.uniform(0, 90) if number else random.uniform(0, 20),
        parallelism=random.choice([1, 2, 4]),
        work=JobWork(
            tuple(boundaries),
            clip_seconds=random.choice([3.0, 10.0, 40.0] if themed else [0.5, 3.0, 10.0, 25.0]),
            poison=poison,
            deadly=deadly,
            job_failure_rate=random.choice([0.0, 0.0, 0.5] if themed else [0.0] * 5 + [0.2]),
        ),
        halt_percent=random.choice([None, None, 20]),
        deleted_after=random.uniform(1, 200) if not themed and random.random() < 0.15 else None,
    )


def _faults(random: Random) -> tuple[PlannedFault, ...]:
    """Each seed has a few kinds of fault, so that each kind also meets a quiet world."""
    count = random.choice([0, 1, 2, 4, 8])
    kinds = random.sample(sorted(FAULTS.keys() - IN_THEMES_ALONE - {ARCHIVE_FAULT}), min(count, random.randint(1, 4)))
    if not kinds:
        return ()
    until = random.choice([60, 150, 300])
    found = []
    for _ in range(count):
        kind = random.choice(kinds)
        if random.random() < 0.4:
            found.append(PlannedFault(random.uniform(0, 3), kind, random.choice(MOMENTS)))
        else:
            found.append(PlannedFault(random.uniform(1, until), kind))
    return tuple(found)


# Meetings of faults that chance brings about too seldom.


def _a_mac_dies_while_a_job_runs(random: Random) -> tuple[PlannedFault, ...]:
    return (PlannedFault(random.uniform(0, 40), "mac-gone", random.choice(["working", "committed"])),)


def _a_job_halts_while_a_mac_is_lost(random: Random) -> tuple[PlannedFault, ...]:
    return (
        PlannedFault(random.uniform(0, 10), "mac-gone", "working"),
        PlannedFault(random.uniform(0, 20), "jobs-at-fault", "working"),
    )


def _all_macs_die_at_the_end(random: Random) -> tuple[PlannedFault, ...]:
    return (PlannedFault(random.uniform(0, 1.5), "all-macs-gone", "finalizing"),)


def _a_lost_mac_returns_as_it_is_replaced(random: Random) -> tuple[PlannedFault, ...]:
    return (
        PlannedFault(random.uniform(0, 5), "cut-off-until-replaced", "working"),
        *([PlannedFault(random.uniform(20, 200), "network-lossy")] if random.random() < 0.3 else ()),
    )


def _a_mac_is_swapped_while_a_job_runs(random: Random) -> tuple[PlannedFault, ...]:
    return (PlannedFault(random.uniform(0, 20), "mac-swapped", random.choice(["assigned", "working"])),)


def _others_hold_the_lanes(random: Random) -> tuple[PlannedFault, ...]:
    return (PlannedFault(random.uniform(0, 5), "lanes-taken", random.choice(["planned", "assigned"])),)


def _a_mac_sleeps_beyond_its_lease(random: Random) -> tuple[PlannedFault, ...]:
    return (
        PlannedFault(random.uniform(0, 30), "mac-asleep-long", "working"),
        PlannedFault(random.uniform(150, 260), "partition"),
    )


OF_REPLICAS = frozenset(
    {
        "operator-crash",
        "leader-crash",
        "operator-frozen",
        "leader-cut-off",
        "lease-not-renewed",
        "lease-deleted",
        "api-outage",
        "api-slow",
        "api-lossy",
    }
)
"""Faults after which another replica may lead."""


def _a_result_is_not_written_before_its_mac_is_lost(random: Random) -> tuple[PlannedFault, ...]:
    return (
        PlannedFault(random.uniform(0, 5), "status-unanswered", "working"),
        PlannedFault(random.uniform(20, 60), random.choice(["mac-gone", "all-macs-gone"]), "working"),
    )


def _a_mac_that_parked_its_work_is_lost(random: Random) -> tuple[PlannedFault, ...]:
    return (PlannedFault(random.uniform(1, 20), "mac-drained-and-gone", "working"),)


def _a_mac_is_to_be_empty_while_it_works(random: Random) -> tuple[PlannedFault, ...]:
    return (
        PlannedFault(random.uniform(0, 5), random.choice(["mac-drains", "window-closes", "rental-ends"]), "working"),
        *(
            [PlannedFault(random.uniform(0, 25), random.choice(["partition", "mac-asleep-long"]))]
            if random.random() < 0.6
            else ()
        ),
    )


def _what_a_job_leaves_runs_again(random: Random) -> tuple[PlannedFault, ...]:
    return (
        *([PlannedFault(random.uniform(0, 10), "job-cancelled", "working")] if random.random() < 0.5 else ()),
        PlannedFault(random.uniform(0, 10), "job-rerun", random.choice(["working", "finalizing"])),
    )


ARCHIVE_FAULT = "archive-unreachable"
ARCHIVE_SHARE = 0.08
THEMED_SHARE = 0.25
DEADLY_SHARE = 0.03
"""Of jobs, of which one clip brings down the attempts that get to it."""
IN_THEMES_ALONE = frozenset(
    {"all-macs-gone", "cut-off-until-replaced", "jobs-at-fault", "lanes-taken", "mac-asleep-long"}
)
"""Faults after which little else can happen."""
THEMES = (
    _a_mac_dies_while_a_job_runs,
    _a_job_halts_while_a_mac_is_lost,
    _all_macs_die_at_the_end,
    _a_lost_mac_returns_as_it_is_replaced,
    _a_mac_is_swapped_while_a_job_runs,
    _others_hold_the_lanes,
    _a_mac_sleeps_beyond_its_lease,
    _a_result_is_not_written_before_its_mac_is_lost,
    _a_mac_that_parked_its_work_is_lost,
    _a_mac_is_to_be_empty_while_it_works,
    _what_a_job_leaves_runs_again,
)
