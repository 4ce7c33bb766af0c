"""Both sockets in front of a real agent, whose lane's child hears with a model: a batch's texts, and every tail."""

from __future__ import annotations

import asyncio
import base64
import json
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio
from tests.component.agent.agent_rig import CONTROL_PLANE, SESSION_TOKEN, Agent, running_agent
from tests.component.agent.endpoint_lane_rig import lane_request, put, until
from tests.component.lanes.lane_rig import contract, examples
from tests.rig.served_endpoint import TIMEOUT_SECONDS, ServedEndpoint, serving, voice_endpoint

from voxfleet_agent.config import PoolConfig
from voxfleet_agent.lanes.interactive_pools import InteractivePools
from voxfleet_agent.models.store import ModelStore
from voxfleet_api.digest import digest_of
from voxfleet_api.endpoint_lanes import LaneKey
from voxfleet_api.pools import PoolKind
from voxfleet_api.protocol import CONTROL_PLANE_HEADER
from voxfleet_api.session_protocol import OpenHearing, OpenSpeaking, OpenUpload, sessions_path
from voxfleet_gateway.lane_session import LaneSession
from voxfleet_gateway.mac_links import lane_socket
from voxfleet_gateway.mac_links.refused_openings import OpeningRefused, Refusal
from voxfleet_gateway.realtime import ROUTES
from voxfleet_gateway.refusals import CallRefused

KEY = LaneKey("one", 1)
CONTRACT = contract()
MLX_AUDIO, OPENAI = (route.path for route in ROUTES)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def agent(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Agent]:
    """With a lane that hears one session at a time: one that is not given back in time is noticed."""
    folder = tmp_path_factory.mktemp("agent")
    pool = PoolConfig(name="live", lanes=1, memory_cap="3Gi", kind=PoolKind.INTERACTIVE)
    pools = InteractivePools((pool,), folder / "lanes")
    async with running_agent(folder, interactive_lanes=pools, models=ModelStore(folder / "models", 2**30)) as running:
        request = lane_request(
            uid=KEY.endpoint_uid,
            contract=CONTRACT,
            contract_digest=digest_of(CONTRACT),
            memory_cap="2Gi",
            max_sessions=1,
        )
        await put(running, request)
        await until(running, "Ready", f"/v1/lanes/{KEY.endpoint_uid}/{KEY.generation}")
        yield running
    await pools.close()


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def _free_lane(agent: Agent) -> None:
    await until_free(agent)


