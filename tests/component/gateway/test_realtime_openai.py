"""The socket that OpenAI's realtime clients speak to, with the unmodified client and a lane that the test leads."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import openai
import pytest
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from tests.rig.fake_lane_session import FakeLane
from tests.rig.served_endpoint import ServedEndpoint, contract_spec, serving, voice_endpoint

from voxfleet_api.failures import FailureClass
from voxfleet_api.session_protocol import (
    ClearTurn,
    CommitTurn,
    Ended,
    OpenHearing,
    SpeechStarted,
    SpeechStopped,
    TextDelta,
    TurnCommitted,
    TurnDone,
    VoiceActivity,
)
from voxfleet_gateway.realtime import ROUTES
from voxfleet_gateway.refusals import CallRefused

SPEECH = base64.b64encode(b"\x01\x00" * 2400).decode()


@pytest.fixture
def lane() -> FakeLane:
    return FakeLane()


@pytest.fixture
def served(lane: FakeLane) -> ServedEndpoint:
    return ServedEndpoint(voice_endpoint(), contract_spec(), lane)


@asynccontextmanager
async def connected(
    served: ServedEndpoint, *, model: str = "captions", **query: object
) -> AsyncIterator[AsyncRealtimeConnection]:
    async with (
        serving(served, ROUTES) as address,
        openai.AsyncOpenAI(api_key="key", base_url=f"{address}/v1") as client,
        client.realtime.connect(model=model, extra_query={"intent": "transcription", **query}) as connection,
    ):
        yield connection


async def told(connection: AsyncRealtimeConnection, count: int) -> list[dict[str, Any]]:
    """The next events, as the client reads them, without the ids of events."""
    return [(await connection.recv()).model_dump(exclude={"event_id"}, exclude_none=True) for _ in range(count)]


async def test_turns_found_by_the_detector(served: ServedEndpoint, lane: FakeLane) -> None:
    async with connected(served, model="whisper-1") as connection:
        (created,) = await told(connection, 1)
        assert created["type"] == "session.created"
        detection = {"type": "server_vad", "threshold": 0.6, "prefix_padding_ms": 200, "silence_duration_ms": 700}
        audio = {"format": {"type": "audio/pcm", "rate": 24000}, "turn_detection": detection}
        transcription = {"model": "captions", "language": "en"}
        session_fields: Any = {"type": "transcription", "audio": {"input": {**audio, "transcription": transcription}}}
        await connection.session.update(session=session_fields)
        (updated,) = await told(connection, 1)
        assert updated["session"]["audio"]["input"] == {**audio, "transcription": transcription}
        await connection.input_audio_buffer.append(audio=SPEECH)
        await lane.next_session()
        session = await lane.next_session()
        assert session.request == OpenHearing(
            sample_rate_hz=24_000,
            voice_activity=VoiceActivity(
                threshold_percent=60, prefix_padding_milliseconds=200, silence_milliseconds=700
            ),
            partial_milliseconds=500,
            max_turn_milliseconds=30_000,
            language="en",
        )
        assert await session.audio(4800) == base64.b64decode(SPEECH) and lane.open_sessions == 1
        for turn in (0, 1):
            session.tell(
                SpeechStarted(turn=turn, audio_milliseconds=10),
                TextDelta(turn=turn, text="left"),
                SpeechStopped(turn=turn, audio_milliseconds=90),
                TurnCommitted(turn=turn),
                TextDelta(turn=turn, text=" right"),
                TurnDone(turn=turn, text="left right", start_milliseconds=10, end_milliseconds=90),
            )
        first, second = await told(connection, 7), await told(connection, 7)
        await connection.close()
        await session.left.wait()
    item = first[0]["item"]["id"]
    transcription_event = "conversation.item.input_audio_transcription"
    assert first == [
        {
            "type": "conversation.item.added",
            "item": {
                "id": item,
                "object": "realtime.item",
                "type": "message",
                "role": "user",
                "content": [{"type": "input_audio"}],
            },
        },
        {"type": "input_audio_buffer.speech_started", "audio_start_ms": 10, "item_id": item},
        {"type": f"{transcription_event}.delta", "item_id": item, "content_index": 0, "delta": "left"},
        {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 90, "item_id": item},
        {"type": "input_audio_buffer.committed", "item_id": item},
        {"type": f"{transcription_event}.delta", "item_id": item, "content_index": 0, "delta": " right"},
        {
            "type": f"{transcription_event}.completed",
            "item_id": item,
            "content_index": 0,
            "transcript": "left right",
            "usage": {"type": "duration", "seconds": 0.08},
        },
    ]
    assert second[0]["previous_item_id"] == second[4]["previous_item_id"] == item != second[0]["item"]["id"]


async def test_turns_that_the_client_commits_and_clears(served: ServedEndpoint, lane: FakeLane) -> None:
    async with connected(served) as connection:
        session_fields: Any = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
        await connection.session.update(session=session_fields)
        await connection.input_audio_buffer.append(audio=SPEECH)
        await connection.input_audio_buffer.clear()
        await connection.input_audio_buffer.append(audio=SPEECH)
        await connection.input_audio_buffer.commit()
        await lane.next_session()
        session = await lane.next_session()
        assert isinstance(session.request, OpenHearing) and session.request.voice_activity is None
        await session.audio(4800)
        assert await session.sent.get() == ClearTurn()
        await session.audio(4800)
        assert await session.sent.get() == CommitTurn()
        session.tell(
            TurnCommitted(turn=1),
            TurnDone(turn=1, failure_class=FailureClass.INFERENCE_ERROR, reason="the model raised"),
        )
        events = await told(connection, 6)
        assert [event["type"] for event in events] == [
            "session.created",
            "session.updated",
            "input_audio_buffer.cleared",
            "conversation.item.added",
            "input_audio_buffer.committed",
            "conversation.item.input_audio_transcription.failed",
        ]
        assert events[-1]["error"] == {
            "type": "server_error",
            "code": "InferenceError",
            "message": "the model raised",
        }
        await connection.input_audio_buffer.commit()
        (error,) = await told(connection, 1)
        assert error["error"]["code"] == "input_audio_buffer_commit_empty"


async def test_what_is_wrong_with_an_event_is_told_and_the_session_goes_on(
    served: ServedEndpoint, lane: FakeLane
) -> None:
    wrong: list[tuple[Any, str, str | None]] = [
        ({"type": "response.create", "event_id": "e1"}, "unknown_event", "type"),
        ({"type": "input_audio_buffer.append", "event_id": "e2", "audio": "AAA"}, "invalid_value", "audio"),
        (_update("e4", turn_detection={"type": "semantic_vad"}), "invalid_value", "turn_detection"),
        (_update("e5", format={"type": "audio/pcmu"}), "invalid_value", "format.type"),
        (_update("e6", transcription={"model": "/etc/passwd"}), "model_not_found", None),
        (_update("e7", format={"type": "audio/pcm", "rate": 8000}), "sample_rate_not_accepted", "format.rate"),
    ]
    async with connected(served) as connection:
        await told(connection, 1)
        for event, code, param in wrong:
            await connection.send(event)
            (answer,) = await told(connection, 1)
            error = answer["error"]
            assert (error["code"], error["event_id"]) == (code, event["event_id"]), error
            assert param is None or error["param"].endswith(param), error
        await connection.input_audio_buffer.append(audio=SPEECH)
        assert await (await lane.next_session()).audio(4800) == base64.b64decode(SPEECH)
        await connection.send(_update("e8", turn_detection=None))
        (answer,) = await told(connection, 1)
        assert answer["error"]["code"] == "session_in_use"


def _update(event_id: str, **audio_input: object) -> Any:
    session = {"type": "transcription", "audio": {"input": audio_input}}
    return {"type": "session.update", "event_id": event_id, "session": session}


async def test_a_browsers_subprotocol_is_answered(served: ServedEndpoint) -> None:
    """A browser closes a socket whose server answers none of those that it offered."""
    async with (
        serving(served, ROUTES) as address,
        aiohttp.ClientSession() as client,
        client.ws_connect(address + "/v1/realtime", protocols=("realtime", "another")) as socket,
    ):
        assert socket.protocol == "realtime"


async def test_a_rate_that_the_lane_does_not_take_ends_the_session_once_audio_comes(
    served: ServedEndpoint, lane: FakeLane
) -> None:
    refusal = CallRefused(422, "contract_violation", "declare a resample from 24000 Hz")
    lane.refusals.extend([refusal, refusal])
    async with connected(served) as connection:
        await told(connection, 1)
        await connection.input_audio_buffer.append(audio=SPEECH)
        (answer,) = await told(connection, 1)
        assert answer["error"]["message"] == "declare a resample from 24000 Hz"
        assert await close_code(connection) == 1008
    assert lane.sessions == []


async def close_code(connection: AsyncRealtimeConnection) -> int | None:
    socket: Any = connection._connection
    await socket.wait_closed()
    code = socket.close_code
    assert code is None or isinstance(code, int)
    return code


async def test_a_lost_lane_is_told_as_retryable(served: ServedEndpoint, lane: FakeLane) -> None:
    async with connected(served) as connection:
        await told(connection, 1)
        await connection.input_audio_buffer.append(audio=SPEECH)
        (await lane.next_session()).tell(Ended(failure_class=FailureClass.TRANSPORT, reason="the Mac is gone"))
        (answer,) = await told(connection, 1)
        assert answer["error"]["type"] == "server_error" and answer["error"]["retryable"] is True
        assert await close_code(connection) == 1013


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (CallRefused(429, "rate_limit_exceeded", "full", retry_after_seconds=1), 429),
        (CallRefused(503, "not_warm", "no lane is warm", retry_after_seconds=5), 503),
    ],
)
async def test_a_full_lane_refuses_the_upgrade(
    served: ServedEndpoint, lane: FakeLane, refusal: CallRefused, status: int
) -> None:
    lane.refusals.append(refusal)
    assert await _refused_status(served) == status


@pytest.mark.parametrize(
    ("query", "status"), [({"model": "/etc/passwd"}, 404), ({"intent": "conversation"}, 400), ({"call_id": "c"}, 400)]
)
async def test_what_no_session_can_be_refuses_the_upgrade(
    served: ServedEndpoint, lane: FakeLane, query: dict[str, str], status: int
) -> None:
    assert await _refused_status(served, **query) == status
    assert lane.sessions == []


async def _refused_status(served: ServedEndpoint, **query: Any) -> int:
    from websockets.exceptions import InvalidStatus

    with pytest.raises(InvalidStatus) as refused:
        async with connected(served, **query):
            pass
    return refused.value.response.status_code
