"""OpenAI's transcription sessions as a pure machine."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rig.served_endpoint import contract_spec, voice_endpoint

from voxfleet_api.failures import FailureClass
from voxfleet_api.session_protocol import (
    SpeechStarted,
    SpeechStopped,
    TextDelta,
    TurnCommitted,
    TurnDone,
    VoiceActivity,
)
from voxfleet_gateway.realtime.endings import FINISHED, idle_too_long
from voxfleet_gateway.realtime.openai_format import OpenAiFormat
from voxfleet_gateway.realtime.steps import Clear, Commit, Hear, Open, Steps, Tell, TurnEvent
from voxfleet_gateway.refusals import CallRefused

APPEND = {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(480)).decode()}
COMMIT = {"type": "input_audio_buffer.commit"}
CLEAR = {"type": "input_audio_buffer.clear"}


def opened(*rates_hz: int, **spec: object) -> OpenAiFormat:
    numbers = itertools.count()
    return OpenAiFormat(
        voice_endpoint(**spec), contract_spec(*rates_hz), None, lambda prefix: f"{prefix}_{next(numbers)}"
    )


def said(spoken: OpenAiFormat, event: object) -> Steps:
    return spoken.client_said(json.dumps(event))


def update(**audio_input: object) -> dict[str, object]:
    return {"type": "session.update", "event_id": "mine", "session": {"audio": {"input": audio_input}}}


def told(steps: Steps) -> list[Any]:
    return [step.message for step in steps if isinstance(step, Tell)]


def error(steps: Steps) -> Any:
    (message,) = told(steps)
    assert message["type"] == "error" and len(steps) == 1
    return message["error"]


def request(spoken: OpenAiFormat) -> Any:
    step = said(spoken, APPEND)[0]
    assert isinstance(step, Open)
    return step.request


WRONG: list[tuple[object, str, str]] = [
    (update(turn_detection={"type": "semantic_vad", "eagerness": "low"}), "turn_detection", "semantic_vad"),
    (update(turn_detection={"type": "other"}), "turn_detection", "server_vad"),
    (update(turn_detection={"type": "server_vad", "threshold": 1.5}), "turn_detection.threshold", "0.99"),
    (update(turn_detection={"type": "server_vad", "silence_duration_ms": 50}), "silence_duration_ms", "100"),
    (update(turn_detection={"type": "server_vad", "create_response": True}), "create_response", "False"),
    (update(turn_detection={"type": "server_vad", "idle_timeout_ms": 5}), "idle_timeout_ms", "not served"),
    (update(format={"type": "audio/pcma"}), "format.type", "G.711"),
    (update(format={"type": "audio/pcmu"}), "format.type", "G.711"),
    (update(format={"type": "audio/opus"}), "format.type", "audio/pcm"),
    (update(format={"type": "audio/pcm", "rate": "24000"}), "format.rate", "integer"),
    (update(noise_reduction={"type": "near_field"}), "noise_reduction", "not served"),
    (update(transcription=None), "transcription", "transcription"),
    (update(transcription={"prompt": "names"}), "transcription.prompt", "prompt"),
    (update(unheard_of=1), "unheard_of", "not known"),
    ({"type": "session.update", "session": {"type": "realtime"}}, "session.type", "transcription"),
    ({"type": "session.update", "session": {"instructions": "be kind"}}, "session.instructions", "not known"),
    ({"type": "session.update", "session": {"include": ["logprobs"]}}, "session.include", "0"),
    ({"type": "session.update"}, "session", "required"),
    ({"type": "transcription_session.update", "session": {}}, "type", "transcription_session.update"),
    ({"type": "input_audio_buffer.append"}, "audio", "required"),
    ({"type": "input_audio_buffer.append", "audio": "?" * 8}, "audio", "base64"),
    ({"type": "input_audio_buffer.append", "audio": "ü" * 8}, "audio", "base64"),
    ({"type": 7}, "type", "type"),
    ([], "type", "type"),
]


@pytest.mark.parametrize(("event", "param", "words"), WRONG)
def test_what_is_not_served_is_named_and_changes_nothing(event: object, param: str, words: str) -> None:
    spoken = opened()
    refused = error(said(spoken, event))
    assert refused["param"].endswith(param) and words in refused["message"]
    assert refused["event_id"] == (event.get("event_id") if isinstance(event, dict) else None)
    assert request(spoken) == request(opened())


def test_audio_may_be_cut_within_a_sample() -> None:
    spoken, pcm = opened(), bytes(range(256))
    heard = b""
    for cut in (pcm[:1], pcm[1:4], pcm[4:]):
        steps = said(spoken, {**APPEND, "audio": base64.b64encode(cut).decode()})
        heard += b"".join(step.pcm for step in steps if isinstance(step, Hear))
    assert heard == pcm and said(spoken, COMMIT) == [Commit()]


def test_half_a_sample_at_the_end_is_told_and_is_part_of_no_later_turn() -> None:
    spoken = opened()
    for event in (COMMIT, CLEAR):
        said(spoken, {**APPEND, "audio": base64.b64encode(b"x" * 241).decode()})
        steps = said(spoken, {**event, "event_id": "mine"})
        assert (Commit() in steps) == (event is COMMIT)
        errors = [message["error"] for message in told(steps) if message["type"] == "error"]
        assert [one["event_id"] for one in errors] == (["mine"] if event is COMMIT else [])
        (hear,) = (step for step in said(spoken, APPEND) if isinstance(step, Hear))
        assert hear.pcm == bytes(480)


@pytest.mark.parametrize("message", ["", "{", b"\x00\x01", "[" * 100_000, '{"type": "\\ud800"}'])
def test_a_message_of_another_form_is_told(message: str | bytes) -> None:
    assert error(opened().client_said(message))["type"] == "invalid_request_error"


def test_an_error_holds_no_audio() -> None:
    assert "c2VjcmV0" not in json.dumps(error(said(opened(), {**APPEND, "audio": "c2VjcmV0!"})))
    assert len(json.dumps(error(said(opened(), {"type": "x" * 10**6, "event_id": "y" * 10**6})))) < 2_000
    assert len(json.dumps(error(said(opened(), {**COMMIT, "z" * 10**6: 1})))) < 2_000


def test_an_endpoint_says_what_a_client_leaves_out() -> None:
    detection = {"type": "ServerVad", "thresholdPercent": 40, "prefixPadding": "200ms", "silence": "900ms"}
    by_endpoint = VoiceActivity(threshold_percent=40, prefix_padding_milliseconds=200, silence_milliseconds=900)
    assert request(opened(turnDetection=detection)).voice_activity == by_endpoint
    spoken = opened(turnDetection=detection)
    said(spoken, update(turn_detection={"type": "server_vad", "threshold": 0.7}))
    assert request(spoken).voice_activity == by_endpoint.model_copy(update={"threshold_percent": 70})
    silent = opened(turnDetection={"type": "None"})
    assert silent.reservation().voice_activity is None
    said(silent, update(turn_detection={"type": "server_vad"}))
    assert request(silent).voice_activity.threshold_percent == 50


def test_an_update_changes_what_it_names_alone() -> None:
    spoken = opened()
    said(spoken, update(turn_detection=None, transcription={"language": "en"}))
    (updated,) = told(said(spoken, update(format={"type": "audio/pcm", "rate": 16000})))
    assert updated["session"]["audio"]["input"] == {
        "format": {"type": "audio/pcm", "rate": 16000},
        "noise_reduction": None,
        "transcription": {"model": "captions", "language": "en"},
        "turn_detection": None,
    }
    hearing = request(spoken)
    assert (hearing.sample_rate_hz, hearing.language, hearing.voice_activity) == (16_000, "en", None)


def test_what_audio_began_with_stays() -> None:
    spoken = opened()
    said(spoken, APPEND)
    for change in (
        {"format": {"rate": 16000}},
        {"turn_detection": None},
        {"transcription": {"language": "en"}},
    ):
        assert error(said(spoken, update(**change)))["code"] == "session_in_use"
    assert told(said(spoken, update(format={"rate": 24000})))[0]["type"] == "session.updated"
    assert said(spoken, APPEND) == [Hear(bytes(480))]


def test_a_rate_that_the_contract_does_not_accept_is_refused_at_once_and_held_at_another() -> None:
    spoken = opened(16_000)
    assert spoken.reservation().sample_rate_hz == 16_000
    assert error(said(spoken, update(format={"type": "audio/pcm"})))["code"] == "sample_rate_not_accepted"
    said(spoken, update(format={"type": "audio/pcm", "rate": 16_000}))
    assert request(spoken) == spoken.reservation()


def test_commit_and_clear_concern_the_audio_since_the_last() -> None:
    spoken = opened()
    assert told(said(spoken, CLEAR))[0]["type"] == "input_audio_buffer.cleared"
    assert error(said(spoken, COMMIT))["code"] == "input_audio_buffer_commit_empty"
    said(spoken, APPEND)
    assert said(spoken, COMMIT) == [Commit()]
    assert error(said(spoken, COMMIT))["code"] == "input_audio_buffer_commit_empty"
    said(spoken, APPEND)
    assert said(spoken, CLEAR)[0] == Clear()
    assert error(said(spoken, COMMIT))["code"] == "input_audio_buffer_commit_empty"
    assert said(spoken, {**APPEND, "audio": ""}) == []


Turns = st.lists(st.tuples(st.lists(st.text(max_size=5), max_size=3), st.sampled_from(["done", "failed", "cleared"])))


@given(Turns, st.booleans())
def test_every_turn_has_one_item_in_its_order(turns: list[tuple[list[str], str]], detects: bool) -> None:
    """Turns that were cleared leave no trace but their item."""
    spoken = opened()
    messages: list[Any] = []
    for number, (deltas, end) in enumerate(turns):
        events: list[TurnEvent] = [SpeechStarted(turn=number, audio_milliseconds=0)] if detects else []
        events += [TextDelta(turn=number, text=text) for text in deltas]
        if end != "cleared":
            events += [SpeechStopped(turn=number, audio_milliseconds=1)] if detects else []
            failure = FailureClass.INFERENCE_ERROR if end == "failed" else None
            events += [
                TurnCommitted(turn=number),
                TurnDone(turn=number, text="" if failure else "".join(deltas), failure_class=failure),
            ]
        messages += [message for event in events for message in told(spoken.lane_said(event))]
    items = [message["item"]["id"] for message in messages if message["type"] == "conversation.item.added"]
    assert len(set(items)) == len(items)
    committed = [m for m in messages if m["type"] == "input_audio_buffer.committed"]
    previous = [None, *(message["item_id"] for message in committed)]
    assert [message["previous_item_id"] for message in committed] == previous[:-1]
    begun = {message["item_id"] for message in messages if "item_id" in message}
    assert begun <= set(items)
    for item in items:
        of_item = [message for message in messages if message.get("item_id") == item]
        deltas_told = "".join(message["delta"] for message in of_item if message["type"].endswith(".delta"))
        finals = [message for message in of_item if message["type"].endswith((".completed", ".failed"))]
        assert len(finals) <= 1
        assert all(final.get("transcript", deltas_told) == deltas_told for final in finals)


def test_no_more_items_are_kept_than_turns_await_their_text() -> None:
    spoken = opened()
    for number in range(1000):
        spoken.lane_said(SpeechStarted(turn=number, audio_milliseconds=0))
    assert len(spoken._items) == 1
    for number in range(1000, 2000):
        spoken.lane_said(TurnCommitted(turn=number))
        spoken.lane_said(TurnDone(turn=number))
    assert len(spoken._items) == 0


def test_the_client_is_told_why_a_session_ends() -> None:
    limits = voice_endpoint().spec.session
    spoken = opened()
    (message,) = spoken.farewell(idle_too_long(limits))
    error_fields: Any = message["error"]
    assert error_fields["code"] == "session_idle" and "session.idleSeconds" in error_fields["message"]
    assert spoken.farewell(FINISHED) == []


def test_another_model_is_refused_before_anything_else() -> None:
    with pytest.raises(CallRefused, match="captions"):
        OpenAiFormat(voice_endpoint(), contract_spec(), "gpt-4o-transcribe", str)