async def until_free(agent: Agent) -> None:
    """A session whose client has gone keeps its place until the child knows, and its socket until both sides closed."""
    live = agent.lanes._live[KEY]
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while live.open_sessions or live.sockets:  # noqa: ASYNC110 -- it waits for another process
            await asyncio.sleep(0.005)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def address(agent: Agent) -> AsyncIterator[str]:
    headers = {"Authorization": f"Bearer {SESSION_TOKEN}", CONTROL_PLANE_HEADER: CONTROL_PLANE}
    url = str(agent.http.base_url).rstrip("/") + sessions_path(KEY)

    @asynccontextmanager
    async def opened(request: OpenHearing | OpenUpload | OpenSpeaking) -> AsyncIterator[LaneSession]:
        try:
            async with lane_socket.open_lane_socket(client, url, headers, request, "mac-1", 5.0) as session:
                yield session
        except OpeningRefused as refusal:
            status = 422 if refusal.refusal is Refusal.REQUEST else 429
            raise CallRefused(status, "refused", refusal.message) from refusal

    endpoint = voice_endpoint(turnDetection={"type": "None"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lane_socket, "UPGRADE_SECONDS", TIMEOUT_SECONDS)  # the machine may be busy
        async with (
            aiohttp.ClientSession() as client,
            serving(ServedEndpoint(endpoint, CONTRACT, opened), ROUTES, timeout_seconds=None) as served,
        ):
            yield served


def clips() -> dict[str, tuple[bytes, int, str]]:
    """Recordings of one channel as PCM16, with their rates and texts."""
    found = {}
    for name, (path, text, failure_class) in examples().items():
        if text and failure_class is None and path.suffix == ".wav":
            with wave.open(str(path)) as opened:
                if (opened.getnchannels(), opened.getsampwidth()) == (1, 2):
                    found[name] = (opened.readframes(opened.getnframes()), opened.getframerate(), text)
    return found


CLIPS = clips()
PCM, _, TEXT = next(clip for clip in CLIPS.values() if clip[1] == 16_000)
"""One that needs no resample."""


async def told(address: str, pcm: bytes, frame_bytes: int, **config: object) -> tuple[str, ...]:
    """The text of all turns, and all deltas, as a client of mlx-audio hears them."""
    async with (
        asyncio.timeout(TIMEOUT_SECONDS),
        aiohttp.ClientSession() as client,
        client.ws_connect(address + MLX_AUDIO) as socket,
    ):
        await socket.send_json({"sample_rate": 16_000, **config})
        answer = await socket.receive_json()
        assert answer["status"] == "ready", answer
        for start in range(0, len(pcm), frame_bytes):
            await socket.send_bytes(pcm[start : start + frame_bytes])
        await socket.send_json({"action": "stop"})
        messages = [json.loads(message.data) async for message in socket]
        assert socket.close_code == 1000, messages
    return tuple("".join(message.get(field, "") for message in messages) for field in ("text", "delta"))


@pytest.mark.parametrize("frame_bytes", [7, 2**20])
async def test_a_clip_in_frames_of_any_size_has_the_text_of_a_batch(address: str, frame_bytes: int) -> None:
    assert await told(address, PCM, frame_bytes) == (TEXT, TEXT)


async def test_no_tail_is_lost_in_stops_one_after_another_also_where_the_held_session_gives_way(
    agent: Agent, address: str
) -> None:
    for number in range(6):
        streaming = number % 2 == 0
        assert await told(address, PCM, 3_200, streaming=streaming) == (TEXT, TEXT if streaming else "")
        await until_free(agent)


async def committed(address: str, pcm: bytes, rate_hz: int, turns: int) -> list[str]:
    """The texts of as many turns, and all their deltas, as OpenAI's client hears them."""
    texts: list[str] = []
    deltas = ""
    async with (
        asyncio.timeout(TIMEOUT_SECONDS),
        openai.AsyncOpenAI(api_key="key", base_url=f"{address}/v1") as client,
        client.realtime.connect(extra_query={"intent": "transcription"}) as connection,
    ):
        audio_format: Any = {"type": "audio/pcm", "rate": rate_hz}  # the client's type knows 24 kHz alone
        await connection.session.update(session={"type": "transcription", "audio": {"input": {"format": audio_format}}})
        for _ in range(turns):
            for start in range(0, len(pcm), 9_600):
                await connection.input_audio_buffer.append(audio=base64.b64encode(pcm[start : start + 9_600]).decode())
            await connection.input_audio_buffer.commit()
        while len(texts) < turns:
            event = await connection.recv()
            assert event.type != "error", event
            if event.type == "conversation.item.input_audio_transcription.delta":
                deltas += event.delta or ""
            if event.type == "conversation.item.input_audio_transcription.completed":
                texts.append(event.transcript)
    return [*texts, deltas]


async def test_openais_client_commits_turns_that_have_the_text_of_a_batch(address: str) -> None:
    assert await committed(address, PCM, 16_000, 2) == [TEXT, TEXT, TEXT + TEXT]


@pytest.mark.parametrize("name", [*CLIPS])
async def test_a_clip_of_any_rate_that_the_contract_takes_has_the_text_of_a_batch(
    agent: Agent, address: str, name: str
) -> None:
    pcm, rate_hz, text = CLIPS[name]
    assert await told(address, pcm, 3_200, sample_rate=rate_hz) == (text, text)
    await until_free(agent)
    assert await committed(address, pcm, rate_hz, 1) == [text, text]


async def test_the_detector_ends_turns_that_the_client_does_not_commit(address: str) -> None:
    heard: list[Any] = []
    silence = bytes(2 * 16_000)
    async with (
        asyncio.timeout(TIMEOUT_SECONDS),
        openai.AsyncOpenAI(api_key="key", base_url=f"{address}/v1") as client,
        client.realtime.connect(extra_query={"intent": "transcription"}) as connection,
    ):
        audio: Any = {"format": {"type": "audio/pcm", "rate": 16_000}, "turn_detection": {"type": "server_vad"}}
        await connection.session.update(session={"type": "transcription", "audio": {"input": audio}})
        for pcm in (PCM, silence, PCM, silence):
            await connection.input_audio_buffer.append(audio=base64.b64encode(pcm).decode())
        async for event in connection:
            heard.append(event)
            texts = [event.transcript for event in heard if event.type.endswith(".completed")]
            if " ".join(texts) == f"{TEXT} {TEXT}":
                break
    kinds = [event.type.removeprefix("input_audio_buffer.") for event in heard]
    turns = len(texts)
    assert kinds.count("speech_started") == kinds.count("speech_stopped") == kinds.count("committed") == turns >= 2
    starts = [event.audio_start_ms for event in heard if event.type.endswith("speech_started")]
    stops = [event.audio_end_ms for event in heard if event.type.endswith("speech_stopped")]
    assert starts == sorted(starts) and all(start < stop for start, stop in zip(starts, stops, strict=True))
    added = [event for event in heard if event.type == "conversation.item.added"]
    assert [event.previous_item_id for event in added] == [None, *(event.item.id for event in added[:-1])]
