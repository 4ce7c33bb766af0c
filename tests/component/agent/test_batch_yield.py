"""Batches give way to sessions, in an agent whose sessions are real and whose batches are the test's."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.component.agent.agent_rig import COMMIT, REQUEST, TIMEOUT_SECONDS, Agent, ManualClock, process_spec
from tests.component.agent.agent_rig import request_for as attempt_request
from tests.component.agent.endpoint_lane_rig import agent_with_lanes, lane_request, put, until

from voxfleet_agent.attempts.recovery import seal_left_holds
from voxfleet_agent.journal import attempt_table
from voxfleet_agent.lane_protocol.session_messages import OpenSpeaking
from voxfleet_agent.lanes.giving_way import GivingWay
from voxfleet_agent.lanes.lane_session import SpeakingSession
from voxfleet_agent.ledger import Ledger, open_chain, public_key_text
from voxfleet_agent.yielding import batch_yield
from voxfleet_api.endpoint_lanes import LaneKey
from voxfleet_api.kinds.endpoint_yield import Yield, YieldMode
from voxfleet_api.ledger import Activity, LedgerRow, verify
from voxfleet_api.protocol import RenewRequest

ROOM = 100


async def rows_after_a_kill(agent: Agent) -> list[LedgerRow]:
    """What the next process signs, from the journal as it is now."""
    db = sqlite3.connect(":memory:", check_same_thread=False)
    await agent.journal.read(lambda journal: journal.backup(db))
    chain_id = open_chain(db, public_key_text(agent.key))
    attempts = {record.key: record for record in attempt_table.load_all(db)}
    signed = seal_left_holds(db, Ledger(agent.key, chain_id, "hw-1"), attempts)
    assert seal_left_holds(db, Ledger(agent.key, chain_id, "hw-1"), attempts) == []
    return [one.row for one in signed]


def giving_way(agent: Agent) -> GivingWay:
    return agent.pools.lanes[0].giving_way


async def speech(agent: Agent) -> SpeakingSession:
    """One whose listener has heard as much as it has room for, so that it waits."""
    lane = agent.lanes.lane(LaneKey("endpoint-1", 1))
    assert lane is not None
    return lane.open_speaking(OpenSpeaking(session=0, text="x" * 2 * ROOM, room_samples=ROOM))


async def spoken(session: SpeakingSession) -> None:
    session.grant(ROOM)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        [event async for event in session.events()]


async def until_still(agent: Agent, *, still: bool) -> None:
    """Whether the lane for batches stands still, as its work would see it."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while giving_way(agent).still is not still:  # noqa: ASYNC110 -- the lane has one listener, the agent
            await asyncio.sleep(0.01)


async def at_work(agent: Agent, how: Yield | None = None) -> None:
    """An attempt is past its setup, and a lane of an endpoint is warm."""
    await agent.put(REQUEST)
    await agent.stage_entered()
    giving_way(agent).work_begins(lambda: False)
    await put(agent, lane_request(yield_=how or Yield()))
    await until(agent, "Ready")


async def rows(agent: Agent) -> list[LedgerRow]:
    page = await agent.ledger()
    verify(page.rows, agent.key.public_key())
    return [signed.row for signed in page.rows]


