"""The link of a round trip: what goes in comes out, both ways, and ends when either side does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.bench.delaying_proxy import DelayingProxy

PATIENCE_SECONDS = 10.0
ROUND_TRIP_SECONDS = 0.02
CONTENT = bytes(range(256)) * 2_000


@asynccontextmanager
async def echo_through_a_proxy(*, most_bytes: int | None = None) -> AsyncIterator[DelayingProxy]:
    """A server that says what it hears, and hangs up after `most_bytes`. It waits for the end of one connection."""
    ended = asyncio.Event()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said_bytes = 0
        while (most_bytes is None or said_bytes < most_bytes) and (chunk := await reader.read(2**16)):
            writer.write(chunk)
            await writer.drain()
            said_bytes += len(chunk)
        writer.close()
        await writer.wait_closed()
        ended.set()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server, asyncio.timeout(PATIENCE_SECONDS):
        with DelayingProxy(server.sockets[0].getsockname()[1], ROUND_TRIP_SECONDS) as proxy:
            yield proxy
        await ended.wait()


async def test_all_arrives_and_no_sooner_than_the_round_trip() -> None:
    now = asyncio.get_running_loop().time
    async with echo_through_a_proxy() as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        began_seconds = now()
        writer.write(CONTENT)
        assert await reader.readexactly(len(CONTENT)) == CONTENT
        assert now() - began_seconds >= ROUND_TRIP_SECONDS
        writer.close()


async def test_a_side_that_ends_ends_the_other() -> None:
    async with echo_through_a_proxy(most_bytes=3) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"bye")
        assert await reader.read() == b"bye"
        writer.close()


async def test_a_proxy_that_stops_ends_its_connections() -> None:
    async with echo_through_a_proxy() as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await reader.read() == b""
    writer.close()
