"""Attempts that belong to no shard are deleted, each asked for once, however many there are."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.test_isolation import until
from tests.unit.operator.decisions.world import World

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.kinds import AudioShard, Resource
from voxfleet_operator.fleet.mailbox import MAX_ORDERS

R = TypeVar("R", bound=Resource)


async def test_more_orphans_than_a_mailbox_holds_are_deleted_with_one_look_at_the_api_server_each() -> None:
    world = World(seed=1, macs=1)
    world.api.add(job_body())
    agent = world.agents["mac-a"]
    await until(world, lambda: bool(agent.runs))
    sample, count = next(iter(agent.runs.values())), MAX_ORDERS + 50
    for number in range(count):
        uid = f"gone-{number}"
        spec = sample.spec.model_copy(update={"shard_uid": uid, "shard_name": uid})
        agent.runs[AttemptKey(uid, 1)] = replace(sample, spec=spec, left=10**6)
    asked, get = [], world.api.get

    async def counted(kind: type[R], namespace: str, name: str) -> R | None:
        if kind is AudioShard and name.startswith("gone-"):
            asked.append(name)
        return await get(kind, namespace, name)

    world.api.get = counted  # type: ignore[method-assign] # counts
    await until(world, lambda: not [key for key in agent.runs if key.shard_uid.startswith("gone-")])
    assert count <= len(asked) <= count + 10
