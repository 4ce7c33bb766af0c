"""What a lane's session tells, as its caller is told: a message, or audio. Pure."""

from __future__ import annotations

from voxfleet_agent.lane_protocol import session_messages as lane
from voxfleet_agent.lanes.session_queue import SessionEvent
from voxfleet_api import session_protocol as protocol
from voxfleet_api.failures import VoxFleetError

Answer = (
    protocol.Opened
    | protocol.AudioTaken
    | protocol.SpeechStarted
    | protocol.SpeechStopped
    | protocol.TurnCommitted
    | protocol.TextDelta
    | protocol.TurnDone
    | protocol.Ended
)


def answer_to(event: SessionEvent) -> Answer | bytes:
    """`bytes`: PCM16, whole samples."""
    match event:
        case lane.SpokenAudio():
            return event.pcm
        case lane.SessionOpened():
            return protocol.Opened(sample_rate_hz=event.sample_rate_hz, window_bytes=event.window_bytes)
        case lane.AudioTaken():
            return protocol.AudioTaken(total_bytes=event.total_bytes)
        case lane.SpeechStarted():
            return protocol.SpeechStarted(turn=event.turn, audio_milliseconds=event.audio_milliseconds)
        case lane.SpeechStopped():
            return protocol.SpeechStopped(turn=event.turn, audio_milliseconds=event.audio_milliseconds)
        case lane.TurnCommitted():
            return protocol.TurnCommitted(turn=event.turn)
        case lane.TextDelta():
            return protocol.TextDelta(turn=event.turn, text=event.text)
        case lane.TurnDone():
            return protocol.TurnDone(
                turn=event.turn,
                text=event.text,
                failure_class=event.failure_class,
                reason=event.reason,
                start_milliseconds=event.start_milliseconds,
                end_milliseconds=event.end_milliseconds,
                voiced_end_milliseconds=event.voiced_end_milliseconds,
                language=event.language,
                segments=event.segments,
                revisions=event.revisions,
                wait_milliseconds=event.wait_milliseconds,
                infer_milliseconds=event.infer_milliseconds,
            )
        case lane.SessionEnded():
            return protocol.Ended(
                failure_class=event.failure_class,
                reason=event.reason,
                audio_milliseconds=event.audio_milliseconds,
                wait_milliseconds=event.wait_milliseconds,
                infer_milliseconds=event.infer_milliseconds,
            )


def refused(error: VoxFleetError) -> protocol.Ended:
    """The end of a session that was never opened."""
    return protocol.Ended(
        failure_class=error.failure_class, reason=error.message, retry_after_seconds=error.retry_after_seconds
    )
