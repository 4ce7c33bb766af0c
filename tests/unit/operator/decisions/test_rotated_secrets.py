"""A job's Secret that is rotated reaches the attempts that run with it."""

from __future__ import annotations

import pytest
from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.memory_fleet import Run
from tests.unit.operator.decisions.test_isolation import until
from tests.unit.operator.decisions.world import World

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.protocol import AttemptRequest, AttemptState, AttemptStatus, Problem
from voxfleet_operator.fleet.mac_view import AgentRefused
from voxfleet_operator.reconcile.credentials import CREDENTIALS_CHECK_SECONDS


def secret(access_key_id: str) -> dict[str, bytes]:
    return {"AWS_ACCESS_KEY_ID": access_key_id.encode(), "AWS_SECRET_ACCESS_KEY": b"secret"}


def given(run: Run) -> str | None:
    return None if run.credentials is None else run.credentials.access_key_id.get_secret_value()


async def running(world: World) -> list[Run]:
    """Two attempts that do not end by themselves, with the first credentials."""
    world.api.secrets["team", "s3"] = secret("first")
    world.api.add(job_body(credentialsSecretRef={"name": "s3"}, parallelism=2))
    (agent,) = world.agents.values()
    await until(world, lambda: sum(run.laned and run.left > 0 for run in agent.runs.values()) == 2)
    runs = [run for run in agent.runs.values() if run.left > 0]
    for run in runs:
        run.left = 10**6
    assert [given(run) for run in runs] == ["first", "first"]
    return runs


async def test_rotated_credentials_reach_running_attempts_and_the_secret_is_read_once_for_all() -> None:
    world = World(seed=1, macs=1, lanes=2)
    runs = await running(world)
    reads, secret_of = 0, world.api.secret

    async def counted(namespace: str, name: str) -> dict[str, bytes]:
        nonlocal reads
        reads += 1
        return await secret_of(namespace, name)

    world.api.secret = counted  # type: ignore[method-assign] # counts
    before, started = [run.puts for run in runs], world.clock.seconds
    await until(world, lambda: world.clock.seconds >= started + 4 * CREDENTIALS_CHECK_SECONDS)
    assert [run.puts for run in runs] == before, "without a rotation nothing is sent"
    assert reads < 2 * 4, "not once for each attempt"

    world.api.secrets["team", "s3"] = secret("second")
    rotated = world.clock.seconds
    await until(world, lambda: [given(run) for run in runs] == ["second", "second"])
    assert world.clock.seconds - rotated <= 2 * CREDENTIALS_CHECK_SECONDS + 1
    assert all(shard.status.attempt == 1 for shard in world.shards() if shard.status.attempt)


async def test_a_rotation_that_no_leader_saw_reaches_them_too() -> None:
    world = World(seed=1, macs=1, lanes=2)
    runs = await running(world)
    world.api.secrets["team", "s3"] = secret("second")
    world.start_operator()
    await until(world, lambda: [given(run) for run in runs] == ["second", "second"])


async def test_a_secret_that_goes_away_stops_nothing_that_runs() -> None:
    world = World(seed=1, macs=1, lanes=2)
    runs = await running(world)
    del world.api.secrets["team", "s3"]
    started = world.clock.seconds
    await until(world, lambda: world.clock.seconds >= started + 2 * CREDENTIALS_CHECK_SECONDS)
    assert [given(run) for run in runs] == ["first", "first"]
    assert all(run.state == "Running" for run in runs)


async def test_an_attempt_that_got_rotated_credentials_is_not_given_the_old_ones_again() -> None:
    world = World(seed=1, macs=1, lanes=2)
    await running(world)
    (agent,) = world.agents.values()
    world.start_operator()
    asked = world.clock.seconds
    await until(world, lambda: world.clock.seconds >= asked + 5)  # the first credentials were read for renewals
    world.api.secrets["team", "s3"] = secret("second")
    agent.restart()  # what is parked now is sent again
    runs = [run for run in agent.runs.values() if run.laned]
    await until(world, lambda: [given(run) for run in runs] == ["second", "second"])
    sent, started = [run.puts for run in runs], world.clock.seconds
    await until(world, lambda: world.clock.seconds >= started + 2 * CREDENTIALS_CHECK_SECONDS)
    assert [given(run) for run in runs] == ["second", "second"] and [run.puts for run in runs] == sent


