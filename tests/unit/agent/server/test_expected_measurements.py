"""A caller's measurements count once for each turn, text or speech that it was told, and for nothing else."""

from __future__ import annotations

import pytest

from voxfleet_agent.server.expected_measurements import ExpectedMeasurements
from voxfleet_api.session_protocol import LatencyKind, OpenHearing, OpenSpeaking, OpenUpload, TextDelta, TurnDone

HEARING = OpenHearing(sample_rate_hz=16_000, max_turn_milliseconds=30_000)


def test_a_turn_is_measured_once_it_was_told() -> None:
    expected = ExpectedMeasurements(HEARING)
    assert not any(expected.take(kind) for kind in LatencyKind)
    for turn in (0, 1):
        expected.told(TextDelta(turn=turn, text="one"))
        expected.told(TextDelta(turn=turn, text=" two"))
        assert [expected.take(LatencyKind.FIRST_TEXT) for _ in range(2)] == [True, False]
        expected.told(TurnDone(turn=turn, text="one two", start_milliseconds=0, end_milliseconds=9))
        assert [expected.take(LatencyKind.FINAL_TEXT) for _ in range(2)] == [True, False]
    assert not expected.take(LatencyKind.FIRST_AUDIO)


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (OpenUpload(max_bytes=10), LatencyKind.UPLOADED_TEXT),
        (OpenSpeaking(text="x", window_bytes=4_096), LatencyKind.FIRST_AUDIO),
    ],
)
def test_a_recording_and_a_speech_are_measured_once(request_: OpenUpload | OpenSpeaking, kind: LatencyKind) -> None:
    expected = ExpectedMeasurements(request_)
    expected.told(TurnDone(turn=0, text="", start_milliseconds=0, end_milliseconds=9))
    assert {kind for kind in LatencyKind if expected.take(kind)} == {kind}
    assert not any(expected.take(kind) for kind in LatencyKind)
