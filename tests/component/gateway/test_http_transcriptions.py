"""Recordings over HTTP, against a lane that the test leads."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import openai
import pytest
from openai.types.audio import TranscriptionTextDeltaEvent, TranscriptionTextDoneEvent
from tests.rig.fake_lane_session import FakeLane, FakeLaneSession
from tests.rig.served_endpoint import ServedEndpoint, contract_spec, serving, voice_endpoint

from voxfleet_api.failures import FailureClass
from voxfleet_api.rows import TimedText
from voxfleet_api.session_protocol import EndAudio, Ended, LatencyKind, OpenUpload, TextDelta, TurnDone
from voxfleet_gateway.http_api import ROUTES
from voxfleet_gateway.http_api.upload import HELD_BYTES
from voxfleet_gateway.refusals import CallRefused

pytestmark = pytest.mark.component

PATH = "/v1/audio/transcriptions"
RECORDING = bytes(range(256)) * 20

TWO_PIECES = (
    TextDelta(turn=0, text="left"),
    TurnDone(
        turn=0,
        text="left",
        end_milliseconds=30_000,
        language="en",
        segments=(TimedText(start_milliseconds=500, end_milliseconds=900, text="left"),),
        infer_milliseconds=3,
    ),
    TextDelta(turn=1, text="right"),
    TurnDone(turn=1, text="right", start_milliseconds=30_000, end_milliseconds=31_000, infer_milliseconds=4),
    Ended(audio_milliseconds=31_500),
)
Script = Callable[[FakeLaneSession], Awaitable[None]]


@pytest.fixture
def lane() -> FakeLane:
    return FakeLane()


@pytest.fixture
def served(lane: FakeLane) -> ServedEndpoint:
    return ServedEndpoint(voice_endpoint(session={"maxUploadBytes": 3 * 2**20}), contract_spec(), lane)


@pytest.fixture
async def address(served: ServedEndpoint) -> AsyncIterator[str]:
    async with serving(served, ROUTES) as address:
        yield address + PATH


@asynccontextmanager
async def hearing(lane: FakeLane, script: Script) -> AsyncIterator[asyncio.Task[None]]:
    """The next session is led by the script while the client calls."""

    async def lead() -> None:
        await script(await lane.next_session())

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        yield tasks.create_task(lead())


async def file_of(session: FakeLaneSession) -> bytes:
    """All bytes of the file that comes."""
    file = b""
    while isinstance(piece := await session.sent.get(), bytes):
        file += piece
    assert piece == EndAudio()
    return file


async def two_pieces(session: FakeLaneSession) -> None:
    assert await file_of(session) == RECORDING
    session.tell(*TWO_PIECES)


def form(*fields: tuple[str, str], file: bytes = RECORDING, name: str = "clip.WAV") -> aiohttp.FormData:
    """As the guide's curl command sends it: the file first."""
    data = aiohttp.FormData()
    data.add_field("file", io.BytesIO(file), filename=name, content_type="audio/wav")
    for field, value in fields:
        data.add_field(field, value)
    return data


async def answered(address: str, data: aiohttp.FormData, **headers: str) -> tuple[int, str, str]:
    """Status, content type and body."""
    async with aiohttp.ClientSession() as client, client.post(address, data=data, headers=headers) as response:
        return response.status, response.content_type, await response.text()


async def test_the_guides_curl_command_gets_lines(lane: FakeLane, address: str) -> None:
    async with hearing(lane, two_pieces):
        status, content_type, body = await answered(address, form(("model", "whisper-1"), ("stream", "true")))
    assert (status, content_type) == (200, "application/x-ndjson")
    lines = [json.loads(line) for line in body.splitlines()]
    assert lines == [
        {"text": "left", "start": 0.0, "end": 30.0, "is_final": False, "language": "en"},
        {"text": " right", "start": 30.0, "end": 31.0, "is_final": False, "language": None},
        {"text": "", "start": 31.5, "end": 31.5, "is_final": True, "language": "en"},
    ]
    assert "".join(line["text"] for line in lines) == "left right"
    assert lane.sessions[0].measurements.qsize() == 1


async def test_a_small_file_opens_its_session_with_what_comes_behind_it(lane: FakeLane, address: str) -> None:
    async with hearing(lane, two_pieces):
        assert (await answered(address, form(("language", "de"))))[0] == 200
    assert lane.sessions[0].request == OpenUpload(max_bytes=3 * 2**20, extension="wav", language="de")
    measured = lane.sessions[0].measurements.get_nowait()
    assert measured.latency is LatencyKind.UPLOADED_TEXT
    assert lane.sessions[0].measurements.empty() and lane.open_sessions == 0


