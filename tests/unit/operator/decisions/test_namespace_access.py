"""What is open to a namespace travels with each attempt, and an agent that cannot keep to it gets no manifest."""

from __future__ import annotations

from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.test_isolation import state, until
from tests.unit.operator.decisions.world import World

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds.audio_shard import AttemptOutcome
from voxfleet_api.kinds.mac_agent import Access
from voxfleet_operator.reconcile.namespace_access import open_prefixes

MANIFEST = {"manifest": {"uri": "file:///data/in/m.jsonl"}}


def rule(team: str, *prefixes: str) -> dict[str, object]:
    return {"namespaceSelector": {"matchLabels": {"team": team}}, "uriPrefixes": list(prefixes)}


def test_the_prefixes_of_all_rules_that_match_are_open_each_once() -> None:
    rules = [
        rule("speech", "file:///data/", "s3://aa/"),
        rule("other", "s3://bb/"),
        rule("speech", "s3://aa/", "s3://cc/"),
    ]
    access = [Access.load(item) for item in rules]
    assert open_prefixes(access, {"team": "speech"}) == ("file:///data/", "s3://aa/", "s3://cc/")
    assert open_prefixes(access, {}) == ()


async def test_each_attempt_is_told_what_its_mac_opens_to_its_namespace() -> None:
    world = World(macs=1)
    world.api.user_edits(
        "MacAgent", "", "mac-a", access=[rule("speech", "file:///data/"), rule("other", "file:///all/")]
    )
    world.api.add(job_body(input=MANIFEST))
    await until(world, lambda: state(world, "job") == Reason.FINISHED)
    told = {request.uri_prefixes for request in world.agents["mac-a"].requests.values()}
    assert told == {("file:///data/",)}


async def test_a_manifest_waits_for_an_agent_that_keeps_to_it_and_nothing_else_does() -> None:
    world = World(macs=1)
    agent = world.agents["mac-a"]
    agent.capabilities = ()
    world.api.add(job_body("by-manifest", input=MANIFEST))
    world.api.add(job_body("by-prefix"))
    await until(world, lambda: state(world, "by-prefix") == Reason.FINISHED)
    waiting = world.job("by-manifest").status.pending_reason or ""
    assert "too old to keep the clips of a manifest within spec.access" in waiting
    assert {request.spec["shardName"] for request in agent.requests.values()} & {"by-manifest-plan"} == set()
    agent.capabilities = World().agents["mac-a"].capabilities
    await until(world, lambda: state(world, "by-manifest") == Reason.FINISHED)


async def test_an_attempt_whose_access_is_gone_is_given_back_before_it_is_sent_again() -> None:
    world = World(macs=2)
    world.api.add(job_body(input=MANIFEST))
    await until(world, lambda: any(agent.runs for agent in world.agents.values()))
    mac, agent = next((name, agent) for name, agent in world.agents.items() if agent.runs)
    (plan,) = agent.runs
    agent.restart()
    world.api.user_edits("MacAgent", "", mac, access=[rule("other", "file:///data/")])
    await until(world, lambda: state(world, "job") == Reason.FINISHED)
    first, second = next(shard for shard in world.shards() if shard.metadata.uid == plan.shard_uid).status.attempts
    assert first.outcome is AttemptOutcome.REFUSED and "no longer opens the job's addresses" in (first.message or "")
    assert second.mac != mac
