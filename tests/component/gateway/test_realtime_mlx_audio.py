"""The socket that mlx-audio's clients speak to, against a lane that the test leads."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from tests.rig.fake_lane_session import FakeLane, FakeLaneSession
from tests.rig.served_endpoint import ServedEndpoint, contract_spec, serving, voice_endpoint

from voxfleet_api.failures import FailureClass
from voxfleet_api.session_protocol import (
    EndAudio,
    Ended,
    LatencyKind,
    OpenHearing,
    SpeechStarted,
    TextDelta,
    TurnCommitted,
    TurnDone,
)
from voxfleet_gateway.realtime import ROUTES
from voxfleet_gateway.realtime.mlx_audio_format import MlxAudioFormat
from voxfleet_gateway.refusals import CallRefused

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
        await session.left.wait()
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
    assert close_code == 1000
    assert [measurement.latency for measurement in measured] == [LatencyKind.FIRST_TEXT, LatencyKind.FINAL_TEXT]


async def test_stop_without_speech_is_answered(served: ServedEndpoint, lane: FakeLane) -> None:
    async with connected(served) as socket:
        await configured(socket)
        session = held(lane)
        await socket.send_json({"action": "stop"})
        assert await session.sent.get() == EndAudio()
        told, close_code = await closed(socket)
    assert [(message["type"], message["text"]) for message in told] == [("complete", "")] and close_code == 1000


async def test_without_streaming_a_turn_is_one_message(served: ServedEndpoint, lane: FakeLane) -> None:
    async with connected(served) as socket:
        await configured(socket, streaming=False, language="english")
        session = held(lane)
        assert isinstance(session.request, OpenHearing) and session.request.partial_milliseconds is None
        assert session.request.language == "english"
        await socket.send_bytes(bytes(2))
        await session.audio(2)
        await socket.send_json({"action": "stop"})
        assert await session.sent.get() == EndAudio()
        session.tell(TextDelta(turn=0, text="left"), TurnDone(turn=0, text="left"), Ended())
        told, close_code = await closed(socket)
    assert [(message["text"], message["is_partial"], "type" in message) for message in told] == [("left", False, False)]
    assert close_code == 1000


def held(lane: FakeLane) -> FakeLaneSession:
    """The session in use; the one that was held before the config has ended."""
    (session,) = [session for session in lane.sessions if not session.left.is_set()]
    return session


async def test_the_clients_rate_reaches_the_lane(served: ServedEndpoint, lane: FakeLane) -> None:
    async with connected(served) as socket:
        assert (await configured(socket, sample_rate=24_000))["status"] == "ready"
        request = held(lane).request
        assert isinstance(request, OpenHearing) and request.sample_rate_hz == 24_000


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"model": "/etc/passwd"}, "model_not_found"),
        ({"sample_rate": 44_100}, "sample_rate_not_accepted"),
        ({"sample_rate": "16000"}, "invalid_value"),
        ({"ref_audio": "/etc/passwd"}, "invalid_value"),
        ({"language": ""}, "invalid_value"),
    ],
)
async def test_a_config_that_is_not_served_is_named_and_ends_the_session(
    served: ServedEndpoint, lane: FakeLane, config: dict[str, object], code: str
) -> None:
    async with connected(served) as socket:
        answer = await configured(socket, **config)
        assert (answer["status"], answer["code"]) == ("error", code)
        (wrong,) = config
        assert wrong in answer["error"] and "/etc/passwd" not in answer["error"]
        assert await closed(socket) == ([], 1008)


async def test_audio_before_the_config_ends_the_session(served: ServedEndpoint, lane: FakeLane) -> None:
    async with connected(served) as socket:
        await socket.send_bytes(bytes(2))
        told, close_code = await closed(socket)
        assert [message["status"] for message in told] == ["error"] and close_code == 1008


async def test_an_undeclared_resample_is_refused_instead_of_ready(served: ServedEndpoint, lane: FakeLane) -> None:
    lane.refusals.extend([None, CallRefused(422, "contract_violation", "declare a resample from 24000 Hz")])
    async with connected(served) as socket:
        answer = await configured(socket, sample_rate=24_000)
        assert answer["error"] == "declare a resample from 24000 Hz" and answer["retryable"] is False
        assert await closed(socket) == ([], 1008)


async def test_a_lane_that_was_taken_meanwhile_is_worth_another_try(served: ServedEndpoint, lane: FakeLane) -> None:
    lane.refusals.extend([None, CallRefused(429, "rate_limit_exceeded", "full", retry_after_seconds=1)])
    async with connected(served) as socket:
        assert (await configured(socket, language="en"))["retryable"] is True
        assert await closed(socket) == ([], 1013)


async def test_a_turn_that_fails_is_told_and_the_session_goes_on(served: ServedEndpoint, lane: FakeLane) -> None:
    async with connected(served) as socket:
        await configured(socket)
        session = held(lane)
        session.tell(TurnDone(turn=0, failure_class=FailureClass.INFERENCE_ERROR, reason="the model raised"))
        assert (await socket.receive_json())["error"] == "the model raised"
        await socket.send_str("{}")
        assert "action" in (await socket.receive_json())["error"]
        await socket.send_bytes(b"\x01\x02")
        assert await session.audio(2) == b"\x01\x02"
        session.tell(Ended(failure_class=FailureClass.LANE_CRASHED, reason="the child ended"))
        told, close_code = await closed(socket)
        assert told[-1]["retryable"] is True and close_code == 1013


async def test_a_request_without_an_upgrade_is_refused_before_a_lane_is_asked(
    served: ServedEndpoint, lane: FakeLane
) -> None:
    async with (
        serving(served, ROUTES) as address,
        aiohttp.ClientSession() as client,
        client.get(address + PATH) as answer,
    ):
        assert answer.status == 426 and lane.sessions == []


async def test_an_endpoint_that_speaks_has_no_such_address(lane: FakeLane) -> None:
    speaking = voice_endpoint(task="Synthesize", synthesis={"voice": "af_heart"})
    async with (
        serving(ServedEndpoint(speaking, contract_spec(), lane), ROUTES) as address,
        aiohttp.ClientSession() as client,
    ):
        for route in ROUTES:
            async with client.get(address + route.path) as answer:
                assert answer.status == 404


async def test_a_bug_closes_the_socket_and_is_raised(
    served: ServedEndpoint, lane: FakeLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(MlxAudioFormat, "lane_said", broken)
    async with connected(served) as socket:
        await configured(socket)
        session = held(lane)
        session.tell(TextDelta(turn=0, text="left"))
        told, close_code = await closed(socket)
        assert told[-1]["code"] == "internal_error" and close_code == 1011
        await session.left.wait()
