"""Clients of both sockets that do harm, by intent or not; each ends within bounds, and its lane's place is free."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from tests.rig.fake_lane_session import FakeLane
from tests.rig.served_endpoint import ServedEndpoint, contract_spec, serving, voice_endpoint

from voxfleet_api.session_protocol import EndAudio
from voxfleet_gateway.api_call import ApiCall, ApiRoute, Handler
from voxfleet_gateway.realtime import ROUTES
from voxfleet_gateway.realtime.liveness import SocketTimes
from voxfleet_gateway.realtime.mlx_audio_format import MlxAudioFormat
from voxfleet_gateway.realtime.openai_format import OpenAiFormat
from voxfleet_gateway.realtime.socket_session import serve_socket
from voxfleet_gateway.realtime.steps import RealtimeFormat

MLX_AUDIO, OPENAI = (route.path for route in ROUTES)
IMPATIENT = SocketTimes(ping_after=0.05, pong_within=0.05, send_within=0.1, close_within=0.1)


@pytest.fixture
def lane() -> FakeLane:
    return FakeLane()


@pytest.fixture
def served(lane: FakeLane) -> ServedEndpoint:
    return ServedEndpoint(voice_endpoint(), contract_spec(), lane)


def impatient_routes() -> tuple[ApiRoute, ...]:
    def openai_format(call: ApiCall) -> RealtimeFormat:
        return OpenAiFormat(call.endpoint, call.contract, None, lambda prefix: prefix + secrets.token_hex(4))

    def mlx_audio_format(call: ApiCall) -> RealtimeFormat:
        return MlxAudioFormat(call.endpoint, call.contract)

    return tuple(
        ApiRoute("GET", path, _impatient(spoken), is_socket=True)
        for path, spoken in ((MLX_AUDIO, mlx_audio_format), (OPENAI, openai_format))
    )


def _impatient(spoken: Callable[[ApiCall], RealtimeFormat]) -> Handler:
    async def handle(request: web.Request, call: ApiCall) -> web.StreamResponse:
        return await serve_socket(request, call, spoken(call), IMPATIENT)

    return handle


@asynccontextmanager
async def connected(
    served: ServedEndpoint,
    path: str,
    routes: tuple[ApiRoute, ...] = ROUTES,
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with (
        serving(served, routes) as address,
        aiohttp.ClientSession() as client,
        client.ws_connect(address + path) as socket,
    ):
        yield socket


class BareSocket:
    """A WebSocket by hand, which answers no pings and reads nothing unless it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def flood(self, text: str) -> None:
        """Sends it again and again."""
        payload = text.encode()
        assert len(payload) in range(126, 2**16)
        while True:
            self.writer.write(b"\x81\xfe" + struct.pack("!H", len(payload)) + bytes(4) + payload)
            await self.writer.drain()


