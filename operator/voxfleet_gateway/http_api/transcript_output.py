"""Writes a transcript to the client, whole or as it grows, and measures when its first line was written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from voxfleet_api.session_protocol import Ended, LatencyKind, TextDelta, TurnDone, TurnMeasured
from voxfleet_gateway.http_api.server_timing import SERVER_TIMING, server_timing
from voxfleet_gateway.http_api.streamed_body import StreamedBody
from voxfleet_gateway.http_api.transcript import Transcript
from voxfleet_gateway.http_api.transcript_answers import whole_answer
from voxfleet_gateway.http_api.transcript_streams import transcript_stream
from voxfleet_gateway.http_api.transcription_options import TranscriptionOptions, stream_form
from voxfleet_gateway.lane_session import LaneSession
from voxfleet_gateway.refusals import CallRefused
from voxfleet_gateway.turn_latency import RECORDING_ROUND_TRIPS, TurnStamps, turn_measured


class TranscriptOutput(Protocol):
    """Raises ClientStopped."""

    @property
    def has_begun(self) -> bool:
        """Until then the call may still be refused with a status."""
        ...

    async def delta(self, delta: TextDelta) -> None: ...

    async def turn(self, turn: TurnDone) -> None: ...

    async def end(self, ended: Ended) -> web.StreamResponse: ...

    async def fail(self, refusal: CallRefused) -> web.StreamResponse:
        """Of an answer that has begun."""
        ...


@dataclass(frozen=True, slots=True)
class UploadTimes:
    now_seconds: Callable[[], float]
    session: LaneSession
    last_byte_seconds: float
    asked_seconds: float
    """When the session was asked for."""
    sent_seconds: float
    """When the last byte was passed on."""

    def measured(self, told_seconds: float, infer_milliseconds: int) -> TurnMeasured:
        """As if the first line were written now."""
        was_opened_for_it = self.asked_seconds >= self.last_byte_seconds
        sent_seconds = self.asked_seconds if was_opened_for_it else self.sent_seconds
        return turn_measured(
            LatencyKind.UPLOADED_TEXT,
            TurnStamps(self.last_byte_seconds, sent_seconds, told_seconds, self.now_seconds()),
            round_trips=RECORDING_ROUND_TRIPS if was_opened_for_it else 1,
            tunnel_milliseconds=self.session.tunnel_milliseconds,
            infer_milliseconds=infer_milliseconds,
        )


class WholeTranscript:
    def __init__(
        self,
        request: web.Request,
        times: UploadTimes,
        options: TranscriptionOptions,
        *,
        endpoint_language: str | None,
        idle_seconds: float,
    ) -> None:
        self._body = StreamedBody(request, idle_seconds=idle_seconds)
        self._times = times
        self._options = options
        self._language = options.language or endpoint_language
        self._transcript = Transcript()

    @property
    def has_begun(self) -> bool:
        return self._body.has_begun

    async def delta(self, delta: TextDelta) -> None:
        self._transcript.add_delta(delta)

    async def turn(self, turn: TurnDone) -> None:
        self._transcript.add_turn(turn)

    async def end(self, ended: Ended) -> web.StreamResponse:
        told_seconds, infer = self._times.now_seconds(), self._transcript.infer_milliseconds
        answer = whole_answer(
            self._transcript,
            self._options.response_format,
            audio_milliseconds=ended.audio_milliseconds or self._transcript.end_milliseconds,
            language=self._language,
        )
        self._body.set_header("Content-Type", answer.content_type)
        self._body.set_header(SERVER_TIMING, server_timing(self._times.measured(told_seconds, infer)))
        self._body.set_length(len(answer.body))
        await self._body.write(answer.body)
        response = await self._body.finish()
        await self._times.session.measured(self._times.measured(told_seconds, infer))
        return response

    async def fail(self, refusal: CallRefused) -> web.StreamResponse:
        return self._body.cut_short()


class StreamedTranscript:
    def __init__(
        self, request: web.Request, times: UploadTimes, options: TranscriptionOptions, *, idle_seconds: float
    ) -> None:
        form = stream_form(request.headers.get("Accept", ""), options.response_format)
        self._times = times
        self._body = StreamedBody(request, idle_seconds=idle_seconds)
        self._body.set_header("Content-Type", f"{form}; charset=utf-8")
        self._stream = transcript_stream(form)
        self._transcript = Transcript()
        self._is_measured = False

    @property
    def has_begun(self) -> bool:
        return self._body.has_begun

    async def delta(self, delta: TextDelta) -> None:
        await self._write(self._stream.delta(self._transcript.add_delta(delta)))

    async def turn(self, turn: TurnDone) -> None:
        await self._write(self._stream.turn(self._transcript.add_turn(turn), turn))

    async def end(self, ended: Ended) -> web.StreamResponse:
        audio_milliseconds = ended.audio_milliseconds or self._transcript.end_milliseconds
        await self._write(self._stream.end(self._transcript, audio_milliseconds))
        return await self._body.finish()

    async def fail(self, refusal: CallRefused) -> web.StreamResponse:
        await self._body.write(self._stream.failure(refusal))
        return await self._body.finish()

    async def _write(self, written: bytes) -> None:
        if not written:
            return
        told_seconds = self._times.now_seconds()
        await self._body.write(written)
        if not self._is_measured:
            self._is_measured = True
            await self._times.session.measured(self._times.measured(told_seconds, self._transcript.infer_milliseconds))