async def test_what_a_batch_stands_still_for_is_the_endpoints_to_the_millisecond(tmp_path: Path) -> None:
    clock = ManualClock()
    async with agent_with_lanes(tmp_path, clock=clock) as agent:
        await at_work(agent)
        clock.advance(10)
        one = await speech(agent)
        giving_way(agent).step_ended(251)
        giving_way(agent).step_ended(250)
        assert giving_way(agent).still
        clock.advance(1.5)
        await agent.supervisor.tick()
        await spoken(one)
        await until_still(agent, still=False)
        clock.advance(2)
        other = await speech(agent)
        clock.advance(0.25)
        await spoken(other)
        await until_still(agent, still=False)
        giving_way(agent).work_ends()
        agent.stage.answers.put_nowait(COMMIT)
        await agent.until(REQUEST, "Succeeded")
        of_lane = [row for row in await rows(agent) if row.lane == "offline-0"]
        assert [(row.activity, row.held_for.kind, row.monotonic_milliseconds) for row in of_lane] == [
            (Activity.SETUP, "AudioBatchJob", 0),
            (Activity.WORK, "AudioBatchJob", 12_000),
            (Activity.PAUSED, "VoiceEndpoint", 1_750),
            (Activity.CLEANUP, "AudioBatchJob", 0),
        ]
        paused = of_lane[2]
        assert (paused.shard_uid, paused.attempt, paused.billing_key) == ("endpoint-1", 1, None)
        assert (paused.held_for.name, paused.price_class) == ("captions", "Offline")
        assert of_lane[1].wall_end == paused.wall_start and paused.wall_end == of_lane[3].wall_start
        text = (await agent.http.get("/metrics", headers={"Authorization": ""})).text
        samples = {
            (sample.name.removeprefix("voxfleet_agent_lane_"), sample.labels.get("lane")): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert samples["long_steps_total", "offline-0"] == 1 and samples["paused", "offline-0"] == 0
        assert samples["paused_seconds_total", "offline-0"] > 0


async def test_an_attempt_that_comes_while_somebody_speaks_finds_its_lane_paused(tmp_path: Path) -> None:
    async with agent_with_lanes(tmp_path) as agent:
        await put(agent, lane_request())
        await until(agent, "Ready")
        await speech(agent)
        giving_way(agent).work_begins(lambda: False)
        assert giving_way(agent).still


async def test_an_open_session_makes_quanta_and_its_end_undoes_them(tmp_path: Path) -> None:
    async with agent_with_lanes(tmp_path) as agent:
        await put(agent, lane_request(yield_=Yield(mode=YieldMode.SHRINK)))
        await until(agent, "Ready")
        await spoken(await speech(agent))
        before = giving_way(agent).most_clips()  # only Work is cut into quanta: in setup a ladder may be measured
        await at_work(agent, Yield(mode=YieldMode.SHRINK))
        session = await speech(agent)
        assert (before, giving_way(agent).most_clips(), giving_way(agent).still) == (None, 1, False)
        await spoken(session)
        assert giving_way(agent).most_clips() is None


@pytest.mark.parametrize("cause", ["Burn", "Memory"])
async def test_a_shard_goes_back_and_the_mac_takes_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    trouble = {"Burn": False, "Memory": False}
    short: Callable[[], bool] = lambda: trouble["Memory"]  # noqa: E731 -- two conditions that a test switches
    burning: Callable[[], float] = lambda: 61.0 * trouble["Burn"]  # noqa: E731
    monkeypatch.setattr(batch_yield, "LOOK_SECONDS", 0.01)
    async with agent_with_lanes(tmp_path, memory_short=short, burning_seconds=burning) as agent:
        await agent.put(REQUEST)
        context = await agent.stage_entered()
        await put(agent, lane_request(yield_=Yield(mode=YieldMode.EVICT)))
        await until(agent, "Ready")
        before = context.permit.called_back
        trouble[cause] = True
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await context.permit.wait_called_back()
        assert (before, context.permit.called_back, agent.yields.evictions) == (False, True, {cause: 1})
        refused = await agent.put(attempt_request(process_spec("shard-2")))
        assert (refused.status_code, "people" in refused.json()["message"]) == (503, True)


async def test_an_attempt_that_is_parked_does_not_resume_on_a_mac_that_takes_no_batches(tmp_path: Path) -> None:
    clock = ManualClock()
    async with agent_with_lanes(tmp_path, clock=clock) as agent:
        request = attempt_request(process_spec(), lease_seconds=10)
        await agent.put(request)
        await agent.stage_entered()
        clock.advance(3600)
        await agent.supervisor.tick()
        await agent.until(request, "Parked")
        agent.yields.takes_batches = False
        assert (await agent.put(request)).status_code == 503
        agent.yields.takes_batches = True
        assert (await agent.put(request)).status_code in (200, 202)


async def test_a_mac_that_drains_has_its_clips_in_flight_finished_although_somebody_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_yield, "LOOK_SECONDS", 0.01)
    async with agent_with_lanes(tmp_path) as agent:
        await at_work(agent)
        await speech(agent)
        assert giving_way(agent).still
        body = RenewRequest(takes_nothing=True, return_after_seconds=0, stop_after_seconds=300)
        assert (await agent.http.post("/v1/renew", json=body.dump(), headers=agent.headers())).is_success
        await until_still(agent, still=False)


async def test_time_that_a_lane_stood_still_outlives_a_crash(tmp_path: Path) -> None:
    clock = ManualClock()
    async with agent_with_lanes(tmp_path, clock=clock) as agent:
        await at_work(agent)
        clock.advance(7)
        await speech(agent)
        clock.advance(5)
        await agent.supervisor.tick()
        clock.advance(1)  # what comes after the last tick is lost
        of_lane = [row for row in await rows_after_a_kill(agent) if row.lane == "offline-0"]
        assert [(row.activity, row.held_for.kind, row.monotonic_milliseconds) for row in of_lane] == [
            (Activity.WORK, "AudioBatchJob", 7_000),
            (Activity.PAUSED, "VoiceEndpoint", 5_000),
        ]
        assert of_lane[0].wall_end == of_lane[1].wall_start
