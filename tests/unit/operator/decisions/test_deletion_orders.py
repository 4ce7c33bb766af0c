"""Namespace, MacAgent, contract and Secret go in any order, Macs silent or not: what is deleted is gone in time."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.operator.decisions.bodies import job_body, mac_agent
from tests.unit.operator.decisions.test_isolation import until
from tests.unit.operator.decisions.world import World

from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, Resource, VoiceContract
from voxfleet_operator.reconcile.deletion_deadline import DEADLINE
from voxfleet_operator.reconcile.job.reconcile import UNREACHABLE_POLL_SECONDS

MOST_SECONDS = DEADLINE.total_seconds() + UNREACHABLE_POLL_SECONDS + 1
SECRET = ("team", "s3")


def delete(world: World, kind: type[Resource], namespace: str = "team") -> None:
    for item in world.api.all(kind):
        world.api.user_deletes(kind, namespace, item.metadata.name)


def silence(world: World, mac: str) -> None:
    world.fleet.reachable.discard(mac)
    world.refresh(mac)


STEPS: dict[str, Callable[[World], None]] = {
    "job": lambda world: delete(world, AudioBatchJob),
    "shards": lambda world: delete(world, AudioShard),
    "contract": lambda world: delete(world, VoiceContract),
    "secret": lambda world: world.api.secrets.clear(),
    "mac": lambda world: world.api.user_deletes(MacAgent, "", "mac-a"),
    "mac is silent": lambda world: silence(world, "mac-a"),
    "other mac is silent": lambda world: silence(world, "mac-b"),
    "operator": lambda world: world.start_operator(),
}
"""The namespace controller deletes a namespace's objects one after the other, in no order that anybody promises."""


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    order=st.permutations([*STEPS]),
    left_out=st.sets(st.sampled_from(["mac", "mac is silent", "other mac is silent", "operator"])),
    begun=st.integers(0, 40),
    between=st.integers(0, 12),
)
async def test_whatever_goes_in_whatever_order_is_gone_in_time(
    seed: int, order: list[str], left_out: set[str], begun: int, between: int
) -> None:
    world = World(seed)
    world.api.secrets[SECRET] = {"AWS_ACCESS_KEY_ID": b"id", "AWS_SECRET_ACCESS_KEY": b"secret"}
    world.api.add(job_body(credentialsSecretRef={"name": "s3"}, parallelism=2))
    await passes(world, begun)
    for step in order:
        if step not in left_out:
            STEPS[step](world)
            await passes(world, between)
    began = world.clock.seconds
    await until(world, lambda: not world.api.all(AudioBatchJob))
    await until(world, lambda: not world.api.all(AudioShard))
    assert world.clock.seconds - began <= MOST_SECONDS

    # Who comes back is emptied.
    world.fleet.reachable = set(world.agents)
    if "mac" not in left_out:
        world.api.add(mac_agent("mac-a"))
    await until(world, lambda: not any(agent.runs for agent in world.agents.values()))


async def passes(world: World, count: int) -> None:
    for number in range(count):
        world.deliver()
        await world.reconcile(2)
        if number % 4 == 0:
            world.clock.seconds += 1
            for name, agent in world.agents.items():
                agent.work()
                world.refresh(name)
