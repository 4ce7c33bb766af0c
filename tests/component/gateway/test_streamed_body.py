from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from voxfleet_gateway.http_api.streamed_body import SOCKET_BUFFER_BYTES, ClientStopped, StreamedBody

pytestmark = pytest.mark.component


class Server:
    """Writes a byte, and goes on when it is told to."""

    def __init__(self) -> None:
        self.goes_on = asyncio.Event()
        self.buffer_bytes: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.stopped = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = StreamedBody(request, idle_seconds=5)
        await body.write(b"1")
        assert request.transport is not None
        peer = request.transport.get_extra_info("socket")
        self.buffer_bytes.set_result(peer.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF))
        await self.goes_on.wait()
        try:
            for _ in range(100):
                await body.write(b"2" * SOCKET_BUFFER_BYTES)
        except ClientStopped as stopped:
            self.stopped.set()
            return stopped.response
        return await body.finish()


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def address(server: Server) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}/"
    await runner.cleanup()


async def test_the_kernel_holds_little_of_an_answer(server: Server, address: str) -> None:
    """Linux doubles what it is asked for."""
    server.goes_on.set()
    async with aiohttp.ClientSession() as client, client.get(address) as response:
        assert len(await response.read()) == 1 + 100 * SOCKET_BUFFER_BYTES
        assert await server.buffer_bytes <= 2 * SOCKET_BUFFER_BYTES


async def test_a_client_that_closed_is_noticed_by_the_next_write(server: Server, address: str) -> None:
    async with asyncio.timeout(10), aiohttp.ClientSession() as client, client.get(address) as response:
        await response.content.readexactly(1)
        response.close()
        server.goes_on.set()
        await server.stopped.wait()
