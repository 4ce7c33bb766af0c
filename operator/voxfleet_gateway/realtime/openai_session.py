"""How a session of OpenAI's realtime API hears, and what an update makes of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.session_protocol import OpenHearing, VoiceActivity
from voxfleet_gateway.realtime.hearing_defaults import check_rate, default_detection, open_hearing
from voxfleet_gateway.realtime.openai_events import AudioFormat, ServerVad, SessionFields
from voxfleet_gateway.realtime.steps import Message
from voxfleet_gateway.served_models import check_model

USUAL_RATE_HZ = 24_000
_RATE = "session.audio.input.format.rate"


@dataclass(frozen=True, slots=True)
class RealtimeSession:
    model: str
    """By the name that the client asks for it."""
    rate_hz: int
    language: str | None
    detection: VoiceActivity | None

    def opening(self, endpoint: VoiceEndpoint) -> OpenHearing:
        return open_hearing(endpoint, sample_rate_hz=self.rate_hz, detection=self.detection, language=self.language)

    def told(self, session_id: str) -> Message:
        """As session.created and session.updated have it."""
        return {
            "id": session_id,
            "object": "realtime.transcription_session",
            "type": "transcription",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": self.rate_hz},
                    "noise_reduction": None,
                    "transcription": {"model": self.model, "language": self.language},
                    "turn_detection": None if self.detection is None else _server_vad(self.detection),
                }
            },
        }


def new_session(endpoint: VoiceEndpoint, model: str | None) -> RealtimeSession:
    """Raises CallRefused(404) for a model that the endpoint does not serve."""
    check_model(endpoint, model)
    return RealtimeSession(model or endpoint.metadata.name, USUAL_RATE_HZ, None, default_detection(endpoint))


def updated(
    session: RealtimeSession, fields: SessionFields, endpoint: VoiceEndpoint, contract: VoiceContractSpec
) -> RealtimeSession:
    """What is absent stays as it is. Raises CallRefused for a model or a rate that is not served."""
    audio = fields.audio.input
    transcription = audio.transcription
    model = transcription.model or fields.model
    check_model(endpoint, model)
    new = replace(session, model=model or session.model)
    if "language" in transcription.model_fields_set:
        new = replace(new, language=transcription.language)
    if isinstance(audio.format, AudioFormat):
        new = replace(new, rate_hz=audio.format.rate or USUAL_RATE_HZ)
        check_rate(contract, new.rate_hz, _RATE)
    if "turn_detection" in audio.model_fields_set:
        wanted = audio.turn_detection
        new = replace(new, detection=None if wanted is None else _detection(wanted, default_detection(endpoint)))
    return new


def _detection(wanted: ServerVad, default: VoiceActivity | None) -> VoiceActivity:
    """What the client leaves out is as the endpoint says, or as OpenAI's API has it where that detects nothing."""
    base = default or VoiceActivity(threshold_percent=50, prefix_padding_milliseconds=300, silence_milliseconds=500)
    padding, silence = wanted.prefix_padding_ms, wanted.silence_duration_ms
    return VoiceActivity(
        threshold_percent=base.threshold_percent if wanted.threshold is None else round(wanted.threshold * 100),
        prefix_padding_milliseconds=base.prefix_padding_milliseconds if padding is None else padding,
        silence_milliseconds=base.silence_milliseconds if silence is None else silence,
    )


def _server_vad(detection: VoiceActivity) -> Message:
    return {
        "type": "server_vad",
        "threshold": detection.threshold_percent / 100,
        "prefix_padding_ms": detection.prefix_padding_milliseconds,
        "silence_duration_ms": detection.silence_milliseconds,
    }
