"""An order that waited, as in the socket of a sleeping Mac, grants nothing once it holds no more."""

from __future__ import annotations

import asyncio
from typing import cast

import httpx
import pytest
from pydantic import SecretStr
from tests.component.agent.agent_rig import CONTROL_PLANE, REQUEST, TOKEN, Agent, process_spec, request_for

from voxfleet_agent.attempts.supervisor import Supervisor
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.order_age import CLOCK_HEADER, GOOD_UNTIL_HEADER, ClockReading
from voxfleet_api.protocol import AttemptState, RenewRequest
from voxfleet_operator.fleet.agent_client import AgentClient
from voxfleet_operator.fleet.dialer import AgentConnection
from voxfleet_operator.fleet.mac_view import AgentRefused

KEY = AttemptKey("shard-1", 1)
SHORT = request_for(process_spec(), lease_seconds=10)


class Connection:
    """To an agent on this machine."""

    refusal = None

    def __init__(self, agent: Agent) -> None:
        self.transport = httpx.AsyncHTTPTransport(trust_env=False)
        self.base_url = str(agent.http.base_url)


def client_of(agent: Agent) -> AgentClient:
    """Both clocks are the agent's, which a test moves by hand; an order holds for 20 s."""
    client = AgentClient(
        cast("AgentConnection", Connection(agent)),
        control_plane=CONTROL_PLANE,
        leader="operator-0",
        epoch=lambda: 1,
        on_stale_epoch=lambda _: None,
        call_seconds=10.0,
        clock=lambda: operator_seconds(agent),
    )
    client.authorize(SecretStr(TOKEN))
    return client


def operator_seconds(agent: Agent) -> float:
    return agent.clock.lease_seconds() + 5000


def reading(agent: Agent, in_seconds: float = 0.0) -> ClockReading:
    now = agent.supervisor.clock()
    return now._replace(milliseconds=now.milliseconds + int(in_seconds * 1000))


async def test_every_answer_says_what_the_clock_shows(agent: Agent) -> None:
    agent.clock.advance(77.5)
    for path, status in (("/livez", 200), ("/v1/machine", 200), ("/v1/nothing", 404), ("/v1/attempts/shard-1/9", 404)):
        answer = await agent.http.get(path)
        assert answer.status_code == status
        assert ClockReading.parse(answer.headers[CLOCK_HEADER]) == agent.supervisor.clock()


async def test_orders_of_this_operator_hold_for_as_long_as_it_waits_twice(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, put = client_of(agent), Supervisor.put
    async with client:
        await client.machine()

        async def after_sleep(*args: object) -> object:
            agent.clock.advance(slept_seconds)
            return await put(*args)  # type: ignore[arg-type] # whatever the route hands over

        monkeypatch.setattr(Supervisor, "put", after_sleep)
        slept_seconds = 20.1
        with pytest.raises(AgentRefused, match="HTTP 408"):
            await client.put_attempt(*KEY, SHORT)
        assert agent.supervisor.attempt(KEY) is None
        slept_seconds = 20.0
        assert (await client.put_attempt(*KEY, SHORT)).state is AttemptState.ACCEPTED


async def test_a_late_put_neither_starts_nor_resumes_an_attempt(agent: Agent) -> None:
    before = {GOOD_UNTIL_HEADER: str(reading(agent, -0.001))}
    refused = await agent.http.put(_path(), json=SHORT.dump(), headers={**agent.headers(), **before})
    assert refused.status_code == 408 and agent.supervisor.attempt(KEY) is None
    await agent.put(SHORT)
    await agent.stage_entered()
    agent.clock.advance(10)
    await agent.supervisor.watch()
    other_boot = {GOOD_UNTIL_HEADER: str(reading(agent, 60)._replace(boot_id="boot-of-before"))}
    for late in (before, other_boot):
        assert (await agent.http.put(_path(), json=SHORT.dump(), headers={**agent.headers(), **late})).is_client_error
    assert (await agent.status(SHORT)).state is AttemptState.PARKED
    in_time = {GOOD_UNTIL_HEADER: str(reading(agent))}
    assert (await agent.http.put(_path(), json=SHORT.dump(), headers={**agent.headers(), **in_time})).is_success


async def test_a_late_renewal_renews_nothing_and_asks_nothing(agent: Agent) -> None:
    await agent.put(SHORT)
    await agent.stage_entered()
    agent.clock.advance(6)
    late = {**agent.headers(), GOOD_UNTIL_HEADER: str(reading(agent, -1))}
    body = RenewRequest(takes_nothing=True).dump()
    assert (await agent.http.post("/v1/renew", json=body, headers=late)).status_code == 408
    assert not agent.supervisor.closing.takes_nothing
    agent.clock.advance(4)
    await agent.supervisor.watch()
    assert (await agent.status(SHORT)).state is AttemptState.PARKED


async def test_a_lease_counts_from_when_its_put_was_found_to_hold(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Mac may fall asleep between that and the start."""
    accept = agent.supervisor._execution.accept

    async def asleep(live: object) -> None:
        agent.clock.advance(10)
        await accept(live)  # type: ignore[arg-type] # the attempt

    monkeypatch.setattr(agent.supervisor._execution, "accept", asleep)
    await agent.put(SHORT)
    await asyncio.sleep(0)
    await agent.supervisor.watch()
    assert (await agent.status(SHORT)).state is AttemptState.PARKED


async def test_a_delete_holds_whenever_it_arrives_and_an_order_without_a_time_does(agent: Agent) -> None:
    await agent.put(REQUEST)
    await agent.stage_entered()
    late = {**agent.headers(), GOOD_UNTIL_HEADER: str(reading(agent, -1))}
    assert (await agent.http.delete(_path(), headers=late)).status_code == 202


@pytest.mark.parametrize("text", ["", "boot", "boot -1", "boot 1.5", "boot 1" + "0" * 15, "a b 1"])
async def test_a_time_that_cannot_be_read_is_refused_by_name(agent: Agent, text: str) -> None:
    refused = await agent.http.put(_path(), json=SHORT.dump(), headers={**agent.headers(), GOOD_UNTIL_HEADER: text})
    assert refused.status_code == 400 and GOOD_UNTIL_HEADER in refused.json()["message"]


def _path() -> str:
    return f"/v1/attempts/{KEY.shard_uid}/{KEY.attempt}"
