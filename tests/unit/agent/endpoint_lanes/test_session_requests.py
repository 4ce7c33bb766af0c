"""An opening message in the lane's own words."""

from __future__ import annotations

import pytest

from voxfleet_agent.endpoint_lanes.session_requests import (
    MOST_AHEAD_BYTES,
    file_request,
    hearing_request,
    speaking_request,
)
from voxfleet_agent.lane_protocol import session_messages as lane
from voxfleet_api.failures import VoxFleetError
from voxfleet_api.kinds.job_task import Synthesis
from voxfleet_api.session_protocol import OpenHearing, OpenSpeaking, OpenUpload, VoiceActivity


def test_all_that_a_listener_asks_for_reaches_the_lane() -> None:
    activity = VoiceActivity(threshold_percent=40, prefix_padding_milliseconds=200, silence_milliseconds=700)
    asked = OpenHearing(
        sample_rate_hz=24_000,
        voice_activity=activity,
        partial_milliseconds=300,
        max_turn_milliseconds=9_000,
        language="fr",
    )
    detection = lane.TurnDetection(threshold_percent=40, prefix_padding_milliseconds=200, silence_milliseconds=700)
    assert hearing_request(asked) == lane.OpenHearing(
        session=0,
        sample_rate_hz=24_000,
        turn_detection=detection,
        partial_milliseconds=300,
        max_turn_milliseconds=9_000,
        language="fr",
    )
    assert hearing_request(asked.model_copy(update={"voice_activity": None})).turn_detection is None
    assert file_request(OpenUpload(max_bytes=77, extension="mp3", language="fr")) == lane.OpenFile(
        session=0, max_bytes=77, extension="mp3", language="fr"
    )


@pytest.mark.parametrize(
    ("window_bytes", "room_samples"), [(4_097, 2_048), (2**20, 2**19), (2**24, MOST_AHEAD_BYTES // 2)]
)
def test_no_window_makes_the_agent_hold_more_than_a_bound(window_bytes: int, room_samples: int) -> None:
    asked = OpenSpeaking(text="words", window_bytes=window_bytes, voice="ryan")
    request = speaking_request(asked, Synthesis(voice="serena"))
    assert (request.text, request.room_samples) == ("words", room_samples)
    assert request.synthesis == Synthesis(voice="ryan")


def test_a_text_for_an_endpoint_that_transcribes_is_refused() -> None:
    with pytest.raises(VoxFleetError, match="the endpoint transcribes"):
        speaking_request(OpenSpeaking(text="words", window_bytes=4_096), None)
