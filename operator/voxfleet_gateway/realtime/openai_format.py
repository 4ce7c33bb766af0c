"""`/v1/realtime`: the transcription sessions of OpenAI's realtime API. Pure.

The lane's session opens with what the client wants when its first audio comes. From then on the rate, the language and
the turn detection stay: an update that changes them is an error, and the session goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.session_protocol import OpenHearing, SpeechStarted, SpeechStopped, TextDelta, TurnCommitted, TurnDone
from voxfleet_gateway.realtime.endings import FAILED, Ending
from voxfleet_gateway.realtime.hearing_defaults import open_hearing, reserved_rate_hz
from voxfleet_gateway.realtime.openai_events import (
    AppendAudio,
    ClearAudio,
    CommitAudio,
    EventRefused,
    SessionUpdate,
    client_event,
    pcm_of,
)
from voxfleet_gateway.realtime.openai_items import Items
from voxfleet_gateway.realtime.openai_session import USUAL_RATE_HZ, new_session, updated
from voxfleet_gateway.realtime.pcm_samples import SAMPLE_BYTES, PcmSamples
from voxfleet_gateway.realtime.steps import Clear, Commit, Hear, Message, Open, Step, Steps, Tell, TurnEvent
from voxfleet_gateway.refusals import CallRefused

_LEAST_COMMITTED_MILLISECONDS = 1
_TRANSCRIPTION = "conversation.item.input_audio_transcription"


class OpenAiFormat:
    """A RealtimeFormat."""

    def __init__(
        self, endpoint: VoiceEndpoint, contract: VoiceContractSpec, model: str | None, new_id: Callable[[str], str]
    ) -> None:
        """`new_id`: another id at each call, with the prefix that it is given.

        Raises CallRefused(404) for a model that the endpoint does not serve.
        """
        self._endpoint = endpoint
        self._contract = contract
        self._session = new_session(endpoint, model)
        self._new_id = new_id
        self._session_id = new_id("sess")
        self._items = Items(lambda: new_id("item"))
        self._opened: OpenHearing | None = None
        self._samples = PcmSamples()
        self._uncommitted_samples = 0

    def reservation(self) -> OpenHearing:
        return open_hearing(
            self._endpoint,
            sample_rate_hz=reserved_rate_hz(self._contract, USUAL_RATE_HZ),
            detection=self._session.detection,
            language=None,
        )

    def greeting(self) -> Steps:
        return [self._event("session.created", session=self._session.told(self._session_id))]

    def client_said(self, message: str | bytes) -> Steps:
        try:
            event = client_event(message)
            match event:
                case SessionUpdate():
                    return self._updated(event)
                case AppendAudio():
                    return self._appended(self._samples.feed(pcm_of(event)))
                case CommitAudio():
                    return self._committed(event)
                case ClearAudio():
                    return self._cleared()
        except EventRefused as refused:
            return [self._error(refused.code, refused.message, param=refused.param, event_id=refused.event_id)]

    def lane_said(self, event: TurnEvent) -> Steps:
        item, is_new = self._items.of_turn(event.turn)
        steps: list[Step] = []
        if is_new:
            content = [{"type": "input_audio", "transcript": None}]
            message = {"id": item.id, "object": "realtime.item", "type": "message", "role": "user", "content": content}
            steps.append(self._event("conversation.item.added", previous_item_id=item.previous_id, item=message))
        match event:
            case SpeechStarted():
                told = self._event(
                    "input_audio_buffer.speech_started", audio_start_ms=event.audio_milliseconds, item_id=item.id
                )
            case SpeechStopped():
                told = self._event(
                    "input_audio_buffer.speech_stopped", audio_end_ms=event.audio_milliseconds, item_id=item.id
                )
            case TurnCommitted():
                self._items.commit(item)
                told = self._event("input_audio_buffer.committed", previous_item_id=item.previous_id, item_id=item.id)
            case TextDelta():
                told = self._event(f"{_TRANSCRIPTION}.delta", item_id=item.id, content_index=0, delta=event.text)
            case TurnDone():
                self._items.done(event.turn)
                told = self._transcript(event, item.id)
        return [*steps, told]

    def farewell(self, ending: Ending) -> Sequence[Message]:
        if not ending.is_failure:
            return []
        is_ours = ending.retryable or ending.close_code == FAILED
        told = self._error(
            ending.code,
            ending.message,
            param=ending.param,
            error_type="server_error" if is_ours else "invalid_request_error",
            retryable=ending.retryable,
        )
        return [told.message]

    def _updated(self, event: SessionUpdate) -> Steps:
        try:
            session = updated(self._session, event.session, self._endpoint, self._contract)
        except CallRefused as call:
            raise EventRefused(call.code, call.message, param=call.param, event_id=event.event_id) from call
        if self._opened is not None and session.opening(self._endpoint) != self._opened:
            raise EventRefused(
                "session_in_use",
                "the rate, the language and the turn detection stay as they were when the first audio came; open a new"
                " session for others",
                param="session.audio.input",
                event_id=event.event_id,
            )
        self._session = session
        return [self._event("session.updated", session=session.told(self._session_id))]

    def _appended(self, pcm: bytes) -> Steps:
        if not pcm:
            return []
        self._uncommitted_samples += len(pcm) // SAMPLE_BYTES
        if self._opened is not None:
            return [Hear(pcm)]
        self._opened = self._session.opening(self._endpoint)
        return [Open(self._opened), Hear(pcm)]

    def _committed(self, event: CommitAudio) -> Steps:
        """With turn detection only the lane knows whether a turn is open; without one, nothing happens."""
        milliseconds = self._uncommitted_samples * 1000 // self._session.rate_hz
        if milliseconds < _LEAST_COMMITTED_MILLISECONDS:
            raise EventRefused(
                "input_audio_buffer_commit_empty",
                "there is no audio to commit; send input_audio_buffer.append first",
                event_id=event.event_id,
            )
        self._uncommitted_samples = 0
        if not self._samples.drop_half():
            return [Commit()]
        told = "the audio ended within a sample of 16 bits; the turn is committed without that byte"
        return [Commit(), self._error("invalid_value", told, param="audio", event_id=event.event_id)]

    def _cleared(self) -> Steps:
        self._uncommitted_samples = 0
        self._samples.drop_half()
        told = self._event("input_audio_buffer.cleared")
        return [told] if self._opened is None else [Clear(), told]

    def _transcript(self, turn: TurnDone, item_id: str) -> Tell:
        if turn.failure_class is not None:
            error = {"type": "server_error", "code": str(turn.failure_class), "message": turn.reason, "param": None}
            return self._event(f"{_TRANSCRIPTION}.failed", item_id=item_id, content_index=0, error=error)
        seconds = (turn.end_milliseconds - turn.start_milliseconds) / 1000
        return self._event(
            f"{_TRANSCRIPTION}.completed",
            item_id=item_id,
            content_index=0,
            transcript=turn.text,
            usage={"type": "duration", "seconds": seconds},
        )

    def _error(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        event_id: str | None = None,
        error_type: str = "invalid_request_error",
        retryable: bool = False,
    ) -> Tell:
        error: Message = {"type": error_type, "code": code, "message": message, "param": param, "event_id": event_id}
        return self._event("error", error=error | {"retryable": True} if retryable else error)

    def _event(self, event_type: str, **fields: object) -> Tell:
        return Tell({"event_id": self._new_id("event"), "type": event_type, **fields})
