"""The whole operator on Macs with Interactive pools: these count for no shard, at any point."""

from __future__ import annotations

import pytest
from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.test_isolation import state, until
from tests.unit.operator.decisions.world import World

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_operator.reconcile.shard.status import is_live


def world_of(**lanes: tuple[int, int]) -> World:
    """`lanes`: Offline and Interactive ones, by the letter of the Mac."""
    world = World(macs=len(lanes))
    for letter, (offline, interactive) in lanes.items():
        agent = world.agents[f"mac-{letter}"]
        agent.lanes, agent.interactive = offline, interactive
    world.start_operator()
    return world


@pytest.mark.parametrize("offline", [0, 1])
async def test_no_mac_is_given_more_shards_than_it_has_offline_lanes(offline: int) -> None:
    world = world_of(a=(offline, 3), b=(1, 0))
    world.api.add(job_body(parallelism=8))
    given = dict.fromkeys(world.agents, 0)

    def is_over() -> bool:
        shards = [shard for shard in world.shards() if shard.spec.stage is Stage.PROCESS and is_live(shard)]
        for name in given:
            given[name] = max(given[name], sum(shard.status.mac == name for shard in shards))
        return state(world, "job") == Reason.FINISHED

    await until(world, is_over)
    assert given == {"mac-a": offline, "mac-b": 1}


async def test_a_fleet_of_interactive_lanes_plans_and_says_why_nothing_runs() -> None:
    world = world_of(a=(0, 2))
    world.api.add(job_body())
    want = "0/1 Macs fit: 1 has no Offline lane (its pools are Interactive)"
    await until(world, lambda: world.job().status.pending_reason == want)
    job = world.job()
    assert job.status.plan is not None, "it was planned there"
    assert job.status.estimate is None or job.status.estimate.fits_window is None
    assert all(run.spec.stage is not Stage.PROCESS for run in world.agents["mac-a"].runs.values())
