"""Runs one seed from its first second to the point where nothing is left to happen, and says what was broken."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections import Counter
from dataclasses import dataclass

import structlog
from tests.sim.scenario import Scenario, scenario
from tests.sim.virtual_loop import VirtualLoop
from tests.sim.world import World

END_SECONDS = 3 * 3600.0
"""How long after the last trouble every job has ended."""
SETTLE_SECONDS = 1800.0
DELETE_SECONDS = 1200.0


@dataclass(frozen=True, slots=True)
class Outcome:
    seed: int
    violations: tuple[str, ...]
    edges: Counter[str]
    virtual_seconds: float
    trace: tuple[str, ...] = ()


def simulate(seed: int, *, traced: bool = False, plan: Scenario | None = None) -> Outcome:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL), cache_logger_on_first_use=False)
    loop = VirtualLoop()
    gc.disable()
    try:
        return loop.run_until_complete(_live(plan or scenario(seed), traced=traced))
    finally:
        loop.close()
        gc.enable()


async def _live(plan: Scenario, *, traced: bool) -> Outcome:
    world = World(plan, traced=traced)
    violations: list[str] = []
    world.begin()
    caring = asyncio.create_task(world.watch_over_processes())
    faulting = asyncio.create_task(world.bring_faults())
    await world.bring_jobs()
    await faulting
    await asyncio.sleep(max(0.0, plan.calm_at - world.loop.time()) if plan.faults else 0.0)
    world.calm_down()
    if not await world.until(world.all_ended, END_SECONDS):
        violations.append("a job does not end")
    elif not await world.until(world.all_settled, SETTLE_SECONDS):
        violations.append("usage is not settled")
    world.history.note("deletion")
    for job in plan.jobs:
        world.delete_job(job.name)
    if not await world.until(world.all_gone, DELETE_SECONDS):
        violations.append("something is left")
    ended = world.loop.time()
    caring.cancel()
    for operator in world.operators:
        operator.crash()
    for machine in world.machines.values():
        machine.crash()
    await asyncio.sleep(60)
    errors = [str(error) for error in getattr(world.loop, "errors", ())]
    return Outcome(
        plan.seed, (*violations, *errors), world.edges, ended, tuple(world.history.trace or ())
    )
