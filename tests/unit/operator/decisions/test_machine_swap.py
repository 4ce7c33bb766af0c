"""A MacAgent that stands for another machine, and a machine under another name, while attempts are assigned."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.operator.decisions.bodies import LEASE_SECONDS, job_body, mac_agent
from tests.unit.operator.decisions.memory_fleet import Agent
from tests.unit.operator.decisions.test_isolation import until
from tests.unit.operator.decisions.world import MARGIN_SECONDS, World

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import AudioBatchJob, MacAgent
from voxfleet_api.kinds.audio_shard import AttemptOutcome
from voxfleet_api.protocol import AttemptState
from voxfleet_operator.queue import Key

LONG = 10**6


async def running(world: World) -> AttemptKey:
    """A Process attempt on mac-a that does not end by itself."""
    agent = world.agents["mac-a"]
    await until(world, lambda: any(run.laned for run in agent.runs.values()))
    key = next(key for key, run in agent.runs.items() if run.laned and run.state is AttemptState.RUNNING)
    agent.runs[key].left = LONG
    return key


def swap(world: World, old: Agent) -> Agent:
    """The MacAgent was edited and stands for another machine; the old one goes on until its lease ends."""
    new = Agent(old.name, world.clock, world.random, old.lanes, hardware_id="hardware-2")
    world.agents[old.name] = new
    world.refresh(old.name)
    return new


def ended(world: World) -> bool:
    return any(item.type == "Complete" and item.reason == Reason.FINISHED for item in world.job().status.conditions)


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_attempt_never_runs_on_another_machine_under_the_same_name(restarted: bool) -> None:
    world = World(seed=4, macs=1)
    world.api.add(job_body())
    key = await running(world)
    old = world.agents["mac-a"]
    new, swapped = swap(world, old), world.clock.seconds
    if restarted:
        world.start_operator()

    def taken_over() -> bool:
        old.park_expired()
        assert key not in new.runs, "one attempt on two machines"
        both = old.runs[key].state is AttemptState.RUNNING and any(
            run.state is AttemptState.RUNNING for other, run in new.runs.items() if other.shard_uid == key.shard_uid
        )
        assert not both, "two attempts of a shard at one time"
        return any(other.shard_uid == key.shard_uid for other in new.runs)

    await until(world, taken_over)
    assert world.clock.seconds - swapped >= LEASE_SECONDS + MARGIN_SECONDS - 1, "the lost rule"
    await until(world, lambda: ended(world))
    shard = next(shard for shard in world.shards() if shard.metadata.uid == key.shard_uid)
    lost, won = shard.status.attempts
    assert (lost.outcome, lost.machine) == (AttemptOutcome.LOST, old.identity)
    assert (won.outcome, won.machine) == (AttemptOutcome.SUCCEEDED, new.identity)
    assert lost.usage is None, "what it worked is known only when it returns"


async def test_a_machine_under_a_new_name_goes_on_with_its_attempt() -> None:
    world = World(seed=4, macs=1)
    world.api.add(job_body())
    key = await running(world)
    old = world.agents["mac-a"]
    swap(world, old)
    world.api.add(mac_agent("mac-z"))
    identity = old.identity
    renamed = replace(old, name="mac-z", hardware_id=identity.hardware_id, ledger_key=identity.ledger_key)
    world.agents["mac-z"] = renamed
    world.fleet.reachable.add("mac-z")
    renamed.runs[key].left = 5

    await until(world, lambda: ended(world))
    shard = next(shard for shard in world.shards() if shard.metadata.uid == key.shard_uid)
    (record,) = shard.status.attempts
    assert (record.mac, record.outcome, record.machine) == ("mac-a", AttemptOutcome.SUCCEEDED, old.identity)
    assert record.usage is not None and record.usage.complete


async def test_a_deletion_asks_the_machine_and_not_the_name() -> None:
    world = World(seed=4, macs=1)
    world.api.add(job_body())
    key = await running(world)
    old = world.agents["mac-a"]
    new = swap(world, old)
    await until(world, lambda: world.fleet.view("mac-a").connected)
    world.api.user_deletes(AudioBatchJob, "team", "job")
    await until(world, lambda: Key("AudioBatchJob", "team", "job") not in world.api.objects)
    assert key.shard_uid not in new.tombstones, "it was asked about an attempt that it never had"
    world.agents["mac-a"] = old
    await until(world, lambda: key not in old.runs)  # an orphan on its own machine
    assert world.api.all(MacAgent)