async def test_an_attempt_whose_access_is_gone_is_left_alone_as_one_without_a_secret_is() -> None:
    world = World(seed=1, macs=1, lanes=2)
    runs = await running(world)
    sent, started = [run.puts for run in runs], world.clock.seconds
    other = {"namespaceSelector": {"matchLabels": {"team": "other"}}, "uriPrefixes": ["file:///data/"]}
    world.api.user_edits("MacAgent", "", "mac-a", access=[other])
    world.api.secrets["team", "s3"] = secret("second")
    await until(world, lambda: world.clock.seconds >= started + 3 * CREDENTIALS_CHECK_SECONDS)
    assert [run.puts for run in runs] == sent and all(run.state == "Running" for run in runs)


def opens(*prefixes: str) -> list[dict[str, object]]:
    return [{"namespaceSelector": {}, "uriPrefixes": [*prefixes]}]


async def test_what_a_mac_opens_anew_reaches_attempts_that_run_without_a_secret_too() -> None:
    world = World(seed=1, macs=1, lanes=2)
    world.api.add(job_body(parallelism=2))
    (agent,) = world.agents.values()
    await until(world, lambda: sum(run.laned and run.left > 0 for run in agent.runs.values()) == 2)
    keys = [key for key, run in agent.runs.items() if run.left > 0]
    for key in keys:
        agent.runs[key].left = 10**6

    def told() -> list[tuple[str, ...] | None]:
        return [agent.requests[key].uri_prefixes for key in keys]

    assert told() == [("file:///data/",)] * 2
    sent, started = [agent.runs[key].puts for key in keys], world.clock.seconds
    await until(world, lambda: world.clock.seconds >= started + 2 * CREDENTIALS_CHECK_SECONDS)
    assert [agent.runs[key].puts for key in keys] == sent, "without a change nothing is sent"
    world.api.user_edits("MacAgent", "", "mac-a", access=opens("file:///data/", "s3://more/"))
    await until(world, lambda: told() == [("file:///data/", "s3://more/")] * 2)
    assert [agent.runs[key].puts for key in keys] == [puts + 1 for puts in sent]
    world.start_operator()
    world.api.user_edits("MacAgent", "", "mac-a", access=opens("file:///data/"))
    await until(world, lambda: told() == [("file:///data/",)] * 2)


@pytest.mark.parametrize("status", [410, 422, 503, 500])
async def test_a_refused_renewal_does_not_give_back_an_attempt_that_is_parked_later(status: int) -> None:
    """The Mac has it, and what it delivered: the refusal said nothing of its start."""
    world = World(seed=1, macs=1, lanes=2)
    runs = await running(world)
    (agent,) = world.agents.values()
    put, refused = agent.put, 0

    def refuses_while_it_works(key: AttemptKey, request: AttemptRequest) -> AttemptStatus:
        nonlocal refused
        if key in agent.runs and agent.runs[key].state is AttemptState.RUNNING:
            refused += 1
            raise AgentRefused(status, Problem(message="not now"))
        return put(key, request)

    agent.put = refuses_while_it_works  # type: ignore[method-assign] # an agent with a fault
    world.api.secrets["team", "s3"] = secret("second")
    await until(world, lambda: refused >= 2)
    agent.restart()
    await until(world, lambda: [given(run) for run in runs] == ["second", "second"])
    assert all(run.state is AttemptState.RUNNING for run in runs)
    assert {shard.status.attempt for shard in world.shards() if shard.status.attempt} == {1}
