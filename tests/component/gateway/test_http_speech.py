"""Speech over HTTP, against a lane that the test leads."""

from __future__ import annotations

import asyncio
import io
import json
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import mlx_audio_io  # type: ignore[import-untyped] # it ships no types
import numpy as np
import openai
import pytest
from tests.rig.fake_lane_session import FakeLane, FakeLaneSession
from tests.rig.served_endpoint import ServedEndpoint, contract_spec, serving, voice_endpoint
from yarl import URL

from voxfleet_api.failures import FailureClass
from voxfleet_api.session_protocol import Ended, LatencyKind, OpenSpeaking
from voxfleet_gateway.held_bytes import HeldBytes
from voxfleet_gateway.http_api import ROUTES

pytestmark = pytest.mark.component

PATH = "/v1/audio/speech"
RATE_HZ = 24_000
CHUNKS = tuple((np.sin(np.arange(size) / 7) * 9000).astype("<i2").tobytes() for size in (24_000, 24_000, 1, 7_919))
"""The third one is a single sample."""
PCM = b"".join(CHUNKS)
GUIDE = {
    "model": "mlx-community/Kokoro-82M-bf16",
    "input": "Streaming over HTTP!",
    "voice": "af_heart",
    "stream": True,
    "streaming_interval": 2.0,
    "response_format": "wav",
}
Script = Callable[[FakeLaneSession], Awaitable[None]]


@pytest.fixture
def lane() -> FakeLane:
    return FakeLane(RATE_HZ)


@pytest.fixture
def served(lane: FakeLane) -> ServedEndpoint:
    endpoint = voice_endpoint(
        task="Synthesize", synthesis={"voice": "af_heart"}, aliases=["tts-1", "mlx-community/Kokoro-82M-bf16"]
    )
    return ServedEndpoint(endpoint, contract_spec(), lane)


@pytest.fixture
async def address(served: ServedEndpoint) -> AsyncIterator[str]:
    async with serving(served, ROUTES) as address:
        yield address


@asynccontextmanager
async def speaking(lane: FakeLane, script: Script) -> AsyncIterator[None]:
    """The next session is led by the script while the client calls."""

    async def lead() -> None:
        await script(await lane.next_session())

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(lead())
        yield


async def all_chunks(session: FakeLaneSession) -> None:
    session.tell(*CHUNKS, Ended(audio_milliseconds=2330, infer_milliseconds=5))


async def spoken(address: str, **call: object) -> tuple[int, str, bytes]:
    """Status, content type and body."""
    async with aiohttp.ClientSession() as client, client.post(address + PATH, json=call) as response:
        return response.status, response.content_type, await response.read()


async def test_the_guides_curl_command_gets_one_file(lane: FakeLane, address: str, tmp_path: Path) -> None:
    async with speaking(lane, all_chunks):
        status, content_type, body = await spoken(address, **GUIDE)
    assert (status, content_type) == (200, "audio/wav")
    assert body.count(b"RIFF") == 1 and body[44:] == PCM
    file = tmp_path / "streamed_speech.wav"
    file.write_bytes(body)
    samples, rate_hz = mlx_audio_io.load(str(file), dtype="float32")
    assert rate_hz == RATE_HZ
    expected = np.frombuffer(PCM, "<i2") / np.float32(32768)
    np.testing.assert_array_equal(np.array(samples).reshape(-1), expected)


@pytest.mark.parametrize("stream", [False, True])
async def test_flac_has_all_samples(stream: bool, lane: FakeLane, address: str, tmp_path: Path) -> None:
    async with speaking(lane, all_chunks):
        status, content_type, body = await spoken(address, **{**GUIDE, "stream": stream, "response_format": "flac"})
    assert (status, content_type) == (200, "audio/flac")
    file = tmp_path / "speech.flac"
    file.write_bytes(body)
    samples, rate_hz = mlx_audio_io.load(str(file), dtype="float32")
    assert rate_hz == RATE_HZ
    np.testing.assert_array_equal(np.array(samples).reshape(-1), np.frombuffer(PCM, "<i2") / np.float32(32768))


async def test_what_is_asked_reaches_the_lane(lane: FakeLane, address: str) -> None:
    async with speaking(lane, all_chunks):
        await spoken(address, **GUIDE, speed=1.25, lang_code="a", instruct="calmly")
    assert lane.sessions[0].request == OpenSpeaking(
        text="Streaming over HTTP!",
        voice="af_heart",
        instruction="calmly",
        language="a",
        speed_percent=125,
        interval_milliseconds=2000,
        window_bytes=2**18,
    )


