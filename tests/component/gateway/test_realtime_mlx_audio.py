"""The socket that mlx-audio's clients speak to, against a lane that the test leads."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from tests.rig.fake_lane_session import FakeLane
from tests.rig.served_endpoint import ServedEndpoint, contract_spec, serving, voice_endpoint

from voxfleet_api.session_protocol import (
    EndAudio,
    Ended,
    LatencyKind,
    SpeechStarted,
    TextDelta,
    TurnCommitted,
    TurnDone,
)
from voxfleet_gateway.realtime import ROUTES

PATH = "/v1/audio/transcriptions/realtime"


@pytest.fixture
def lane() -> FakeLane:
    return FakeLane()


@pytest.fixture
def served(lane: FakeLane) -> ServedEndpoint:
    return ServedEndpoint(voice_endpoint(), contract_spec(), lane)


@asynccontextmanager
async def connected(served: ServedEndpoint) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with (
        serving(served, ROUTES) as address,
        aiohttp.ClientSession() as client,
        client.ws_connect(address + PATH) as socket,
    ):
        yield socket


async def configured(socket: aiohttp.ClientWebSocketResponse, **config: object) -> Any:
    await socket.send_json({"model": "captions", "language": None, "sample_rate": 16_000, "streaming": True, **config})
    return await socket.receive_json()


async def closed(socket: aiohttp.ClientWebSocketResponse) -> tuple[list[Any], int | None]:
    """What is told until the socket closes, and the close code."""
    told = [json.loads(message.data) async for message in socket]
    return told, socket.close_code


async def test_a_clip_in_odd_frames_gets_its_text_and_its_tail(served: ServedEndpoint, lane: FakeLane) -> None:
    async with connected(served) as socket:
        assert (await configured(socket))["status"] == "ready"
        session = await lane.next_session()
        pcm = bytes(range(200)) * 8
        for start in range(0, len(pcm), 7):
            await socket.send_bytes(pcm[start : start + 7])
        await socket.send_json({"action": "stop"})
        assert await session.audio(len(pcm)) == pcm
        assert await session.sent.get() == EndAudio()
        session.tell(
            SpeechStarted(turn=0, audio_milliseconds=0),
            TextDelta(turn=0, text="left"),
            TextDelta(turn=0, text=" right"),
            TurnCommitted(turn=0),
            TurnDone(turn=0, text="left right", end_milliseconds=50, voiced_end_milliseconds=40, infer_milliseconds=3),
            Ended(),
        )
        told, close_code = await closed(socket)
        measured = [await session.measurements.get(), await session.measurements.get()]
    assert told == [
        {"type": "delta", "delta": "left"},
        {"type": "delta", "delta": " right"},
        {
            "type": "complete",
            "text": "left right",
            "segments": None,
            "language": None,
            "is_partial": False,
            "start": 0,
            "end": 0.05,
        },
    ]
    assert close_code == 1000 and lane.open_sessions == 0
    assert [measurement.latency for measurement in measured] == [LatencyKind.FIRST_TEXT, LatencyKind.FINAL_TEXT]
