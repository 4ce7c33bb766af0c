"""Nights of jobs on a fleet that lives on, and how much every table of operator and agents holds each morning.

A night is three hours of the virtual clock; all wall clocks then jump to the next evening. Agents crash and stages
fail, but the operator lives on, as one that starts anew would forget what it should not have kept.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random

import structlog
from tests.sim import invariants
from tests.sim.machine import JobWork
from tests.sim.scenario import PlannedJob, Scenario
from tests.sim.seams import SLOW_LEADER_FACTOR, replaced
from tests.sim.tables import AT_MOST, GROWING_BY_DESIGN, KEPT_DAYS, sizes
from tests.sim.virtual_loop import VirtualLoop
from tests.sim.world import World, has_ended

from voxfleet_operator.fleet.session_context import SessionTiming

NIGHT_SECONDS = 3 * 3600.0
"""Jobs end within minutes, their shards go an hour later, and statements are written every hour."""
DAY = timedelta(hours=24)
KEPT_NIGHTS = 2
"""After so many nights a person deletes a job."""
LEASE_SECONDS = 3600
MACS_A_JOB = 10
FEWEST_JOBS = 4
FEWEST_MORNINGS = 2
"""From which a slope can be told."""
GROWTH = 0.1
"""Entries for each job above which a table grows. What is left for a job, shard or attempt is more, chance is less."""


@dataclass(frozen=True, slots=True)
class Nights:
    sizes: Sequence[Mapping[str, int]]
    """Of each table, morning by morning."""
    violations: tuple[str, ...]
    jobs: int

    def slopes(self) -> dict[str, float]:
        """Entries that each table gained a night, over the second half of the nights, or since its oldest may go.

        A table that keeps everything longer than the run lasted has none.
        """
        names = {name for morning in self.sizes for name in morning}
        found = {}
        for name in sorted(names):
            first = max(len(self.sizes) // 2, KEPT_DAYS[name] + 3 if name in KEPT_DAYS else 0)
            if len(self.sizes) - first >= FEWEST_MORNINGS:
                found[name] = slope([morning.get(name, 0) for morning in self.sizes[first:]])
        return found

    def growing(self) -> list[str]:
        """The tables whose slope is not 0, and those beyond the bound that they state."""
        last = self.sizes[-1]
        beyond = [
            f"{name} holds {size}, and should hold at most {AT_MOST[name]}"
            for name, size in last.items()
            if name in AT_MOST and size > AT_MOST[name]
        ]
        exempt = AT_MOST.keys() | GROWING_BY_DESIGN.keys()
        nightly = self.jobs / len(self.sizes)
        return beyond + [
            f"{name} grows by {grown:.2f} a night to {last.get(name, 0)}"
            for name, grown in self.slopes().items()
            if name not in exempt and grown > GROWTH * nightly
        ]


def slope(values: Sequence[int]) -> float:
    """Of the line that fits best, per step."""
    count = len(values)
    if count < 2:
        return 0.0
    middle, mean = (count - 1) / 2, sum(values) / count
    spread = sum((step - middle) ** 2 for step in range(count))
    return sum((step - middle) * (value - mean) for step, value in enumerate(values)) / spread


def live_nights(nights: int, macs: int, seed: int, *, told: bool = False) -> Nights:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    loop = VirtualLoop()
    gc.disable()
    try:
        return loop.run_until_complete(_live(nights, macs, seed, loop, told=told))
    finally:
        loop.close()
        structlog.reset_defaults()
        gc.enable()


async def _live(nights: int, macs: int, seed: int, loop: VirtualLoop, *, told: bool) -> Nights:
    random = Random(seed)  # noqa: S311 # a run that can be repeated, no secret
    renewal_seconds = LEASE_SECONDS / 3
    plan = Scenario(
        seed=seed,
        lanes=(2,) * macs,
        lease_seconds=LEASE_SECONDS,
        jobs=(),
        faults=(),
        stage_failure_rate=0.03,
        statement_seconds=3600,
        replicas=1,
        timing=SessionTiming(silence_seconds=2.5 * renewal_seconds, longest_renewal_interval_seconds=renewal_seconds),
        garbage_seconds=60.0,
    )
    world = World(plan)
    mornings: list[Mapping[str, int]] = []
    violations: list[str] = []
    jobs: dict[str, int] = {}
    brought, started = 0, time.monotonic()
    with replaced(world.server, world.edges, plan.statement_seconds, leader_factor=SLOW_LEADER_FACTOR):
        world.begin()
        caring = asyncio.create_task(world.watch_over_processes())
        for night in range(nights):
            evening = world.loop.time()
            for name in [name for name, brought_in in jobs.items() if night - brought_in >= KEPT_NIGHTS]:
                world.delete_job(name)
                del jobs[name]
            for number in range(max(FEWEST_JOBS, macs // MACS_A_JOB)):
                job = _job(random, f"night-{night}-{number}")
                jobs[job.name] = night
                brought += 1
                await world.bring_job(job)
            for _ in range(max(1, macs // 20)):
                machine = random.choice(list(world.machines.values()))
                world.loop.call_later(random.uniform(10, 300), machine.crash)
            await asyncio.sleep(evening + NIGHT_SECONDS - world.loop.time())
            world.site.wall_offset += DAY - timedelta(seconds=NIGHT_SECONDS)
            violations += [f"night {night}: {text}" for text in _unended(world)]
            _forget_history(world)
            mornings.append(_sizes(world))
            gc.collect()
            if told:
                passed = time.monotonic() - started
                print(f"nights: {night + 1} of {nights}, {brought} jobs, {passed:.0f} s", flush=True)
        caring.cancel()
        await world.end()
    violations += invariants.no_second_is_signed_twice(world.history.paid)
    violations += invariants.statements_count_what_is_archived(world.counted_months(), world.archived_hashes())
    violations += invariants.an_attempt_has_one_machine(world.history.accepted)
    violations += invariants.macs_do_not_share_a_shard(world.history.spans)
    violations += invariants.status_is_bounded(world.history.largest_status_bytes)
    violations += world.history.broken
    violations += [f"unhandled: {error}" for error in loop.errors]
    return Nights(mornings, tuple(violations), brought)


def _job(random: Random, name: str) -> PlannedJob:
    boundaries = tuple(range(0, 25, 3))
    return PlannedJob(
        name=name,
        arrives=random.uniform(0, 60),
        parallelism=8,
        work=JobWork(boundaries, clip_seconds=20.0, poison=frozenset({7}), job_failure_rate=0.0),
        halt_percent=None,
    )


def _unended(world: World) -> list[str]:
    return [
        f"{job['metadata']['name']} has not ended and settled by morning"
        for job in world.server.list("AudioBatchJob")
        if not has_ended(job["status"]) or not job["status"]["usage"]["settled"]
    ]


def _forget_history(world: World) -> None:
    """What the modelled store and the record of what happened keep of jobs that are gone: no part of the product."""
    uids = {job["metadata"]["uid"] for job in world.server.list("AudioBatchJob")}
    shards = {shard["metadata"]["uid"] for shard in world.server.list("AudioShard")}
    world.site.work = {uid: work for uid, work in world.site.work.items() if uid in uids}
    store = world.site.store
    store.results = {uid: rows for uid, rows in store.results.items() if uid in uids}
    store.bases = {key: rows for key, rows in store.bases.items() if key.shard_uid in shards}
    store.parts = {key: rows for key, rows in store.parts.items() if key.shard_uid in shards}
    store.commits = {key: commit for key, commit in store.commits.items() if key.shard_uid in shards}
    world.server.parsed.forget_old()


def _sizes(world: World) -> dict[str, int]:
    operator = world.operators[0]
    found = sizes(operator.tables)
    found["operator.tasks"] = len(operator.process.tasks)
    for key in world.server.objects:
        found[f"API {key.kind}"] = found.get(f"API {key.kind}", 0) + 1
    for machine in world.machines.values():
        disk, agent = machine.disk, machine.agent
        held = {
            "attempts": len(disk.attempts),
            "tombstones": len(disk.tombstones),
            "rows": len(disk.rows),
            "spans": len(disk.spans),
            "holds": len(disk.holds),
            "recorded rows": len(disk.recorded) + len(disk.bases),
            "live": 0 if agent is None else len(agent.live),
            "tasks": len(machine.process.tasks),
        }
        found["agent.events"] = max(found.get("agent.events", 0), len(disk.events))
        for name, size in held.items():
            found[f"agent.{name}"] = found.get(f"agent.{name}", 0) + size
    return found
