"""What one job's or one Mac's trouble must not do to others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pytest
from tests.unit.operator.decisions.bodies import LEASE_SECONDS, job_body
from tests.unit.operator.decisions.world import MARGIN_SECONDS, World

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import MESSAGE_LIMIT, Reason
from voxfleet_api.kinds import AudioBatchJob, AudioShard, Resource
from voxfleet_api.kinds.audio_shard import AttemptOutcome, Stage
from voxfleet_api.protocol import AttemptStatus
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.kube_errors import Invalid
from voxfleet_operator.placement.job_work import JobWork, WorkMaker
from voxfleet_operator.queue import Key

R = TypeVar("R", bound=Resource)
S3 = {"AWS_ACCESS_KEY_ID": b"a", "AWS_SECRET_ACCESS_KEY": b"b"}


async def until(world: World, holds: Callable[[], bool], rounds: int = 4000) -> None:
    for _ in range(rounds):
        if holds():
            return
        world.deliver()
        world.queue.tick()
        if world.queue.ready:
            await world.reconcile(3)
            continue
        world.clock.seconds += 1
        for agent in world.agents.values():
            agent.work()
        for name in world.agents:
            world.refresh(name)
    raise AssertionError("never came to hold")


def state(world: World, name: str) -> str:
    return next((item.reason for item in world.job(name).status.conditions if item.type == "Complete"), "")


async def test_a_secret_that_goes_away_blocks_its_job_alone() -> None:
    world = World(seed=3)
    world.api.secrets["team", "s3"] = S3
    world.api.add(job_body("first", credentialsSecretRef={"name": "s3"}))
    await until(world, lambda: world.job("first").status.plan is not None)
    del world.api.secrets["team", "s3"]
    world.clock.seconds += 5
    world.api.add(job_body("second"))
    await until(world, lambda: state(world, "second") == Reason.FINISHED)
    stalled = [item.reason for item in world.job("first").status.conditions if item.type == "Stalled"]
    assert stalled == [Reason.SECRET_NOT_FOUND]
    world.api.secrets["team", "s3"] = S3
    await until(world, lambda: state(world, "first") == Reason.FINISHED)
    assert not [item for item in world.job("first").status.conditions if item.type == "Stalled"]


async def test_an_assignment_that_the_server_refuses_holds_up_no_other_job() -> None:
    world = World(seed=2)
    apply_status = world.api.apply_status

    async def refuse_first(
        kind: type[R], namespace: str, name: str, status: Mapping[str, object], resource_version: str | None = None
    ) -> R:
        if kind is AudioShard and name.startswith("first") and "attempt" in status:
            raise Invalid("status.attempt: refused by a policy")
        return await apply_status(kind, namespace, name, status, resource_version)

    world.api.apply_status = refuse_first  # type: ignore[method-assign] # a policy webhook
    world.api.add(job_body("first"))
    world.clock.seconds += 2
    world.api.add(job_body("second"))
    await until(world, lambda: state(world, "second") == Reason.FINISHED)


async def test_a_job_that_placement_cannot_read_is_named_and_holds_up_no_other_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make = WorkMaker.make

    def make_all_but_first(self: WorkMaker, job: AudioBatchJob | None, *given: Any, **more: Any) -> JobWork:
        if job is not None and job.metadata.name == "first":
            raise ValueError("unforeseen")
        return make(self, job, *given, **more)

    world = World(seed=2)
    monkeypatch.setattr(WorkMaker, "make", make_all_but_first)
    world.api.add(job_body("first"))
    world.api.add(job_body("second"))
    await until(world, lambda: state(world, "second") == Reason.FINISHED)
    text = "placement cannot read this job (ValueError); see the operator's log"
    await until(world, lambda: world.job("first").status.pending_reason == text)
    monkeypatch.undo()
    world.api.user_edits("AudioBatchJob", "team", "first", priority=1)
    await until(world, lambda: state(world, "first") == Reason.FINISHED)


async def test_a_lost_attempt_that_its_mac_never_heard_of_is_settled_when_it_comes_back() -> None:
    world = World(seed=1)
    real = world.fleet.refresh
    before: dict[str, Mapping[AttemptKey, AttemptStatus]] = {}

    def refresh(mac: str) -> set[str]:
        """As the fleet does: names only shards whose attempts look different now."""
        real(mac)
        old, new = before.get(mac, {}), world.fleet.view(mac).attempts
        before[mac] = dict(new)
        return {key.shard_uid for key in {*old, *new} if old.get(key) != new.get(key)}

    world.fleet.refresh = refresh  # type: ignore[method-assign]
    world.api.add(job_body())

    def unheard() -> bool:
        known = {key.shard_uid for key in world.agents["mac-a"].runs}
        return any(
            shard.spec.stage is Stage.PROCESS and shard.status.mac == "mac-a" and shard.metadata.uid not in known
            for shard in world.shards()
        )

    await until(world, unheard)
    world.fleet.reachable.discard("mac-a")
    world.refresh("mac-a")
    await until(world, lambda: state(world, "job") == Reason.FINISHED)
    records = [record for shard in world.shards() for record in shard.status.attempts]
    assert [record.mac for record in records if record.outcome is AttemptOutcome.LOST] == ["mac-a"]
    assert not world.job().status.usage.settled
    world.fleet.reachable.add("mac-a")
    await until(world, lambda: world.job().status.usage.settled)


async def test_a_new_leader_asks_the_macs_before_it_ends_a_deletion() -> None:
    world = World(seed=1)
    world.api.add(job_body())
    await until(world, lambda: any(agent.free_lanes() == 0 for agent in world.agents.values()))
    world.api.user_deletes(AudioBatchJob, "team", "job")
    world.start_operator()
    world.queue.ready = {Key("AudioBatchJob", "team", "job"): None}
    await world.reconcile()
    assert Key("AudioBatchJob", "team", "job") in world.api.objects


async def test_a_reason_longer_than_a_status_takes_is_cut() -> None:
    world = World(seed=1, macs=1)
    world.fleet.view = lambda mac: MacView(  # type: ignore[method-assign]
        mac, connected=False, reason=Reason.AGENT_UNREACHABLE, message="x" * 2000
    )
    world.api.add(job_body())
    await until(world, lambda: world.job().status.pending_reason is not None)
    assert len((world.job().status.pending_reason or "").encode()) == MESSAGE_LIMIT


async def test_a_mac_that_was_lost_and_came_back_unnoticed_gets_its_attempt() -> None:
    world = World(seed=1, macs=1)
    world.api.add(job_body())
    agent = world.agents["mac-a"]
    await until(world, lambda: any(shard.status.attempt for shard in world.shards()))
    agent.runs.clear()  # its answer got lost, and so did the attempt
    world.fleet.reachable.clear()
    world.refresh("mac-a")
    world.clock.seconds += LEASE_SECONDS + MARGIN_SECONDS
    await world._reconcile(Key("AudioShard", "team", "job-plan"))
    world.fleet.reachable.add("mac-a")
    world.refresh("mac-a")
    await world._reconcile(Key("MacAgent", "", "mac-a"))
    world.queue.ready.clear()
    await until(world, lambda: state(world, "job") == Reason.FINISHED)