async def test_a_stream_is_measured_and_counted_as_heard(lane: FakeLane, address: str) -> None:
    async with speaking(lane, all_chunks):
        await spoken(address, **GUIDE)
    session = lane.sessions[0]
    assert session.heard_bytes == len(PCM)
    measured = session.measurements.get_nowait()
    assert measured.latency is LatencyKind.FIRST_AUDIO
    assert session.measurements.empty() and lane.open_sessions == 0


async def test_a_listener_who_gives_up_has_waited_and_is_measured(lane: FakeLane, address: str) -> None:
    async def first_chunk_alone(session: FakeLaneSession) -> None:
        session.tell(CHUNKS[0])

    async with speaking(lane, first_chunk_alone), aiohttp.ClientSession() as client:
        response = await client.post(address + PATH, json=GUIDE)
        await response.content.readany()
        response.close()
        session = lane.sessions[0]
        session.tell(*CHUNKS, Ended(failure_class=FailureClass.TRANSPORT, reason="the Mac is gone"))
        assert (await session.measurements.get()).latency is LatencyKind.FIRST_AUDIO


async def test_speech_is_whole_unless_it_is_to_be_streamed(lane: FakeLane, address: str) -> None:
    async with (
        speaking(lane, all_chunks),
        aiohttp.ClientSession() as client,
        client.post(address + PATH, json={"input": "whole"}) as response,
    ):
        assert int(response.headers["Content-Length"]) == 44 + len(PCM)
        body = await response.read()
    with wave.open(io.BytesIO(body)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE_HZ, 1, 2)
        assert file.readframes(file.getnframes()) == PCM
    assert lane.sessions[0].measurements.empty()


async def test_a_failure_before_the_first_sound_is_a_status(lane: FakeLane, address: str) -> None:
    async def script(session: FakeLaneSession) -> None:
        session.tell(Ended(failure_class=FailureClass.INVALID_INPUT, reason="voice: not one of the model's"))

    async with speaking(lane, script):
        status, _, body = await spoken(address, **GUIDE)
    assert (status, json.loads(body)["error"]["code"]) == (422, "invalid_input")


async def test_calls_hold_no_more_whole_speech_together_than_the_gateway_has_room_for(
    served: ServedEndpoint, lane: FakeLane, address: str
) -> None:
    served.held_answers = HeldBytes(len(PCM) + 100)
    first_is_held = asyncio.Event()

    async def first(session: FakeLaneSession) -> None:
        session.tell(*CHUNKS)
        while session.heard_bytes < len(PCM):  # noqa: ASYNC110 # a lane waits for nobody to have heard it
            await asyncio.sleep(0.01)
        first_is_held.set()

    async with speaking(lane, first):
        calling = asyncio.create_task(spoken(address, input="first"))
        await first_is_held.wait()
    async with speaking(lane, all_chunks):
        status, _, _ = await spoken(address, input="second")
    assert status == 503
    lane.sessions[0].tell(Ended())
    assert (await calling)[0] == 200
    assert served.held_answers.total == 0


async def test_a_late_failure_of_whole_speech_is_a_status(lane: FakeLane, address: str) -> None:
    async with speaking(lane, failing_late):
        status, _, _ = await spoken(address, input="whole")
    assert status == 503


async def failing_late(session: FakeLaneSession) -> None:
    session.tell(CHUNKS[0], Ended(failure_class=FailureClass.LANE_CRASHED, reason="its child ended"))


async def test_a_late_failure_cuts_the_stream_short(lane: FakeLane, address: str) -> None:
    """No client takes the half of it for the whole."""
    async with (
        speaking(lane, failing_late),
        aiohttp.ClientSession() as client,
        client.post(address + PATH, json=GUIDE) as response,
    ):
        assert response.status == 200
        assert (await response.content.readexactly(44 + len(CHUNKS[0])))[44:] == CHUNKS[0]
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()


async def test_a_late_failure_resets_a_connection_whose_end_would_be_that_of_the_body(
    lane: FakeLane, address: str
) -> None:
    """As proxies speak that know no chunks."""
    goes_on = asyncio.Event()

    async def script(session: FakeLaneSession) -> None:
        session.tell(CHUNKS[0])
        await goes_on.wait()
        session.tell(Ended(failure_class=FailureClass.LANE_CRASHED, reason="its child ended"))

    url, body = URL(address + PATH), json.dumps(GUIDE).encode()
    head = f"POST {url.path} HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n"
    async with speaking(lane, script):
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(head.encode() + body)
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(44 + len(CHUNKS[0]))
        goes_on.set()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_a_session_that_gets_too_old_cuts_the_stream_short(
    lane: FakeLane, served: ServedEndpoint, address: str
) -> None:
    served.now_seconds, served.left_seconds = lambda: 0.0, 0.5

    async def script(session: FakeLaneSession) -> None:
        session.tell(CHUNKS[0])
        await session.left.wait()

    async with speaking(lane, script):
        with pytest.raises(aiohttp.ClientPayloadError):
            await spoken(address, **GUIDE)