@pytest.mark.parametrize(
    ("response_format", "content_type", "expected"),
    [
        ("json", "application/json", '{"text": "left right"}'),
        ("text", "text/plain", "left right\n"),
        (
            "srt",
            "application/x-subrip",
            "1\n00:00:00,500 --> 00:00:01,333\nleft\n\n2\n00:00:30,000 --> 00:00:31,000\nright\n\n",
        ),
        ("vtt", "text/vtt", "WEBVTT\n\n00:00:00.500 --> 00:00:01.333\nleft\n\n00:00:30.000 --> 00:00:31.000\nright\n"),
    ],
)
async def test_a_whole_transcript_comes_in_each_format(
    response_format: str, content_type: str, expected: str, lane: FakeLane, address: str
) -> None:
    async with hearing(lane, two_pieces):
        answer = await answered(address, form(("response_format", response_format)))
    assert answer == (200, content_type, expected)


async def test_a_whole_transcript_says_where_its_time_went(lane: FakeLane, address: str) -> None:
    async with (
        hearing(lane, two_pieces),
        aiohttp.ClientSession() as client,
        client.post(address, data=form()) as response,
    ):
        timing = response.headers["Server-Timing"]
    assert [part.split(";")[0] for part in timing.split(", ")] == ["gateway", "tunnel", "wait", "infer"]


class TestOpenAiClient:
    @pytest.fixture
    async def client(self, address: str) -> AsyncIterator[openai.AsyncOpenAI]:
        base = address.removesuffix("/audio/transcriptions")
        async with openai.AsyncOpenAI(base_url=base, api_key="not looked at here", max_retries=0) as client:
            yield client

    async def test_gets_a_transcript(self, client: openai.AsyncOpenAI, lane: FakeLane) -> None:
        async with hearing(lane, two_pieces):
            transcription = await client.audio.transcriptions.create(
                model="whisper-1", file=("clip.wav", RECORDING), prompt="", temperature=0
            )
        assert transcription.text == "left right"

    async def test_gets_times(self, client: openai.AsyncOpenAI, lane: FakeLane) -> None:
        async with hearing(lane, two_pieces):
            transcription = await client.audio.transcriptions.create(
                model="whisper-1",
                file=("clip.wav", RECORDING),
                response_format="verbose_json",
                timestamp_granularities=["segment"],
            )
        assert (transcription.language, transcription.duration) == ("en", 31.5)
        assert transcription.segments is not None
        assert [(segment.start, segment.end, segment.text) for segment in transcription.segments] == [
            (0.5, 0.9, "left"),
            (30.0, 31.0, "right"),
        ]

    async def test_gets_events(self, client: openai.AsyncOpenAI, lane: FakeLane) -> None:
        async with hearing(lane, two_pieces):
            stream = await client.audio.transcriptions.create(
                model="whisper-1", file=("clip.wav", RECORDING), stream=True
            )
            events = [event async for event in stream]
        deltas = [event.delta for event in events if isinstance(event, TranscriptionTextDeltaEvent)]
        assert deltas == ["left", " right"]
        assert isinstance(events[-1], TranscriptionTextDoneEvent)
        assert events[-1].text == "left right"

    async def test_is_told_of_a_late_failure(self, client: openai.AsyncOpenAI, lane: FakeLane) -> None:
        async with hearing(lane, failing_late):
            stream = await client.audio.transcriptions.create(
                model="whisper-1", file=("clip.wav", RECORDING), stream=True
            )
            with pytest.raises(openai.APIError, match="LaneCrashed: its child ended"):
                [event async for event in stream]

    async def test_is_told_which_field_is_wrong(self, client: openai.AsyncOpenAI) -> None:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.audio.transcriptions.create(
                model="whisper-1", file=("clip.wav", RECORDING), prompt="the words of the song"
            )
        assert refused.value.param == "prompt"


async def failing_late(session: FakeLaneSession) -> None:
    await file_of(session)
    session.tell(*TWO_PIECES[:2], Ended(failure_class=FailureClass.LANE_CRASHED, reason="its child ended"))


async def test_the_last_line_of_a_late_failure_is_an_error(lane: FakeLane, address: str) -> None:
    async with hearing(lane, failing_late):
        status, _, body = await answered(address, form(("stream", "true")))
    lines = [json.loads(line) for line in body.splitlines()]
    assert (status, lines[0]["text"]) == (200, "left")
    assert lines[1]["error"]["code"] == "lane_crashed"


