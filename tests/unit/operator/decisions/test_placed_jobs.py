"""Whole jobs whose specs, and whose Macs' specs, say where they may run."""

from __future__ import annotations

import pytest
from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.test_isolation import state, until
from tests.unit.operator.decisions.world import World

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds.audio_shard import Stage

HOMOGENEOUS = {"homogeneous": True}


def chips_of(world: World) -> set[str | None]:
    """Where clips were processed."""
    process = (shard for shard in world.shards() if shard.spec.stage is Stage.PROCESS)
    return {record.chip for shard in process for record in shard.status.attempts}


def mixed_fleet(seed: int) -> World:
    world = World(seed=seed, macs=4, lanes=1)
    for name, chip in (("mac-a", "Apple M2"), ("mac-b", "Apple M4"), ("mac-c", "Apple M2"), ("mac-d", "Apple M4 Pro")):
        world.agents[name].chip = chip
    return world


@pytest.mark.parametrize("seed", range(3))
async def test_a_homogeneous_job_stays_on_one_chip_whatever_the_next_operator_remembers(seed: int) -> None:
    world = mixed_fleet(seed)
    world.api.add(job_body(requirements=HOMOGENEOUS))
    await until(world, lambda: bool(chips_of(world)))
    world.start_operator()
    await until(world, lambda: state(world, "job") == Reason.FINISHED)
    assert chips_of(world) == {"Apple M2"}, "two Macs have it, and one has each of the others"


async def test_another_job_uses_all_chips() -> None:
    world = mixed_fleet(0)
    world.api.add(job_body())
    await until(world, lambda: state(world, "job") == Reason.FINISHED)
    assert len(chips_of(world)) > 1


async def test_a_homogeneous_job_waits_for_its_chip_and_says_so() -> None:
    world = World(seed=1, macs=2)
    world.agents["mac-a"].chip = "Apple M2"
    world.api.add(job_body(requirements={**HOMOGENEOUS, "chips": ["M2"]}))
    await until(world, lambda: bool(chips_of(world)))
    world.fleet.reachable = {"mac-b"}
    world.refresh("mac-a")
    await until(world, lambda: "another chip (need M2)" in (world.job("job").status.pending_reason or ""))
    world.fleet.reachable = {"mac-a", "mac-b"}
    await until(world, lambda: state(world, "job") == Reason.FINISHED)
    assert chips_of(world) == {"Apple M2"}


async def test_a_taint_keeps_jobs_off_until_it_goes() -> None:
    world = World(macs=1)
    world.api.user_edits("MacAgent", "", "mac-a", taints=[{"key": "rented", "value": "night"}])
    world.api.add(job_body("by-day"))
    world.api.add(job_body("by-night", tolerations=[{"key": "rented", "operator": "Exists"}]))
    await until(world, lambda: state(world, "by-night") == Reason.FINISHED)
    assert world.job("by-day").status.pending_reason == "0/1 Macs fit: 1 has an untolerated taint {rented: night}"
    world.api.user_edits("MacAgent", "", "mac-a", taints=[])
    await until(world, lambda: state(world, "by-day") == Reason.FINISHED)
