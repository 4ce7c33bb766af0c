"""What is open to a namespace travels with each attempt, and an agent that cannot keep to it gets no manifest."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.test_isolation import state, until
from tests.unit.operator.decisions.world import World

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds.audio_shard import AttemptOutcome
from voxfleet_api.kinds.mac_agent import Access
from voxfleet_operator.reconcile.namespace_access import opened

MANIFEST = {"manifest": {"uri": "file:///data/in/m.jsonl"}}


def rule(team: str, *prefixes: str, billing_keys: Sequence[str] = ()) -> dict[str, object]:
    return {
        "namespaceSelector": {"matchLabels": {"team": team}},
        "uriPrefixes": list(prefixes),
        "billingKeys": list(billing_keys),
    }


def test_the_prefixes_of_all_rules_that_match_are_open_each_once() -> None:
    rules = [
        rule("speech", "file:///data/", "s3://aa/"),
        rule("other", "s3://bb/"),
        rule("speech", "s3://aa/", "s3://cc/"),
    ]
    access = [Access.load(item) for item in rules]
    assert opened(access, {"team": "speech"}, None).prefixes == ("file:///data/", "s3://aa/", "s3://cc/")
    assert opened(access, {}, None) == ((), ())


@pytest.mark.parametrize(
    ("billing_key", "prefixes"),
    [
        ("night", ("file:///shared/", "file:///night/")),
        ("day", ("file:///shared/", "file:///day/")),
        ("other", ("file:///shared/",)),
        (None, ("file:///shared/",)),
    ],
)
def test_a_rule_with_billing_keys_opens_nothing_to_other_jobs_and_none_to_those_without_a_key(
    billing_key: str | None, prefixes: tuple[str, ...]
) -> None:
    rules = [
        rule("speech", "file:///shared/"),
        rule("speech", "file:///night/", billing_keys=("night",)),
        rule("speech", "file:///day/", billing_keys=("day",)),
    ]
    access = [Access.load(item) for item in rules]
    assert opened(access, {"team": "speech"}, billing_key).prefixes == prefixes
    assert opened(access, {"team": "other"}, billing_key).prefixes == ()


def test_a_rule_from_before_there_were_billing_keys_takes_every_job() -> None:
    stored = rule("speech", "file:///data/")
    del stored["billingKeys"]
    assert all(Access.load(stored).takes(key) for key in (None, "any"))


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


async def test_a_job_runs_under_the_billing_keys_that_its_macs_take_and_is_told_of_the_others() -> None:
    world = World(macs=1)
    both = [rule("speech", "file:///data/", billing_keys=("speech",)), rule("speech", "file:///all/")]
    world.api.user_edits("MacAgent", "", "mac-a", access=both)
    world.api.add(job_body("paid", input=MANIFEST, billingKey="speech"))
    world.api.add(job_body("unpaid"))
    await until(world, lambda: state(world, "paid") == Reason.FINISHED)
    assert "does not take the job's billing key" in (world.job("unpaid").status.pending_reason or "")
    told = {request.uri_prefixes for request in world.agents["mac-a"].requests.values()}
    assert told == {("file:///data/", "file:///all/")}
