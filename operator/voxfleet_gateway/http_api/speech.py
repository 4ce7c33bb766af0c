"""POST /v1/audio/speech: a text comes as JSON, speech goes out whole or as it is made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from aiohttp import web

from voxfleet_api.kinds.job_task import Task
from voxfleet_api.session_protocol import SAMPLE_BYTES, Ended, LatencyKind, OpenSpeaking, TurnMeasured
from voxfleet_gateway.api_call import ApiCall
from voxfleet_gateway.failure_refusals import refusal_of_failure
from voxfleet_gateway.held_bytes import Holder
from voxfleet_gateway.http_api.call_time import session_time
from voxfleet_gateway.http_api.server_timing import SERVER_TIMING, server_timing
from voxfleet_gateway.http_api.speech_encodings import SpeechEncoding, speech_encoding
from voxfleet_gateway.http_api.speech_options import SpeechOptions, read_options
from voxfleet_gateway.http_api.streamed_body import ClientStopped, StreamedBody
from voxfleet_gateway.lane_session import LaneSession
from voxfleet_gateway.refusals import CallRefused
from voxfleet_gateway.served_models import check_model
from voxfleet_gateway.served_task import check_task
from voxfleet_gateway.turn_latency import SPEECH_ROUND_TRIPS, Playback, TurnStamps, turn_measured

MAX_CALL_BYTES = 2**20
STREAMED_WINDOW_BYTES = 2**18
"""How far the lane may be ahead of a listener: five seconds at 24 kHz."""
WHOLE_WINDOW_BYTES = 2**20
MAX_WHOLE_BYTES = 2**25
"""Of speech that is held until it is whole: eleven minutes at 24 kHz."""
HELD_RETRY_SECONDS = 5.0


async def speak(request: web.Request, call: ApiCall) -> web.StreamResponse:
    """Raises CallRefused."""
    check_task(call.endpoint, Task.SYNTHESIZE)
    options = read_options(await _body(request, call.endpoint.spec.session.idle_seconds))
    check_model(call.endpoint, options.model)
    asked_seconds = call.now_seconds()
    async with call.open_session(_opening(options)) as session:
        encoding = speech_encoding(options.response_format, session.sample_rate_hz)
        body = StreamedBody(request, idle_seconds=call.endpoint.spec.session.idle_seconds)
        body.set_header("Content-Type", encoding.content_type)
        try:
            async with session_time(call), aclosing(_speech(session)) as speech:
                if options.stream:
                    return await _stream(call, session, body, speech, encoding, asked_seconds)
                with call.held_answers.holder() as held:
                    return await _whole(session, body, speech, encoding, held)
        except CallRefused:
            if body.has_begun:
                return body.cut_short()
            raise
        except ClientStopped as stopped:
            return stopped.response


def _opening(options: SpeechOptions) -> OpenSpeaking:
    return OpenSpeaking(
        text=options.text,
        voice=options.voice,
        instruction=options.instruction,
        language=options.language,
        speed_percent=options.speed_percent,
        interval_milliseconds=options.interval_milliseconds,
        window_bytes=STREAMED_WINDOW_BYTES if options.stream else WHOLE_WINDOW_BYTES,
    )


async def _body(request: web.Request, idle_seconds: float) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(idle_seconds):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > MAX_CALL_BYTES:
                    raise CallRefused(413, "body_too_large", f"the body is longer than {MAX_CALL_BYTES} bytes")
    except TimeoutError:
        raise CallRefused(408, "body_too_slow", f"the body took longer than {idle_seconds:g} s; try again") from None
    return bytes(body)


async def _speech(session: LaneSession) -> AsyncGenerator[bytes | Ended, None]:
    """Raises CallRefused for what failed on the lane."""
    async for event in session.events():
        if isinstance(event, Ended) and event.failure_class is not None:
            raise refusal_of_failure(event.failure_class, event.reason, event.retry_after_seconds)
        if isinstance(event, bytes | Ended):
            yield event


async def _whole(
    session: LaneSession,
    body: StreamedBody,
    speech: AsyncIterator[bytes | Ended],
    encoding: SpeechEncoding,
    held: Holder,
) -> web.StreamResponse:
    encoded: list[bytes] = []
    pcm_bytes = 0
    async for event in speech:
        if isinstance(event, Ended):
            break
        pcm_bytes += len(event)
        if pcm_bytes > MAX_WHOLE_BYTES:
            raise CallRefused(422, "speech_too_long", "so much speech is not held whole; ask for it with stream")
        if not held.take(len(event)):
            raise CallRefused(
                503,
                "gateway_full",
                "this gateway holds as much whole speech as it can; ask for it with stream, or again later",
                retry_after_seconds=HELD_RETRY_SECONDS,
            )
        encoded.append(encoding.take(event))
        await session.heard(len(event))
    encoded = [encoding.header(pcm_bytes), *encoded, encoding.rest()]
    body.set_length(sum(map(len, encoded)))
    for part in encoded:
        await body.write(part)
    return await body.finish()


async def _stream(
    call: ApiCall,
    session: LaneSession,
    body: StreamedBody,
    speech: AsyncIterator[bytes | Ended],
    encoding: SpeechEncoding,
    asked_seconds: float,
) -> web.StreamResponse:
    """A chunk counts as heard once the client took it, so that one who stops reading stops the lane."""
    playback, first, infer_milliseconds = Playback(), None, 0
    awaited_seconds = call.now_seconds()
    try:
        async for event in speech:
            came_seconds = call.now_seconds()
            if isinstance(event, Ended):
                infer_milliseconds = event.infer_milliseconds
                await body.write((b"" if body.has_begun else encoding.header(None)) + encoding.rest())
                return await body.finish()
            if first is None:
                known = _measured(TurnStamps(call.received_seconds, asked_seconds, came_seconds, came_seconds), session)
                body.set_header(SERVER_TIMING, server_timing(known, knows_infer=False))
            await body.write((b"" if body.has_begun else encoding.header(None)) + encoding.take(event))
            await session.heard(len(event))
            playback = playback.with_chunk(
                awaited_seconds=awaited_seconds,
                came_seconds=came_seconds,
                audio_seconds=len(event) / SAMPLE_BYTES / session.sample_rate_hz,
            )
            awaited_seconds = call.now_seconds()
            if first is None:
                first = TurnStamps(call.received_seconds, asked_seconds, came_seconds, awaited_seconds)
    finally:
        if first is not None:  # however it ended: a listener who gives up has waited, too
            await session.measured(_measured(first, session, infer_milliseconds, playback.stalls))
    raise AssertionError("a session's events end with Ended")


def _measured(stamps: TurnStamps, session: LaneSession, infer_milliseconds: int = 0, stalls: int = 0) -> TurnMeasured:
    return turn_measured(
        LatencyKind.FIRST_AUDIO,
        stamps,
        tunnel_milliseconds=session.tunnel_milliseconds,
        infer_milliseconds=infer_milliseconds,
        round_trips=SPEECH_ROUND_TRIPS,
        stalls=stalls,
    )
