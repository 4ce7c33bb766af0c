"""What a real agent counts, signs and remembers of its warm lanes, also over a restart."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.component.agent.agent_rig import TIMEOUT_SECONDS, Agent, ManualClock
from tests.component.agent.endpoint_lane_rig import (
    OPEN_HEARING,
    REQUEST,
    agent_with_lanes,
    delete,
    lane_request,
    loads,
    path_of,
    put,
    until,
)
from tests.rig.measured_turns import a_turn

from voxfleet_agent.endpoint_lanes.session_place import SessionPlace
from voxfleet_agent.journal import lane_holds
from voxfleet_api.endpoint_lanes import LaneKey, LaneList
from voxfleet_api.ledger import Activity, RowOwner, verify
from voxfleet_api.protocol import TOMBSTONE_DAYS


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    async with agent_with_lanes(tmp_path) as running:
        yield running


async def test_turns_are_counted_for_as_long_as_the_lane_is_there(agent: Agent) -> None:
    key = LaneKey("endpoint-1", 1)
    await put(agent, REQUEST)
    ready = await until(agent, "Ready")
    assert ready.latency is not None and ready.latency.kinds == ()
    place = agent.lanes.place(key)
    assert isinstance(place, SessionPlace)
    with place:
        for milliseconds in (400, 1_500):
            place.measured(a_turn(milliseconds, wait=100))
    told = (await until(agent, "Ready")).latency
    assert told is not None and told.since == ready.latency.since
    assert [(kind.latency, kind.turns, kind.wait.sum_milliseconds) for kind in told.kinds] == [("FinalText", 2, 200)]


async def test_what_was_deleted_stays_so_over_a_restart_and_lanes_do_not(tmp_path: Path) -> None:
    clock = ManualClock()
    async with agent_with_lanes(tmp_path, clock=clock, lanes=2) as agent:
        other = lane_request(uid="endpoint-2", generation=3)
        await put(agent, REQUEST)
        await until(agent, "Ready")
        assert await delete(agent, path_of(other)) == 204, "a lane that was never seen, too"
    async with agent_with_lanes(tmp_path, clock=clock, lanes=2) as agent:
        assert LaneList.load((await agent.http.get("/v1/lanes")).json()).lanes == ()
        assert (await put(agent, other)).status_code == 410
        assert (await put(agent, REQUEST)).status_code == 200
        await until(agent, "Ready")
        clock.advance(TOMBSTONE_DAYS * 86_400 + 1)
        await agent.lanes.sweep()
        assert (await put(agent, other)).status_code == 200


async def test_the_time_of_a_lane_is_signed_by_what_it_was_held_for(tmp_path: Path) -> None:
    clock = ManualClock()
    async with agent_with_lanes(tmp_path, load=["hang", ""], clock=clock) as agent:
        await put(agent, lane_request(billing_key="team-speech"))
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while loads(agent) == 0:  # noqa: ASYNC110 -- it waits for a process
                await asyncio.sleep(0.01)
        clock.advance(3)
        await agent.lanes.tick()
        assert await agent.journal.read(lambda db: [hold.milliseconds for hold in lane_holds.load_all(db)]) == [3000]
        await delete(agent, path_of(REQUEST))
        await until(agent, None)

        served = lane_request(generation=2, billing_key="team-speech")
        await put(agent, served)
        await until(agent, "Ready", path_of(served))
        clock.advance(10)
        lane = agent.lanes.lane(LaneKey("endpoint-1", 2))
        assert lane is not None and lane.pid is not None
        session = lane.open_hearing(OPEN_HEARING)
        await agent.lanes.tick()
        clock.advance(5)
        session.cancel()
        [event async for event in session.events()]
        os.kill(lane.pid, signal.SIGKILL)
        await until(agent, "Loading", path_of(served))
        clock.advance(2)
        await until(agent, "Ready", path_of(served))
        clock.advance(7)
        newer = lane_request(generation=3, billing_key="team-speech")
        await put(agent, newer)  # takes the lane over
        await until(agent, "Ready", path_of(newer))
        clock.advance(1)
        await delete(agent, path_of(newer))
        await until(agent, None, path_of(newer))
        page = await agent.ledger()
    verify(page.rows, agent.key.public_key())
    rows = [item.row for item in page.rows]
    assert {(row.held_for.kind, row.held_for.name, row.billing_key, row.price_class, row.lane) for row in rows} == {
        ("VoiceEndpoint", "captions", "team-speech", "Interactive", "interactive-0")
    }
    assert {row.control_plane for row in rows} == {agent.supervisor.bound.control_plane}
    spent = [(row.attempt, str(row.activity), row.monotonic_milliseconds) for row in rows if row.monotonic_milliseconds]
    assert spent == [(1, "Setup", 3000), (2, "Idle", 10_000), (2, "Work", 5000), (2, "Setup", 2000),
                     (2, "Idle", 7000), (3, "Idle", 1000)]  # fmt: skip


async def test_a_restarted_agent_signs_what_its_killed_process_held_a_lane_for(tmp_path: Path) -> None:
    clock = ManualClock()
    async with agent_with_lanes(tmp_path, clock=clock) as agent:
        await put(agent, REQUEST)
        await until(agent, "Ready")
        clock.advance(3)
        await agent.lanes.tick()
        (left,) = await agent.journal.read(lane_holds.load_all)
    async with agent_with_lanes(tmp_path / "other", clock=clock) as agent:
        await agent.journal.write(lambda db: lane_holds.save(db, left))  # as the killed process leaves it behind
    async with agent_with_lanes(tmp_path / "other", clock=clock) as agent:
        (signed,) = (await agent.ledger()).rows
        assert (signed.row.activity, signed.row.monotonic_milliseconds) == (Activity.IDLE, 3000)
        assert signed.row.held_for == RowOwner(
            kind="VoiceEndpoint", namespace="speech", name="captions", uid="endpoint-1"
        )
