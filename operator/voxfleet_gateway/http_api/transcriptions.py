"""POST /v1/audio/transcriptions: a recording comes as a form, its transcript goes out whole or as it grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from aiohttp import web

from voxfleet_api.kinds.job_task import Task
from voxfleet_api.session_protocol import AudioTaken, Ended, OpenUpload, TextDelta, TurnDone
from voxfleet_gateway.api_call import ApiCall
from voxfleet_gateway.failure_refusals import refusal_of_failure
from voxfleet_gateway.http_api.call_time import session_time
from voxfleet_gateway.http_api.streamed_body import ClientStopped
from voxfleet_gateway.http_api.transcript_output import (
    StreamedTranscript,
    TranscriptOutput,
    UploadTimes,
    WholeTranscript,
)
from voxfleet_gateway.http_api.transcription_options import TranscriptionOptions, read_options
from voxfleet_gateway.http_api.upload import Upload
from voxfleet_gateway.http_api.upload_form import form_parts
from voxfleet_gateway.lane_session import LaneSession, SessionEvent
from voxfleet_gateway.refusals import CallRefused
from voxfleet_gateway.served_models import check_model
from voxfleet_gateway.served_task import check_task


async def transcribe(request: web.Request, call: ApiCall) -> web.StreamResponse:
    """Raises CallRefused."""
    check_task(call.endpoint, Task.TRANSCRIBE)
    limits = call.endpoint.spec.session
    parts = form_parts(request, max_file_bytes=limits.max_upload_bytes, idle_seconds=limits.idle_seconds)
    async with aclosing(parts):
        upload = Upload(parts, call.now_seconds)
        async with session_time(call):
            await upload.read_beginning()
        options = _checked_options(call, upload)
        opening = OpenUpload(max_bytes=limits.max_upload_bytes, extension=upload.extension, language=options.language)
        asked_seconds = call.now_seconds()
        async with call.open_session(opening) as session:
            sending = asyncio.create_task(_send(call, upload, session, options))
            try:
                return await _Transcription(request, call, upload, session, asked_seconds).answer(sending)
            finally:
                sending.cancel()
                await asyncio.wait({sending})


def _checked_options(call: ApiCall, upload: Upload) -> TranscriptionOptions:
    options = read_options(upload.fields)
    check_model(call.endpoint, options.model)
    return options


async def _send(call: ApiCall, upload: Upload, session: LaneSession, opened: TranscriptionOptions) -> float:
    """Returns when the last byte was passed on. Raises CallRefused, also for what comes behind the file."""
    async with aclosing(upload.chunks()) as chunks:
        async for chunk in chunks:
            await session.send_audio(chunk)
    if _checked_options(call, upload).language != opened.language:
        raise CallRefused(
            400, "field_too_late", "write language before file: the file was already on its way", param="language"
        )
    sent_seconds = call.now_seconds()
    await session.end_audio()
    return sent_seconds


@dataclass(frozen=True, slots=True)
class _Transcription:
    request: web.Request
    call: ApiCall
    upload: Upload
    session: LaneSession
    asked_seconds: float
    """When the session was asked for."""

    async def answer(self, sending: asyncio.Task[float]) -> web.StreamResponse:
        output: TranscriptOutput | None = None
        try:
            async with session_time(self.call), aclosing(_events(self.session, sending)) as events:
                async for event in events:
                    if output is None:
                        output = self._output(sending.result())
                    if isinstance(event, TextDelta):
                        await output.delta(event)
                    elif isinstance(event, TurnDone):
                        await output.turn(event)
                    elif isinstance(event, Ended):
                        return await output.end(event)
            raise AssertionError("a session's events end with Ended")
        except CallRefused as refusal:
            if output is None or not output.has_begun:
                raise
            return await output.fail(refusal)
        except ClientStopped as stopped:
            return stopped.response

    def _output(self, sent_seconds: float) -> TranscriptOutput:
        options = _checked_options(self.call, self.upload)
        spec = self.call.endpoint.spec
        times = UploadTimes(
            self.call.now_seconds, self.session, self.upload.last_byte_seconds, self.asked_seconds, sent_seconds
        )
        idle_seconds = spec.session.idle_seconds
        if options.stream:
            return StreamedTranscript(self.request, times, options, idle_seconds=idle_seconds)
        language = spec.transcription.language
        return WholeTranscript(self.request, times, options, endpoint_language=language, idle_seconds=idle_seconds)


async def _events(session: LaneSession, sending: asyncio.Task[float]) -> AsyncGenerator[SessionEvent, None]:
    """What the session tells, once the form has been read to its end, for until then nobody knows what is asked.

    A lane hears a file when it has all of it, so that next to nothing waits. Raises CallRefused for what the form has,
    and for what failed on the lane.
    """
    held: list[SessionEvent] = []
    events = session.events()
    while True:
        event = await _next_event(events, sending)
        if isinstance(event, TurnDone | Ended) and event.failure_class is not None:
            retry_after = event.retry_after_seconds if isinstance(event, Ended) else None
            raise refusal_of_failure(event.failure_class, event.reason, retry_after)
        if not isinstance(event, AudioTaken):  # as many as the upload is slow, and none of a caller's business
            held.append(event)
        if isinstance(event, Ended):
            await asyncio.wait({sending})
            sending.result()
        if sending.done():
            for told in held:
                yield told
            held.clear()
        if isinstance(event, Ended):
            return


async def _next_event(events: AsyncIterator[SessionEvent], sending: asyncio.Task[float]) -> SessionEvent:
    """Raises what ended the sending."""
    upcoming = asyncio.ensure_future(anext(events))
    try:
        while not upcoming.done():
            await asyncio.wait(
                {upcoming} if sending.done() else {upcoming, sending}, return_when=asyncio.FIRST_COMPLETED
            )
            if sending.done():
                sending.result()
        return upcoming.result()
    finally:
        if not upcoming.done():
            upcoming.cancel()
            await asyncio.wait({upcoming})
