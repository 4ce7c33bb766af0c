"""mlx-audio's socket as a pure machine: frames cut anywhere are the same samples, and deltas are the final text."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rig.served_endpoint import contract_spec, voice_endpoint

from voxfleet_api.session_protocol import Ended, SpeechStarted, TextDelta, TurnCommitted, TurnDone
from voxfleet_gateway.realtime.endings import DRAINING, FINISHED, lane_ended
from voxfleet_gateway.realtime.mlx_audio_format import MlxAudioFormat
from voxfleet_gateway.realtime.steps import Close, End, Hear, Open, Steps, Tell, TurnEvent


def configured(config: str = "{}", *rates_hz: int) -> MlxAudioFormat:
    spoken = MlxAudioFormat(voice_endpoint(), contract_spec(*rates_hz))
    spoken.client_said(config)
    return spoken


def heard(steps: Steps) -> bytes:
    return b"".join(step.pcm for step in steps if isinstance(step, Hear))


def told(steps: Steps) -> list[Any]:
    return [step.message for step in steps if isinstance(step, Tell)]


@given(st.binary(max_size=400), st.lists(st.integers(min_value=0, max_value=400), max_size=20))
def test_frames_cut_anywhere_are_the_same_samples(pcm: bytes, cuts: list[int]) -> None:
    spoken = configured()
    edges = [0, *sorted(min(cut, len(pcm)) for cut in cuts), len(pcm)]
    pieces = [heard(spoken.client_said(pcm[a:b])) for a, b in itertools.pairwise(edges)]
    assert b"".join(pieces) == pcm[: len(pcm) // 2 * 2]
    assert all(len(piece) % 2 == 0 for piece in pieces)


@given(st.lists(st.lists(st.text("ab ", max_size=3), max_size=3), max_size=3), st.booleans())
def test_a_turns_deltas_are_the_text_of_its_complete(turns: list[list[str]], stopped: bool) -> None:
    spoken = configured()
    if stopped:
        spoken.client_said('{"action": "stop"}')
    messages: list[Any] = []
    for number, deltas in enumerate(turns):
        events: list[TurnEvent] = [SpeechStarted(turn=number, audio_milliseconds=0), TurnCommitted(turn=number)]
        events += [TextDelta(turn=number, text=text) for text in deltas]
        for event in (*events, TurnDone(turn=number, text="".join(deltas))):
            messages += told(spoken.lane_said(event))
    messages += spoken.farewell(FINISHED)
    seen, completes = "", []
    for message in messages:
        if message["type"] == "delta":
            seen += message["delta"]
        else:
            assert message["text"] == seen and message["is_partial"] is False
            completes.append(seen)
            seen = ""
    assert completes == (["".join(deltas) for deltas in turns] or [""] * stopped)


def test_the_session_opens_as_the_config_says_before_the_client_is_told_so() -> None:
    spoken = MlxAudioFormat(voice_endpoint(), contract_spec(8_000))
    assert spoken.reservation().sample_rate_hz == 8_000
    opened, ready = spoken.client_said('{"model": "whisper-1", "sample_rate": 8000, "language": "de"}')
    assert isinstance(opened, Open) and (opened.request.sample_rate_hz, opened.request.language) == (8_000, "de")
    assert isinstance(ready, Tell) and ready.message["status"] == "ready"


def test_nothing_is_held_for_another_session_than_an_ordinary_client_asks_for() -> None:
    spoken = MlxAudioFormat(voice_endpoint(), contract_spec())
    reserved = spoken.reservation()
    opened = spoken.client_said('{"model": "captions", "language": null, "sample_rate": 16000, "streaming": true}')[0]
    assert isinstance(opened, Open) and opened.request == reserved


@pytest.mark.parametrize("config", ["", "[]", '{"sample_rate": 16000.5}', '{"streaming": 1}', "{" * 100_000, "null"])
def test_a_config_of_another_form_closes_the_socket(config: str) -> None:
    (step,) = MlxAudioFormat(voice_endpoint(), contract_spec()).client_said(config)
    assert isinstance(step, Close) and step.ending.close_code == 1008 and step.ending.code == "invalid_value"


@pytest.mark.parametrize("message", ["", "[]", '{"action": "stop", "now": true}', '{"action": "STOP"}', "{}"])
def test_another_message_than_stop_is_told_and_changes_nothing(message: str) -> None:
    spoken = configured()
    (step,) = spoken.client_said(message)
    assert isinstance(step, Tell) and step.message["status"] == "error"
    assert spoken.client_said(b"\x01\x02") == [Hear(b"\x01\x02")]
    assert spoken.client_said('{"action": "stop"}') == [End()]
    assert spoken.client_said(b"\x01\x02") == spoken.client_said('{"action": "stop"}') == []


def test_only_a_stopped_session_has_a_last_complete() -> None:
    assert configured().farewell(FINISHED) == []
    (message,) = configured().farewell(DRAINING)
    assert message["status"] == "error" and message["retryable"] is True


def test_a_lane_that_ends_unasked_went_away() -> None:
    assert lane_ended(Ended(), asked_for=True) is FINISHED
    assert lane_ended(Ended(), asked_for=False).retryable