async def test_a_client_that_closes_ends_its_session(lane: FakeLane, address: str) -> None:
    async def script(session: FakeLaneSession) -> None:
        session.tell(CHUNKS[0])
        await session.left.wait()

    async with (
        speaking(lane, script),
        aiohttp.ClientSession() as client,
        client.post(address + PATH, json=GUIDE) as response,
    ):
        await response.content.readexactly(44)
        response.close()


async def test_a_client_that_stops_reading_stops_the_lane_and_loses_its_connection(lane: FakeLane) -> None:
    """What nobody reads counts as heard only as far as buffers reach."""
    endpoint = voice_endpoint(task="Synthesize", synthesis={"voice": "af_heart"}, session={"idleSeconds": 1})
    second, seconds = bytes(2 * RATE_HZ), 1200

    async def script(session: FakeLaneSession) -> None:
        session.tell(*[second] * seconds)
        await session.left.wait()

    async with (
        serving(ServedEndpoint(endpoint, contract_spec(), lane), ROUTES) as address,
        speaking(lane, script),
        aiohttp.ClientSession(read_bufsize=2**12) as client,
        client.post(address + PATH, json={"input": "long", "stream": True}) as response,
    ):
        await lane.sessions[0].left.wait()
        with pytest.raises(aiohttp.ClientError):
            await response.content.read()
    assert 0 < lane.sessions[0].heard_bytes < 2**20


class TestOpenAiClient:
    @pytest.fixture
    async def client(self, address: str) -> AsyncIterator[openai.AsyncOpenAI]:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="not looked at here", max_retries=0) as client:
            yield client

    async def test_gets_a_file(self, client: openai.AsyncOpenAI, lane: FakeLane) -> None:
        async with speaking(lane, all_chunks):
            speech = await client.audio.speech.create(model="tts-1", voice="af_heart", input="Hello.")
        with wave.open(io.BytesIO(speech.content)) as file:
            assert file.readframes(file.getnframes()) == PCM

    async def test_gets_speech_as_it_is_made(self, client: openai.AsyncOpenAI, lane: FakeLane) -> None:
        first = asyncio.Event()

        async def script(session: FakeLaneSession) -> None:
            session.tell(CHUNKS[0])
            await first.wait()
            session.tell(*CHUNKS[1:], Ended())

        read = bytearray()
        async with (
            speaking(lane, script),
            client.audio.speech.with_streaming_response.create(
                model="tts-1", voice="af_heart", input="Hello.", response_format="pcm", instructions="calmly"
            ) as response,
        ):
            assert response.headers["Content-Type"] == "audio/pcm; rate=24000"
            async for chunk in response.iter_bytes():
                read += chunk
                first.set()
        assert read == PCM

    async def test_is_told_that_nothing_else_is_encoded(self, client: openai.AsyncOpenAI) -> None:
        with pytest.raises(openai.BadRequestError, match="wav, pcm, flac") as refused:
            await client.audio.speech.create(model="tts-1", voice="af_heart", input="Hello.", response_format="mp3")
        assert refused.value.param == "response_format"

    async def test_is_told_that_the_model_is_not_here(self, client: openai.AsyncOpenAI) -> None:
        with pytest.raises(openai.NotFoundError, match="captions, tts-1") as refused:
            await client.audio.speech.create(model="/etc/passwd", voice="af_heart", input="Hello.")
        assert refused.value.code == "model_not_found"

    async def test_lists_models(self, client: openai.AsyncOpenAI) -> None:
        assert [model.id async for model in client.models.list()] == [
            "captions",
            "tts-1",
            "mlx-community/Kokoro-82M-bf16",
        ]
        model = await client.models.retrieve("mlx-community/Kokoro-82M-bf16")
        assert (model.id, model.owned_by) == ("mlx-community/Kokoro-82M-bf16", "radio")
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("another")


async def test_the_voices_are_the_endpoints(address: str) -> None:
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"{address}/v1/audio/voices", params={"model": "tts-1"}) as response,
    ):
        voices = await response.json()
    assert [voice["id"] for voice in voices["data"]] == ["default", "af_heart"]


async def test_an_endpoint_answers_only_for_its_task(address: str) -> None:
    async with aiohttp.ClientSession() as client, client.post(f"{address}/v1/audio/transcriptions") as response:
        assert response.status == 404
        assert "/v1/audio/speech" in (await response.json())["error"]["message"]
