"""The clip that a lane works through before anybody waits for it: it takes the way of every session."""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import Sequence
from functools import lru_cache

from voxfleet_agent.lane_protocol.session_messages import OpenHearing, OpenSpeaking, SessionEnded, SpokenAudio
from voxfleet_agent.lanes.lane_session import LaneSession
from voxfleet_agent.lanes.lane_types import LaneSpec, LoadedModel
from voxfleet_agent.lanes.session_table import SessionTable
from voxfleet_api.failures import VoxFleetError
from voxfleet_api.kinds.job_task import Task

TEXT = "One, two, three."
CLIP_MILLISECONDS = 1_000
_PITCH_HZ = 150
_HARMONICS = 12
_PEAK = 8_000
_SYLLABLES_HZ = 4


async def work_through_clip(sessions: SessionTable, spec: LaneSpec, loaded: LoadedModel) -> None:
    """Raises VoxFleetError with the class that the session ended with. What the model makes of it is not looked at."""
    session: LaneSession
    if spec.task is Task.TRANSCRIBE:
        rate_hz = clip_rate_hz(spec.contract.input.sample_rates_hz, loaded.sample_rate_hz)
        # It takes tens of milliseconds, in which other lanes' sessions must not wait.
        pcm = await asyncio.to_thread(voice_like_pcm, rate_hz, CLIP_MILLISECONDS)
        hearing = session = sessions.open_hearing(
            OpenHearing(
                session=0,
                sample_rate_hz=rate_hz,
                partial_milliseconds=CLIP_MILLISECONDS,
                max_turn_milliseconds=10 * CLIP_MILLISECONDS,
            )
        )
        hearing.send_audio(pcm)
        hearing.end()
    else:
        room_samples = loaded.sample_rate_hz * CLIP_MILLISECONDS // 1000
        session = sessions.open_speaking(OpenSpeaking(session=0, text=TEXT, room_samples=room_samples))
    async for event in session.events():
        if isinstance(event, SpokenAudio):
            session.cancel()
        elif isinstance(event, SessionEnded) and event.failure_class is not None:
            raise VoxFleetError(event.failure_class, f"the lane cannot work: {event.reason}")


def clip_rate_hz(accepted_hz: Sequence[int], model_hz: int) -> int:
    """A rate at which clients may send: the model's where the contract accepts it, else one that is resampled. Pure."""
    return model_hz if model_hz in accepted_hz else accepted_hz[0]


@lru_cache(maxsize=8)
def voice_like_pcm(sample_rate_hz: int, milliseconds: int) -> bytes:
    """Harmonics of a voice's pitch that swell like syllables, as PCM16: silence would cost the model nothing. Pure."""
    samples = array("h")
    for index in range(sample_rate_hz * milliseconds // 1000):
        seconds = index / sample_rate_hz
        loudness = math.sin(math.pi * _SYLLABLES_HZ * seconds) ** 2
        voice = sum(math.sin(math.tau * _PITCH_HZ * n * seconds) / n for n in range(1, _HARMONICS + 1))
        samples.append(round(_PEAK * loudness * voice / 2))
    return samples.tobytes()
