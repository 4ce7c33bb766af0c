"""One Mac measures batch sizes, and the others of its profile are handed them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from tests.unit.operator.decisions.bodies import contract, job_body
from tests.unit.operator.decisions.job_objects import a_contract, a_job, a_shard
from tests.unit.operator.decisions.memory_api import Clock, sha
from tests.unit.operator.decisions.memory_fleet import Agent, facts
from tests.unit.operator.decisions.test_isolation import state, until
from tests.unit.operator.decisions.world import World

from voxfleet_api.attempt_spec import AttemptSpec
from voxfleet_api.conditions import Reason
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds import VoiceContract
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.contract_limits import Batching, Ladder
from voxfleet_api.machine_messages import MachineFacts
from voxfleet_api.protocol import AttemptRequest, ReportedLadder
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.reconcile.known_ladders import handed_ladder
from voxfleet_operator.reconcile.shard.attempt_spec import attempt_spec

PROFILE, OTHER = f"sha256:{sha('profile')}", f"sha256:{sha('other')}"
JOB = a_job()
MODEL = f"sha256:{sha('model')}"
STORED = digest_of(VoiceContract.load(contract()).spec)
"""The contract of the world's jobs."""


def spec(*, ladder: bool = True, stage: Stage = Stage.PROCESS) -> AttemptSpec:
    plain = attempt_spec(JOB, a_shard(JOB, stage, 0 if stage is Stage.PROCESS else None), 1, [])
    changed = plain.contract.model_copy(update={"batching": Batching(ladder=Ladder() if ladder else None)})
    return plain.model_copy(update={"contract": changed})


def row(pace: int | None = 1000, profile: str = PROFILE, **fields: str) -> ReportedLadder:
    plain = ReportedLadder(
        profile=profile,
        model_digest=MODEL,
        contract_digest=digest_of(a_contract().spec),
        audio_milliseconds_per_second=pace,
        table="{}",
    )
    return plain.model_copy(update=fields)


def mac(name: str, *ladders: ReportedLadder, profile: str | None = PROFILE, known: bool = True) -> MacView:
    machine: MachineFacts = facts(Agent(name, Clock(), World().random, ladder_profile=profile))
    return MacView(
        name,
        connected=True,
        reason=Reason.CONNECTED,
        message="",
        machine=machine if known else None,
        ladders={(ladder.model_digest, ladder.contract_digest): ladder for ladder in ladders},
    )


def handed(receiver: MacView, *others: MacView, of: AttemptSpec | None = None) -> str | None:
    """Who measured what the Mac is handed."""
    views = {view.name: view for view in (receiver, *others)}
    found = handed_ladder(of or spec(), receiver, views)
    return None if found is None else found.measured_on


@pytest.mark.parametrize(
    ("receiver", "others", "expected"),
    [
        (mac("new"), [mac("a", row())], "a"),
        (mac("new"), [], None),
        (mac("new", row()), [mac("a", row(2000))], None),  # it has its own
        (mac("new"), [mac("a", row(profile=OTHER), profile=OTHER)], None),
        (mac("new", profile=None), [mac("a", row())], None),  # an agent that takes none
        (mac("new", known=False), [mac("a", row())], None),
        (mac("new"), [mac("a", row(model_digest=OTHER))], None),
        (mac("new"), [mac("a", row(contract_digest=OTHER))], None),
        (mac("new"), [mac("a", row(500)), mac("b", row(900))], "b"),  # a had to step down
        (mac("new"), [mac("b", row()), mac("a", row())], "a"),
        (mac("new"), [mac("a", row(None))], "a"),  # a model that works on one clip at a time
        (mac("new"), [mac("a", row(measured_on="b"))], "b"),  # a was handed it, too
    ],
)
def test_which_ladder_a_mac_is_handed(receiver: MacView, others: list[MacView], expected: str | None) -> None:
    assert handed(receiver, *others) == expected


def test_only_work_that_would_measure_is_handed_a_ladder() -> None:
    assert handed(mac("new"), mac("a", row()), of=spec(ladder=False)) is None
    assert handed(mac("new"), mac("a", row()), of=spec(stage=Stage.PLAN)) is None


async def test_the_ladder_lies_outside_the_spec_and_reaches_the_mac_that_has_none() -> None:
    world = World(macs=2)
    with_ladder = a_contract(batching={"ladder": {"from": 1, "to": 8}}).spec
    world.api.user_edits("VoiceContract", "team", "contract", **with_ladder.dump())
    for agent in world.agents.values():
        agent.ladder_profile = PROFILE
    world.agents["mac-a"].ladders = (row(contract_digest=digest_of(with_ladder)),)
    world.api.add(job_body(parallelism=10))
    await until(world, lambda: state(world, "job") == Reason.FINISHED)
    told = {
        name: {request.ladder and request.ladder.measured_on for request in process_requests(agent)}
        for name, agent in world.agents.items()
    }
    assert told == {"mac-a": {None}, "mac-b": {"mac-a"}}


def process_requests(agent: Agent) -> list[AttemptRequest]:
    return [request for request in agent.requests.values() if request.spec["stage"] == Stage.PROCESS]


async def test_a_job_is_estimated_from_what_its_macs_have_measured_and_then_from_its_shards() -> None:
    world = World(macs=2)
    for agent in world.agents.values():
        agent.ladder_profile = PROFILE
    world.agents["mac-a"].ladders = (row(500, contract_digest=STORED),)
    world.options = replace(world.options, progress_interval_seconds=1.0)
    world.start_operator()
    world.api.add(job_body(parallelism=1))
    await until(world, lambda: world.job().status.plan is not None)
    first = world.job().status.estimate
    assert first is not None and (first.basis, first.machine_seconds) == ("Ladder", 40), "20 s of audio, half as fast"
    assert first.finishes_at is not None
    await until(world, lambda: basis(world) == "Shards")
    await until(world, lambda: state(world, "job") == Reason.FINISHED)
    assert world.job().status.estimate is None


def basis(world: World) -> str | None:
    estimate = world.job().status.estimate
    return None if estimate is None else estimate.basis


async def test_a_job_behind_another_of_its_namespace_ends_later() -> None:
    world = World(macs=1)
    agent = world.agents["mac-a"]
    agent.ladder_profile = PROFILE
    agent.ladders = (row(100, contract_digest=STORED),)
    world.api.add(job_body("first"))
    await until(world, lambda: world.job("first").status.estimate is not None)
    world.clock.seconds += 5
    world.api.add(job_body("second"))
    await until(world, lambda: world.job("second").status.estimate is not None)
    first, second = (world.job(name).status.estimate for name in ("first", "second"))
    assert first is not None and second is not None and first.finishes_at and second.finishes_at
    between = datetime.fromisoformat(second.finishes_at) - datetime.fromisoformat(first.finishes_at)
    assert between.total_seconds() > 150, "each takes 200 s of the only lane"


async def test_an_estimate_of_a_job_that_waits_is_not_written_again_and_again() -> None:
    world = World(macs=1)
    agent = world.agents["mac-a"]
    agent.ladder_profile = PROFILE
    agent.ladders = (row(contract_digest=STORED),)
    world.api.add(job_body())
    await until(world, lambda: world.job().status.estimate is not None)
    world.api.user_edits("MacAgent", "", "mac-a", unschedulable=True)
    await world.settle(200)
    versions = {key: body["metadata"]["resourceVersion"] for key, body in world.api.objects.items()}
    assert world.job().status.estimate is not None and state(world, "job") == Reason.WAITING_FOR_MAC
    await world.settle(400)
    assert {key: body["metadata"]["resourceVersion"] for key, body in world.api.objects.items()} == versions