@asynccontextmanager
async def bare(
    served: ServedEndpoint, path: str, routes: tuple[ApiRoute, ...] | None = None
) -> AsyncIterator[BareSocket]:
    async with serving(served, routes or impatient_routes()) as address:
        url = urlsplit(address + path)
        reader, writer = await asyncio.open_connection(url.hostname, url.port, limit=2**12)
        key = base64.b64encode(bytes(16)).decode()
        writer.write(
            f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        try:
            yield BareSocket(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@pytest.mark.parametrize("path", [MLX_AUDIO, OPENAI])
async def test_a_frame_of_16_mebibytes_is_refused_and_its_client_which_still_sends_can_read_why(
    served: ServedEndpoint, lane: FakeLane, path: str
) -> None:
    """A reset of the connection would drop the close frame before it is read."""
    async with connected(served, path) as socket:
        await socket.send_bytes(bytes(2**24))
        async for _ in socket:
            pass
        assert socket.close_code == 1009
        await lane.sessions[0].left.wait()


async def test_the_largest_frame_that_is_allowed_is_taken(served: ServedEndpoint, lane: FakeLane) -> None:
    async with connected(served, MLX_AUDIO) as socket:
        await socket.send_json({})
        await socket.receive_json()
        pcm = secrets.token_bytes(2**20)
        await socket.send_bytes(pcm)
        assert await (await lane.next_session()).audio(2**20) == pcm


async def test_ten_thousand_frames_of_a_byte(served: ServedEndpoint, lane: FakeLane) -> None:
    async with connected(served, MLX_AUDIO) as socket:
        await socket.send_json({})
        await socket.receive_json()
        pcm = secrets.token_bytes(10_000)
        for byte in pcm:
            await socket.send_bytes(bytes([byte]))
        session = await lane.next_session()
        assert await session.audio(10_000) == pcm
        assert session.sent.empty()


@pytest.mark.parametrize("path", [MLX_AUDIO, OPENAI])
async def test_a_half_open_socket_ends(served: ServedEndpoint, lane: FakeLane, path: str) -> None:
    async with bare(served, path):
        await lane.sessions[0].left.wait()


async def test_a_client_that_never_reads_ends_once_its_buffers_are_full(served: ServedEndpoint, lane: FakeLane) -> None:
    async with bare(served, OPENAI) as socket:
        flood = asyncio.create_task(socket.flood(json.dumps({"type": "x" * 200})))
        with pytest.raises(ConnectionError):
            await flood
        await lane.sessions[0].left.wait()


async def test_a_client_that_is_ahead_of_the_lane_is_neither_read_nor_given_up(
    served: ServedEndpoint, lane: FakeLane
) -> None:
    async with connected(served, MLX_AUDIO, impatient_routes()) as socket:
        await socket.send_json({})
        await socket.receive_json()
        session = await lane.next_session()
        session.takes.clear()
        pcm = secrets.token_bytes(2**23)

        async def send() -> None:
            for start in range(0, len(pcm), 2**16):
                await socket.send_bytes(pcm[start : start + 2**16])

        sending = asyncio.create_task(send())
        # Several times what a client may be silent.
        await asyncio.sleep(4 * (IMPATIENT.ping_after + IMPATIENT.pong_within))
        assert not sending.done() and not session.left.is_set() and session.sent.empty()
        session.takes.set()
        assert await session.audio(len(pcm)) == pcm
        await sending


async def test_a_client_that_goes_while_the_lane_takes_nothing(served: ServedEndpoint, lane: FakeLane) -> None:
    async with connected(served, MLX_AUDIO) as socket:
        await socket.send_json({})
        await socket.receive_json()
        session = await lane.next_session()
        session.takes.clear()
        await socket.send_bytes(bytes(2**20))
        await socket.close()
        await session.left.wait()


@pytest.mark.parametrize(("path", "code"), [(MLX_AUDIO, "code"), (OPENAI, "error.code")])
async def test_drain_and_age_end_a_session_with_its_own_code(
    served: ServedEndpoint, lane: FakeLane, path: str, code: str
) -> None:
    async with connected(served, path) as socket:
        served.closing.set()
        told = [json.loads(message.data) async for message in socket]
        assert _at(told[-1], code) == "gateway_draining" and socket.close_code == 1001
    served.closing.clear()
    served.left_seconds = 0.01
    async with connected(served, path) as socket:
        told = [json.loads(message.data) async for message in socket]
        assert _at(told[-1], code) == "session_expired" and socket.close_code == 1008
    assert lane.open_sessions == 0


def _at(message: object, path: str) -> object:
    for key in path.split("."):
        assert isinstance(message, dict)
        message = message[key]
    return message


async def test_a_session_in_which_nothing_is_said_ends_and_no_other(lane: FakeLane) -> None:
    served = ServedEndpoint(voice_endpoint(session={"idleSeconds": 1}), contract_spec(), lane)
    async with connected(served, MLX_AUDIO) as socket:
        await socket.send_json({})
        await socket.receive_json()
        for _ in range(4):
            await asyncio.sleep(0.35)
            await socket.send_bytes(bytes(2))
        assert not (await lane.next_session()).left.is_set()
        told = [json.loads(message.data) async for message in socket]
        assert told[-1]["code"] == "session_idle" and socket.close_code == 1008


async def test_a_key_among_subprotocols_is_refused_and_in_no_log(
    served: ServedEndpoint, lane: FakeLane, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(served, ROUTES) as address, aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(address + OPENAI, protocols=("bearer.of-a-client",))
    assert refused.value.status == 400
    assert "of-a-client" not in caplog.text and lane.sessions == []


async def test_bytes_that_are_no_text_end_the_session(served: ServedEndpoint, lane: FakeLane) -> None:
    async with connected(served, OPENAI) as socket:
        await socket.receive_json()
        await socket.send_frame(b"\xff\xfe", aiohttp.WSMsgType.TEXT)
        assert [message async for message in socket] == [] and socket.close_code == 1007
        await lane.sessions[0].left.wait()


async def test_what_comes_after_stop_is_not_heard(served: ServedEndpoint, lane: FakeLane) -> None:
    async with connected(served, MLX_AUDIO) as socket:
        await socket.send_json({})
        await socket.receive_json()
        await socket.send_json({"action": "stop"})
        await socket.send_bytes(bytes(100))
        session = await lane.next_session()
        assert await session.sent.get() == EndAudio()
        told = [json.loads(message.data) async for message in socket]
        assert [message["text"] for message in told] == [""] and socket.close_code == 1000
        assert session.sent.empty()


@pytest.mark.parametrize(("path", "frame"), [(MLX_AUDIO, b"\x82\x81" + bytes(5)), (OPENAI, b"\x89\x80" + bytes(4))])
async def test_tiny_frames_that_come_at_once_are_not_read_at_once(
    served: ServedEndpoint, lane: FakeLane, path: str, frame: bytes
) -> None:
    """On a clock that goes on by a millisecond whenever the session looks at it."""
    turns, looks = 0, Counter[int]()

    def now_seconds() -> float:
        looks[turns] += 1
        return looks.total() / 1000

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    served.now_seconds = now_seconds
    async with bare(served, path, ROUTES) as socket:
        other = asyncio.create_task(others())
        socket.writer.write(b"\x81\x82" + bytes(4) + b"{}" + frame * 2_000 + b"\x88\x80" + bytes(4))
        await lane.sessions[0].left.wait()
        other.cancel()
    assert looks.total() > 2_000
    assert max(looks.values()) < 100


async def test_a_neighbour_is_served_while_another_floods(served: ServedEndpoint, lane: FakeLane) -> None:
    async with (
        serving(served, ROUTES) as address,
        aiohttp.ClientSession() as client,
        client.ws_connect(address + MLX_AUDIO) as flooding,
        client.ws_connect(address + MLX_AUDIO) as other,
    ):
        for socket in (flooding, other):
            await socket.send_json({})
            await socket.receive_json()
        by_flood, by_other = await lane.next_session(), await lane.next_session()
        by_flood.takes.clear()
        flood = asyncio.create_task(flooding.send_bytes(bytes(2**20)))
        for number in range(50):
            await other.send_bytes(bytes([number, 0]))
            assert await by_other.audio(2) == bytes([number, 0])
        await flood
