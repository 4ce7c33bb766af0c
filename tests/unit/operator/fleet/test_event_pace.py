"""No Mac takes the operator's time from the others, however much it tells, and in whatever form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from tests.unit.operator.decisions.bodies import mac_agent
from tests.unit.operator.decisions.memory_api import Clock
from tests.unit.operator.decisions.memory_fleet import Agent, facts
from tests.unit.operator.decisions.world import World
from tests.unit.operator.fleet.idle_session import idle_session

from voxfleet_api.kinds import MacAgent
from voxfleet_api.protocol import AttemptList, Event, EventType, LedgerPage
from voxfleet_operator.fleet.agent_client import AgentClient
from voxfleet_operator.fleet.dialer import AgentConnection
from voxfleet_operator.fleet.event_pace import BURST_EVENTS, BYTES_AN_EVENT, EVENTS_A_SECOND, EventPace
from voxfleet_operator.fleet.mac_view import AgentUnreachable
from voxfleet_operator.fleet.session import MacSession

EVENT = json.dumps(Event(type=EventType.HEARTBEAT, cursor="journal-1:1").dump()).encode() + b"\n"


@given(st.lists(st.tuples(st.floats(0, 0.1), st.integers(0, 30)), min_size=100, max_size=500))
def test_beyond_a_burst_no_more_events_are_read_than_the_pace_allows(reads: list[tuple[float, int]]) -> None:
    """`reads`: how long after the last one was handled each is there, and its events."""
    now, pace, handled = 0.0, EventPace(0.0), 0
    for gap, events in reads:
        now += gap
        now += pace.wait_seconds(EVENT * events, now)
        handled += events
        assert handled <= BURST_EVENTS + EVENTS_A_SECOND * now + 1e-6


@pytest.mark.parametrize(
    ("chunk", "events"),
    [
        (EVENT, 1),
        (EVENT * 7, 7),
        (EVENT[:-1], 1),
        (EVENT + EVENT[:5], 2),
        (b"\n", 1),
        (b"\n" * 40960, 10),
        (b"{" * 40960, 10),
        (b"{" * 40960 + b"\n" + EVENT, 10),
    ],
)
def test_a_read_counts_by_its_events_or_its_bytes(chunk: bytes, events: float) -> None:
    pace = EventPace(0.0)
    assert pace.wait_seconds(EVENT * int(BURST_EVENTS), 0.0) == 0.0
    assert pace.wait_seconds(chunk, 0.0) == pytest.approx(events / EVENTS_A_SECOND, rel=0.01)


def test_who_tells_less_than_the_pace_never_waits() -> None:
    pace = EventPace(0.0)
    assert all(pace.wait_seconds(EVENT, number / EVENTS_A_SECOND) == 0.0 for number in range(10_000))


class Chunks(httpx.AsyncByteStream):
    """What an agent sends on one event stream before it ends it."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


async def follow(session: MacSession, *chunks: bytes) -> None:
    """One connection, of an agent with nothing to list that sends these chunks as its events."""
    answers = {
        "/v1/ledger": (json.dumps(LedgerPage(chain_id="chain-1", rows=()).dump()).encode(),),
        "/v1/attempts": (json.dumps(AttemptList(attempts=(), cursor="journal-1:0").dump()).encode(),),
        "/v1/events": chunks,
    }
    transport = httpx.MockTransport(lambda request: httpx.Response(200, stream=Chunks(*answers[request.url.path])))
    async with AgentClient(
        cast("AgentConnection", SimpleNamespace(base_url="http://agent", transport=transport)),
        control_plane="c",
        leader="l",
        epoch=lambda: 1,
        on_stale_epoch=lambda _: None,
        clock=lambda: 0.0,
    ) as client:
        client.authorize(SecretStr("t"))
        await session._follow(client, facts(Agent("mac-a", Clock(), World().random)), asyncio.Event())


async def test_all_connections_of_a_session_have_one_pace_and_wait_before_they_parse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = idle_session(MacAgent.load(mac_agent("mac-a")))
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("voxfleet_operator.fleet.agent_client.asyncio.sleep", sleep)
    blank = b"\n" * 65536
    with pytest.raises(AgentUnreachable, match="ended the event stream"):
        await follow(session, *[blank] * int(BURST_EVENTS * BYTES_AN_EVENT / len(blank)))
    assert slept == []
    with pytest.raises(AgentUnreachable, match="cannot be read"):
        await follow(session, blank, b"no event\n")
    assert [seconds for seconds in slept if seconds] == [0.08, 0.085]
    await session.stop()
