"""What a renewal asks beyond the renewal, and what an agent does by its own clock without one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tests.component.agent.agent_rig import (
    COMMIT,
    REQUEST,
    TIMEOUT_SECONDS,
    Agent,
    plan_spec,
    process_spec,
    request_for,
    running_agent,
)

from voxfleet_agent.attempts import supervisor
from voxfleet_agent.stages.stage_context import StageContext
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.machine_messages import Capability, MachineFacts
from voxfleet_api.protocol import AttemptState, AttemptStatus, RenewRequest

OTHER = request_for(process_spec("shard-2"))


async def renew(agent: Agent, **asked: object) -> httpx.Response:
    body = RenewRequest.model_validate(asked).dump()
    return await agent.http.post("/v1/renew", json=body, headers=agent.headers())


def called_back(context: StageContext) -> bool:
    return context.permit.called_back


async def test_a_mac_that_takes_nothing_goes_on_with_what_it_has(tmp_path: Path) -> None:
    async with running_agent(tmp_path, lanes=2) as agent:
        await agent.put(REQUEST)
        context = await agent.stage_entered()
        assert (await renew(agent, takes_nothing=True)).json() == {"renewed": 1}
        for new in (OTHER, request_for(plan_spec())):
            refused = await agent.put(new)
            assert refused.status_code == 503 and int(refused.headers["Retry-After"]) > 0
        assert (await agent.put(REQUEST)).status_code == 200 and not context.permit.called_back
        assert (await renew(agent)).json() == {"renewed": 1}
        assert (await agent.put(OTHER)).status_code == 200, "what the last renewal did not ask holds no longer"
        for _ in range(2):
            agent.stage.answers.put_nowait(COMMIT)
        await agent.until(REQUEST, "Succeeded")


async def test_a_parked_attempt_resumes_on_a_mac_that_takes_nothing_new(agent: Agent) -> None:
    request = request_for(process_spec(), lease_seconds=10)
    await agent.put(request)
    await agent.stage_entered()
    agent.clock.advance(10)
    await agent.supervisor.watch()
    await renew(agent, takes_nothing=True, return_after_seconds=0, stop_after_seconds=300)
    assert (await agent.put(request)).status_code == 200
    context = await agent.stage_entered()
    assert context.permit.called_back, "it delivers what it has, and returns"


async def test_attempts_are_called_back_and_return_without_a_result(agent: Agent) -> None:
    await agent.put(REQUEST)
    context = await agent.stage_entered()
    waiting = asyncio.create_task(context.permit.wait_called_back())
    await asyncio.sleep(0)
    assert not called_back(context) and not waiting.done()
    await renew(agent, takes_nothing=True, return_after_seconds=0, stop_after_seconds=300)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await waiting
    assert called_back(context)
    agent.clock.advance(4)
    agent.stage.answers.put_nowait(VoxFleetError(FailureClass.MACHINE_RETURNED, "2 of 4 clips are delivered"))
    ended = await agent.until(REQUEST, "Failed")
    assert ended.failure is not None and ended.failure.failure_class is FailureClass.MACHINE_RETURNED
    assert ended.lane is None and agent.pools.facts()[0].free_lanes == 1
    assert sum(signed.row.monotonic_milliseconds for signed in (await agent.ledger()).rows) == 4000


async def test_a_mac_without_contact_calls_back_and_stops_by_its_own_clock(agent: Agent) -> None:
    await agent.put(REQUEST)
    context = await agent.stage_entered()
    await renew(agent, return_after_seconds=60, stop_after_seconds=360)
    waiting = asyncio.create_task(context.permit.wait_called_back())
    agent.clock.advance(59)
    await agent.supervisor.watch()
    assert not waiting.done() and not called_back(context)
    agent.clock.advance(1)
    await agent.supervisor.watch()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await waiting
    assert (await agent.put(OTHER)).status_code == 503
    agent.clock.advance(299)
    await agent.supervisor.watch()
    assert (await agent.status(REQUEST)).state is AttemptState.RUNNING
    agent.clock.advance(1)
    await agent.supervisor.watch()
    stopped = await agent.status(REQUEST)
    assert stopped.state is AttemptState.PARKED and stopped.lane is None
    assert (await agent.put(REQUEST)).status_code == 503, "nothing resumes on a Mac that has stopped"
    assert sum(signed.row.monotonic_milliseconds for signed in (await agent.ledger()).rows) == 360_000


async def test_a_renewal_may_have_no_body_and_a_broken_one_is_refused(agent: Agent) -> None:
    await agent.put(REQUEST)
    assert (await agent.http.post("/v1/renew", headers=agent.headers())).json() == {"renewed": 1}
    for body in (b"[]", b"{", b'{"stopAfterSeconds": -1}'):
        assert (await agent.http.post("/v1/renew", content=body, headers=agent.headers())).status_code == 400
    facts = MachineFacts.load((await agent.http.get("/v1/machine")).json())
    assert Capability.RETURNS_AT_NEXT_CLIP in facts.capabilities


@pytest.fixture
async def waking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Agent]:
    """An agent that does not come to look at its leases by itself."""
    monkeypatch.setattr(supervisor, "WATCH_SECONDS", 3600.0)
    async with running_agent(tmp_path) as running:
        yield running


async def asleep(agent: Agent) -> None:
    """The Mac sleeps for longer than the lease, and nothing of the agent has run since."""
    await agent.put(request_for(process_spec(), lease_seconds=10))
    await agent.stage_entered()
    agent.clock.advance(3600)


async def test_a_renewal_that_comes_first_after_a_sleep_revives_nothing(waking: Agent) -> None:
    agent = waking
    await asleep(agent)
    assert (await renew(agent)).json() == {"renewed": 0}
    parked = await agent.until(request_for(process_spec(), lease_seconds=10), "Parked")
    assert parked.lane is None and agent.pools.lanes[0].kills == 1


async def test_no_batch_and_no_commit_goes_out_after_a_sleep(waking: Agent) -> None:
    request = request_for(process_spec(), lease_seconds=10)
    await waking.put(request)
    context = await waking.stage_entered()
    await context.permit.check()
    waking.clock.advance(3600)
    going_on = asyncio.create_task(context.permit.check())
    await waking.until(request, "Parked")
    assert not going_on.done()
    going_on.cancel()


async def test_the_first_sign_of_work_after_a_sleep_ends_the_attempt(waking: Agent) -> None:
    agent = waking
    request = request_for(process_spec(), lease_seconds=10)
    await agent.put(request)
    context = await agent.stage_entered()
    context.progress(1, 4)
    agent.clock.advance(3600)
    context.progress(2, 4)
    parked = await agent.until(request, "Parked")
    assert parked.progress.done == 1 and agent.pools.lanes[0].kills == 1


async def test_a_put_after_a_sleep_resumes_from_the_journal(waking: Agent) -> None:
    agent = waking
    await asleep(agent)
    request = request_for(process_spec(), lease_seconds=10)
    assert AttemptStatus.load((await agent.put(request)).json()).state is AttemptState.ACCEPTED
    await agent.stage_entered()
    live = agent.supervisor.attempt(AttemptKey("shard-1", 1))
    assert live is not None and live.record.state is AttemptState.RUNNING and agent.pools.lanes[0].kills == 1
    agent.stage.answers.put_nowait(COMMIT)
    await agent.until(request, "Succeeded")
