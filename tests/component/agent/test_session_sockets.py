"""WebSockets of the agent's server beside peers that go, never read, never end a message, or send too much."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from tests.component.agent.test_tls_listener import AUTHORITY, CLIENT, client_context, tls_files

from voxfleet_agent.config import Listen
from voxfleet_agent.server import session_socket
from voxfleet_agent.server.app import AgentServer, build_server, listen_on
from voxfleet_agent.server.session_socket import SessionSocket
from voxfleet_agent.server.tls import TlsFiles
from voxfleet_api.session_protocol import MAX_CONTROL_BYTES

PATIENCE_SECONDS = 20.0
SMALL_BYTES = 2**14
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: agent\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: c2l4dGVlbiBsZXR0ZXJzIQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)
CONTINUATION, TEXT, BINARY, PING = 0, 1, 2, 9

App = Callable[[WebSocket], Awaitable[None]]


def frame(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """As a client sends it, with a mask of zeros."""
    length = (
        bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0x80 | 127]) + struct.pack(">Q", len(payload))
    )
    return bytes([(0x80 if final else 0) | opcode]) + length + bytes(4) + payload


class Served:
    """A server with one WebSocket, and what became of it."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.ended: asyncio.Queue[BaseException | None] = asyncio.Queue()
        self.server: AgentServer | None = None
        self.port = 0

    async def handle(self, socket: WebSocket) -> None:
        await socket.accept()
        try:
            await self._app(socket)
        except WebSocketDisconnect as error:
            self.ended.put_nowait(error)
        else:
            self.ended.put_nowait(None)

    def connections(self) -> list[SessionSocket]:
        assert self.server is not None
        return [one for one in self.server.server_state.connections if isinstance(one, SessionSocket)]

    async def end(self) -> BaseException | None:
        """How the application ended; returns once its connection is gone, too."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            how = await self.ended.get()
            while self.connections():  # noqa: ASYNC110 -- uvicorn tells nobody
                await asyncio.sleep(0.005)
        return how


@asynccontextmanager
async def serving(app: App, *, ping_seconds: float = 600.0, tls: TlsFiles | None = None) -> AsyncIterator[Served]:
    served = Served(app)
    listener = listen_on(Listen(port=0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BYTES)
    config = build_server(Starlette(routes=[WebSocketRoute("/", served.handle)])).config
    config.ws_ping_interval = config.ws_ping_timeout = ping_seconds
    served.server, served.port = AgentServer(config, tls, 0.02), listener.getsockname()[1]
    task = asyncio.create_task(served.server.serve(sockets=[listener]))
    try:
        yield served
    finally:
        served.server.should_exit = True
        async with asyncio.timeout(PATIENCE_SECONDS):
            await task


@asynccontextmanager
async def peer(served: Served) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """One that has upgraded, and takes in little unless a test reads."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BYTES)
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", served.port))
    reader, writer = await asyncio.open_connection(sock=plain, limit=SMALL_BYTES)
    writer.write(UPGRADE)
    try:
        answer = await reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in answer and b"permessage-deflate" not in answer, "nothing is compressed"
        yield reader, writer
    finally:
        writer.transport.abort()


async def listen(socket: WebSocket) -> None:
    while True:
        await socket.receive_bytes()


async def speak(socket: WebSocket) -> None:
    while True:
        await socket.send_bytes(bytes(SMALL_BYTES))


@pytest.mark.parametrize("app", [listen, speak])
async def test_a_peer_that_is_gone_or_reads_nothing_is_let_go_when_it_answers_no_ping(app: App) -> None:
    async with serving(app, ping_seconds=0.05) as served, peer(served):
        assert isinstance(await served.end(), WebSocketDisconnect)


async def test_what_is_left_for_a_peer_that_reads_nothing_is_given_up_after_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_socket, "CLOSE_SECONDS", 0.05)

    async def last_words(socket: WebSocket) -> None:
        await socket.send_bytes(bytes(2**22))

    async with serving(last_words) as served, peer(served):
        assert await served.end() is None


async def test_pings_of_a_peer_that_reads_no_answer_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_socket, "MOST_UNREAD_BYTES", SMALL_BYTES)
    async with serving(listen) as served, peer(served) as (_, writer):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not writer.is_closing():
                writer.write(frame(PING, bytes(125)) * 100)
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
        assert isinstance(await served.end(), WebSocketDisconnect)


async def test_a_message_in_pieces_without_an_end_is_bounded() -> None:
    async with serving(listen) as served, peer(served) as (_, writer):
        writer.write(frame(BINARY, final=False) + frame(CONTINUATION, final=False) * session_socket.MOST_FRAGMENTS)
        assert isinstance(await served.end(), WebSocketDisconnect)


async def test_a_message_beyond_the_bound_ends_the_connection() -> None:
    async with serving(listen) as served, peer(served) as (reader, writer):
        writer.write(frame(BINARY, bytes(MAX_CONTROL_BYTES + 1)))
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert struct.pack(">H", 1009) in await reader.read(100)
        assert isinstance(await served.end(), WebSocketDisconnect)


async def test_no_more_is_read_while_messages_wait_for_the_application() -> None:
    over = asyncio.Event()

    async def busy(socket: WebSocket) -> None:
        await over.wait()

    async with serving(busy) as served, peer(served) as (_, writer):
        writer.write(frame(BINARY, bytes(2**16)) * 100)
        (connection,) = served.connections()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not connection.read_paused:  # noqa: ASYNC110 -- uvicorn tells nobody
                await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not connection.transport.is_reading() and connection.queue.qsize() < 8
        over.set()


async def test_a_read_full_of_tiny_messages_is_taken_in_slices_and_none_is_lost() -> None:
    begins = asyncio.Event()
    heard: list[bytes] = []

    async def count(socket: WebSocket) -> None:
        await begins.wait()
        while len(heard) < 10_000:
            heard.append(await socket.receive_bytes())

    async with serving(count) as served, peer(served) as (_, writer):
        writer.write(b"".join(frame(BINARY, struct.pack(">H", number)) for number in range(10_000)))
        (connection,) = served.connections()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while connection.queue.empty():  # noqa: ASYNC110 -- uvicorn tells nobody
                await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert connection.queue.qsize() <= session_socket.SLICE_BYTES // 8 + 1
        begins.set()
        assert await served.end() is None
    assert heard == [struct.pack(">H", number) for number in range(10_000)]


async def test_short_messages_wait_for_no_acknowledgement() -> None:
    async with serving(listen) as served, peer(served):
        (connection,) = served.connections()
        plain = connection.transport.get_extra_info("socket")
        assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def echo(socket: WebSocket) -> None:
    while True:
        await socket.send_text(await socket.receive_text())


async def test_sessions_go_over_tls_and_end_when_their_caller_is_not_trusted_any_more(tmp_path: Path) -> None:
    tls = tls_files(tmp_path)
    crl = tmp_path / "ca.crl"
    crl.write_text(AUTHORITY.revocations())
    files = TlsFiles(tls.model_copy(update={"client_crl_file": crl}))
    context: ssl.SSLContext = client_context(tmp_path)
    async with serving(echo, tls=files) as served, aiohttp.ClientSession() as client:
        async with asyncio.timeout(PATIENCE_SECONDS):
            async with client.ws_connect(f"https://127.0.0.1:{served.port}/", ssl=context) as ws:
                await ws.send_str("a" * 100_000)
                assert await ws.receive_str() == "a" * 100_000
                crl.write_text(AUTHORITY.revocations(CLIENT))
                assert isinstance(await served.end(), WebSocketDisconnect)
