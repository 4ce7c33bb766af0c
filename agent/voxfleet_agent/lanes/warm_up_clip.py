"""The clip that a lane works through before anybody waits for it: it takes the way of every session."""

from __future__ import annotations

import math
from array import array

from voxfleet_agent.lane_protocol.session_messages import SessionEnded, SpokenAudio
from voxfleet_agent.lanes.lane_session import LaneSession
from voxfleet_agent.lanes.lane_types import LoadedModel
from voxfleet_agent.lanes.session_table import SessionTable
from voxfleet_api.failures import VoxFleetError
from voxfleet_api.kinds.job_task import Task

TEXT = "One, two, three."
CLIP_MILLISECONDS = 1_000
_PITCH_HZ = 150
_HARMONICS = 12
_PEAK = 8_000
_SYLLABLES_HZ = 4


async def work_through_clip(sessions: SessionTable, task: Task, loaded: LoadedModel) -> None:
    """Raises VoxFleetError with the class that the session ended with. What the model makes of it is not looked at."""
    session: LaneSession
    if task is Task.TRANSCRIBE:
        hearing = session = sessions.open_hearing(
            sample_rate_hz=loaded.sample_rate_hz,
            turn_detection=None,
            partial_milliseconds=CLIP_MILLISECONDS,
            max_turn_milliseconds=10 * CLIP_MILLISECONDS,
        )
        hearing.send_audio(voice_like_pcm(loaded.sample_rate_hz, CLIP_MILLISECONDS))
        hearing.end()
    else:
        room_samples = loaded.sample_rate_hz * CLIP_MILLISECONDS // 1000
        session = sessions.open_speaking(TEXT, synthesis=None, room_samples=room_samples)
    async for event in session.events():
        if isinstance(event, SpokenAudio):
            session.cancel()
        elif isinstance(event, SessionEnded) and event.failure_class is not None:
            raise VoxFleetError(event.failure_class, f"the lane cannot work: {event.reason}")


def voice_like_pcm(sample_rate_hz: int, milliseconds: int) -> bytes:
    """Harmonics of a voice's pitch that swell like syllables, as PCM16: silence would cost the model nothing. Pure."""
    samples = array("h")
    for index in range(sample_rate_hz * milliseconds // 1000):
        seconds = index / sample_rate_hz
        loudness = math.sin(math.pi * _SYLLABLES_HZ * seconds) ** 2
        voice = sum(math.sin(math.tau * _PITCH_HZ * n * seconds) / n for n in range(1, _HARMONICS + 1))
        samples.append(round(_PEAK * loudness * voice / 2))
    return samples.tobytes()
