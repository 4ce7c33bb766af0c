"""Runs one seed from its first second to the point where nothing is left to happen, and says what was broken."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections import Counter
from dataclasses import dataclass

import structlog
from tests.sim import invariants
from tests.sim.known import known_as
from tests.sim.scenario import Scenario, scenario
from tests.sim.seams import replaced
from tests.sim.virtual_loop import VirtualLoop
from tests.sim.world import World

from voxfleet_operator.options import OperatorOptions

END_SECONDS = 3600.0
"""How long after the last trouble every job has ended; Finalize alone has half an hour."""
SETTLE_SECONDS = 600.0
DELETE_SECONDS = 1200.0
"""A deletion waits a quarter of an hour for a Mac that does not answer."""
FORGET_SECONDS = 7500.0
"""Longer than rows wait for the next statement."""
LOOK_SECONDS = 30.0
"""Between two looks at all tables, each of which walks over all that the operator holds."""


@dataclass(frozen=True, slots=True)
class Outcome:
    seed: int
    violations: tuple[str, ...]
    edges: Counter[str]
    virtual_seconds: float
    trace: tuple[str, ...] = ()


def simulate(seed: int, *, traced: bool = False, plan: Scenario | None = None) -> Outcome:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    loop = VirtualLoop()
    gc.disable()
    try:
        outcome = loop.run_until_complete(_live(plan or scenario(seed), loop, traced=traced))
    finally:
        loop.close()
        structlog.reset_defaults()
        gc.enable()
    return outcome


async def _live(plan: Scenario, loop: VirtualLoop, *, traced: bool) -> Outcome:
    world = World(plan, traced=traced)
    with replaced(world.server, world.edges, plan.statement_seconds):
        violations = await _run_to_its_end(world)
    history = world.history
    violations += invariants.no_second_is_signed_twice(history.paid)
    violations += invariants.statements_count_what_is_archived(world.counted_months(), world.archived_hashes())
    violations += invariants.an_attempt_has_one_machine(history.accepted)
    violations += invariants.macs_do_not_share_a_shard(history.spans)
    violations += invariants.no_work_begins_behind_its_successor(history.spans, history.assignments)
    violations += invariants.status_is_bounded(history.largest_status_bytes)
    violations += history.broken
    violations += [f"commit {key} was written twice" for key in world.site.store.rewritten]
    violations += [f"unhandled: {error}" for error in loop.errors]
    return Outcome(plan.seed, tuple(violations), world.edges, loop.time(), tuple(history.trace or ()))


async def _run_to_its_end(world: World) -> list[str]:
    """Returns what was broken, as far as the world shows it while it lives."""
    plan, loop = world.scenario, world.loop
    violations: list[str] = []
    world.begin()
    caring = asyncio.create_task(world.watch_over_processes())
    faulting = asyncio.create_task(world.bring_faults())
    await world.bring_jobs()
    await faulting
    await asyncio.sleep(max(0.0, world.trouble_until - loop.time()))
    world.calm_down()
    if not await world.until(lambda: not world.unended(), END_SECONDS):
        violations += world.unended()
    elif not await world.until(lambda: not world.unsettled(), SETTLE_SECONDS):
        violations += world.unsettled()
    for job in world.ended_jobs():
        violations += invariants.every_clip_has_one_row(job)
        violations += invariants.usage_is_what_was_signed(job)
    for shard in world.exhausted():
        violations += invariants.refusals_cost_no_retry(shard, OperatorOptions().retry_limit + 1)
    world.history.note("deletion")
    if plan.gone_macs_removed:
        world.remove_gone_macs()
    world.delete_jobs()
    if not await world.until(lambda: not invariants.nothing_is_left(world.left()), DELETE_SECONDS):
        violations += invariants.nothing_is_left(world.left())
    else:

        def remembered() -> list[str]:
            return [text for text in invariants.tables_forget(world.remembered()) if known_as(text) is None]

        await world.until(lambda: not remembered(), FORGET_SECONDS, LOOK_SECONDS)
        violations += invariants.tables_forget(world.remembered())
    caring.cancel()
    await world.end()
    return violations