async def test_a_piece_that_fails_ends_the_transcript_with_its_class(lane: FakeLane, address: str) -> None:
    async def script(session: FakeLaneSession) -> None:
        session.tell(TurnDone(turn=0, failure_class=FailureClass.TRUNCATED_OUTPUT, reason="cut short twice"))

    async with hearing(lane, script):
        status, _, body = await answered(address, form(("stream", "true")))
    assert (status, json.loads(body)["error"]["code"]) == (422, "truncated_output")
    assert lane.open_sessions == 0


@pytest.mark.parametrize(
    ("failure_class", "expected"),
    [
        (FailureClass.DECODE_ERROR, 422),
        (FailureClass.CONTRACT_VIOLATION, 422),
        (FailureClass.THROTTLED, 429),
        (FailureClass.TRANSPORT, 503),
    ],
)
async def test_a_failure_before_the_first_byte_is_a_status(
    failure_class: FailureClass, expected: int, lane: FakeLane, address: str
) -> None:
    async def script(session: FakeLaneSession) -> None:
        session.tell(Ended(failure_class=failure_class, reason="no"))

    async with hearing(lane, script):
        status, _, body = await answered(address, form(("stream", "true")))
    assert status == expected
    assert json.loads(body)["error"]["message"] == f"{failure_class}: no"


async def test_a_lane_that_has_no_room_refuses_the_call(lane: FakeLane, address: str) -> None:
    lane.refusals.append(CallRefused(429, "no_room", "all lanes are taken"))
    assert (await answered(address, form()))[0] == 429


class TestLargeFiles:
    """Those that are on their way before the form has ended."""

    large = bytes(2 * HELD_BYTES)

    async def test_go_on_while_the_form_still_comes(self, lane: FakeLane, address: str) -> None:
        begun = asyncio.Event()

        async def parts() -> AsyncIterator[bytes]:
            yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.flac"\r\n\r\n' + self.large
            await begun.wait()
            yield b'\r\n--b\r\nContent-Disposition: form-data; name="stream"\r\n\r\ntrue\r\n--b--\r\n'

        async def script(session: FakeLaneSession) -> None:
            first = await session.sent.get()
            session.tell(*TWO_PIECES[:2])
            begun.set()
            assert isinstance(first, bytes) and first + await file_of(session) == self.large
            session.tell(*TWO_PIECES[2:])

        async with hearing(lane, script), aiohttp.ClientSession() as client:
            headers = {"Content-Type": "multipart/form-data; boundary=b"}
            async with client.post(address, data=parts(), headers=headers) as response:
                lines = [json.loads(line) async for line in response.content]
        assert response.content_type == "application/x-ndjson"
        assert [line["text"] for line in lines] == ["left", " right", ""]

    @pytest.mark.parametrize(
        ("field", "value", "status"),
        [("language", "de", 400), ("model", "another", 404), ("prompt", "words", 400), ("file", "again", 400)],
    )
    async def test_are_refused_for_what_comes_too_late(
        self, field: str, value: str, status: int, lane: FakeLane, address: str
    ) -> None:
        async def script(session: FakeLaneSession) -> None:
            await session.left.wait()

        async with hearing(lane, script):
            answer = await answered(address, form((field, value), file=self.large))
        assert answer[0] == status
        assert lane.open_sessions == 0

    async def test_beyond_what_the_endpoint_allows_are_refused(self, lane: FakeLane, address: str) -> None:
        async def script(session: FakeLaneSession) -> None:
            await session.left.wait()

        async with hearing(lane, script):
            answer = await answered(address, form(file=bytes(4 * 2**20)))
        assert answer[0] == 413


async def test_a_gateway_that_is_stopped_tells_its_callers(
    lane: FakeLane, served: ServedEndpoint, address: str
) -> None:
    async def script(session: FakeLaneSession) -> None:
        await file_of(session)
        served.closing.set()
        await session.left.wait()

    async with hearing(lane, script):
        status, _, body = await answered(address, form())
    assert (status, json.loads(body)["error"]["code"]) == (503, "draining")


async def test_a_call_that_takes_too_long_is_refused(lane: FakeLane, served: ServedEndpoint, address: str) -> None:
    served.now_seconds = lambda: 100_000.0 if lane.sessions else 0.0

    async def script(session: FakeLaneSession) -> None:
        await session.left.wait()

    async with hearing(lane, script):
        status, _, body = await answered(address, form())
    assert (status, json.loads(body)["error"]["code"]) == (408, "session_too_long")


async def test_a_client_that_closes_ends_its_session(lane: FakeLane, address: str) -> None:
    async def script(session: FakeLaneSession) -> None:
        await file_of(session)
        calling.cancel()
        await session.left.wait()

    async with hearing(lane, script):
        calling = asyncio.create_task(answered(address, form()))
    with pytest.raises(asyncio.CancelledError):
        await calling
