"""Sessions from outside, over a WebSocket of a real agent; its lane's child counts instead of hearing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.component.agent.agent_rig import SESSION_TOKEN, Agent
from tests.component.agent.test_endpoint_lanes import agent_with_lanes, lane_request, put, until
from tests.rig.session_caller import session_caller

from voxfleet_api.endpoint_lanes import LaneKey
from voxfleet_api.session_protocol import CommitTurn, EndAudio, Opened, OpenHearing

KEY = LaneKey("endpoint-1", 1)
HEARING = OpenHearing(sample_rate_hz=16_000, max_turn_milliseconds=30_000)


def url(agent: Agent) -> str:
    return str(agent.http.base_url).rstrip("/")


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    async with agent_with_lanes(tmp_path) as running:
        await put(running, lane_request())
        await until(running, "Ready")
        yield running


async def test_audio_in_frames_of_any_size_becomes_the_text_of_turns(agent: Agent) -> None:
    async with session_caller(url(agent), KEY, SESSION_TOKEN) as caller:
        opened = await caller.open(HEARING)
        assert isinstance(opened, Opened) and (opened.sample_rate_hz, opened.window_bytes) == (16_000, 2**20)
        await caller.send_audio(bytes(3 * 2**20), 2**16)
        await caller.send(CommitTurn())
        await caller.send_audio(bytes(2_000), 2)
        await caller.send(EndAudio())
        end = await caller.end()
        assert (end.failure_class, caller.texts) == (None, [str(3 * 2**19), "1000"])
