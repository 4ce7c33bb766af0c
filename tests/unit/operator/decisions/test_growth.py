"""Nothing grows with history: nights of jobs leave every table of operator and agents as short as one night does."""

from __future__ import annotations

from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.world import World

from voxfleet_operator.reconcile.shard.status import is_settled


async def night(world: World, number: int) -> None:
    world.api.add(job_body(f"night-{number}"))
    await world.settle()


async def test_settled_attempts_are_forgotten_on_their_macs() -> None:
    world = World(seed=5)
    for number in range(3):
        await night(world, number)
    assert all(is_settled(shard, record) for shard in world.shards("night-0") for record in shard.status.attempts)
    assert [key for agent in world.agents.values() for key in agent.runs] == []
