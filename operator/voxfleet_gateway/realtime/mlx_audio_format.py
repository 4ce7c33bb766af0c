"""`/v1/audio/transcriptions/realtime` as mlx-audio's server speaks it. Pure.

The client sends a JSON config, then PCM16 in binary frames of any size, then `{"action": "stop"}`. Unlike there, stop
tells the tail's text, quiet frames count, deltas are only appended to, and the rate reaches the model. A turn's deltas,
one after the other, are the text of its `complete`; after stop, at least one more `complete` comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from http import HTTPStatus
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.session_protocol import OpenHearing, TextDelta, TurnDone
from voxfleet_gateway.realtime.endings import Ending, refused
from voxfleet_gateway.realtime.hearing_defaults import check_rate, default_detection, open_hearing, reserved_rate_hz
from voxfleet_gateway.realtime.pcm_samples import PcmSamples
from voxfleet_gateway.realtime.steps import Close, End, Hear, Message, Open, Step, Steps, Tell, TurnEvent
from voxfleet_gateway.realtime.strict_json import first_error
from voxfleet_gateway.refusals import CallRefused
from voxfleet_gateway.served_models import check_model

USUAL_RATE_HZ = 16_000


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    model: str | None = None
    language: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    sample_rate: Annotated[int, Field(ge=4_000, le=384_000)] = USUAL_RATE_HZ
    streaming: bool = True


class _Stop(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    action: Literal["stop"]


class _Phase(Enum):
    BEGINS = auto()
    LISTENS = auto()
    STOPPED = auto()


class MlxAudioFormat:
    """A RealtimeFormat."""

    def __init__(self, endpoint: VoiceEndpoint, contract: VoiceContractSpec) -> None:
        self._endpoint = endpoint
        self._contract = contract
        self._config = _Config()
        self._samples = PcmSamples()
        self._phase = _Phase.BEGINS
        self._tail_told = False

    def reservation(self) -> OpenHearing:
        return self._opening(reserved_rate_hz(self._contract, USUAL_RATE_HZ))

    def greeting(self) -> Steps:
        return ()

    def client_said(self, message: str | bytes) -> Steps:
        if self._phase is _Phase.STOPPED:
            return []
        if self._phase is _Phase.BEGINS:
            return self._configured(message)
        if isinstance(message, str):
            return self._told_to_stop(message)
        pcm = self._samples.feed(message)
        return [Hear(pcm)] if pcm else []

    def lane_said(self, event: TurnEvent) -> Steps:
        match event:
            case TextDelta() if self._config.streaming:
                return [Tell({"type": "delta", "delta": event.text})]
            case TurnDone():
                self._tail_told = self._phase is _Phase.STOPPED
                return [Tell(self._turn(event))]
            case _:
                return []

    def farewell(self, ending: Ending) -> Sequence[Message]:
        if ending.is_failure:
            return [_error(ending.message, ending.code, retryable=ending.retryable)]
        if self._phase is _Phase.STOPPED and not self._tail_told:
            return [self._text("", self._config.language, None, None)]
        return []

    def _configured(self, message: str | bytes) -> Steps:
        try:
            config = _config_of(message)
            check_model(self._endpoint, config.model)
            check_rate(self._contract, config.sample_rate, "sample_rate")
        except CallRefused as call:
            return [Close(refused(call))]
        self._config, self._phase = config, _Phase.LISTENS
        steps: list[Step] = [Open(self._opening(config.sample_rate))]
        return [*steps, Tell({"status": "ready", "message": "Ready to transcribe"})]

    def _told_to_stop(self, message: str) -> Steps:
        try:
            _Stop.model_validate_json(message)
        except ValidationError as error:
            return [Tell(_error(f"{first_error(error)}; send audio or {{'action': 'stop'}}", "invalid_value"))]
        self._phase = _Phase.STOPPED
        return [End()]

    def _opening(self, sample_rate_hz: int) -> OpenHearing:
        return open_hearing(
            self._endpoint,
            sample_rate_hz=sample_rate_hz,
            detection=default_detection(self._endpoint),
            language=self._config.language,
            partials=self._config.streaming,
        )

    def _turn(self, turn: TurnDone) -> Message:
        if turn.failure_class is not None:
            return _error(turn.reason or str(turn.failure_class), str(turn.failure_class))
        language = turn.language or self._config.language
        return self._text(turn.text, language, turn.start_milliseconds / 1000, turn.end_milliseconds / 1000)

    def _text(self, text: str, language: str | None, start: float | None, end: float | None) -> Message:
        """`start` and `end` in seconds from the session's first sample; mlx-audio's server does not tell them."""
        message: Message = {"type": "complete"} if self._config.streaming else {}
        return message | {
            "text": text,
            "segments": None,
            "language": language,
            "is_partial": False,
            "start": start,
            "end": end,
        }


def _config_of(message: str | bytes) -> _Config:
    """Raises CallRefused(400)."""
    if isinstance(message, bytes):
        raise CallRefused(
            HTTPStatus.BAD_REQUEST,
            "invalid_value",
            "audio came first; send a JSON config such as {'model': 'NAME'} first",
        )
    try:
        return _Config.model_validate_json(message)
    except ValidationError as error:
        raise CallRefused(HTTPStatus.BAD_REQUEST, "invalid_value", f"the config's {first_error(error)}") from error


def _error(message: str, code: str, *, retryable: bool = False) -> Message:
    return {"error": message, "status": "error", "code": code, "retryable": retryable}
