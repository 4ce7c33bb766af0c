"""What a caller's opening message asks of a lane, in the lane's own words. Pure."""

from __future__ import annotations

from voxfleet_agent.endpoint_lanes.spoken_as import spoken_as
from voxfleet_agent.lane_protocol import session_messages as lane
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_task import Synthesis
from voxfleet_api.session_protocol import SAMPLE_BYTES, OpenHearing, OpenSpeaking, OpenUpload, VoiceActivity

MOST_AHEAD_BYTES = 2**20
"""Of speech that waits here for its listener to read, whatever window it has: 22 s at 24 kHz."""
_NUMBERED_BY_THE_LANE = 0


def hearing_request(request: OpenHearing) -> lane.OpenHearing:
    return lane.OpenHearing(
        session=_NUMBERED_BY_THE_LANE,
        sample_rate_hz=request.sample_rate_hz,
        turn_detection=None if request.voice_activity is None else _detection(request.voice_activity),
        partial_milliseconds=request.partial_milliseconds,
        max_turn_milliseconds=request.max_turn_milliseconds,
        language=request.language,
    )


def file_request(request: OpenUpload) -> lane.OpenFile:
    return lane.OpenFile(
        session=_NUMBERED_BY_THE_LANE,
        max_bytes=request.max_bytes,
        extension=request.extension,
        language=request.language,
    )


def speaking_request(request: OpenSpeaking, synthesis: Synthesis | None) -> lane.OpenSpeaking:
    """`synthesis`: the lane's; None: its task is another. Raises VoxFleetError(INVALID_INPUT)."""
    if synthesis is None:
        raise VoxFleetError(FailureClass.INVALID_INPUT, "the endpoint transcribes; open a session that listens")
    return lane.OpenSpeaking(
        session=_NUMBERED_BY_THE_LANE,
        text=request.text,
        synthesis=spoken_as(synthesis, request),
        room_samples=min(request.window_bytes, MOST_AHEAD_BYTES) // SAMPLE_BYTES,
    )


def _detection(activity: VoiceActivity) -> lane.TurnDetection:
    return lane.TurnDetection(
        threshold_percent=activity.threshold_percent,
        prefix_padding_milliseconds=activity.prefix_padding_milliseconds,
        silence_milliseconds=activity.silence_milliseconds,
    )
