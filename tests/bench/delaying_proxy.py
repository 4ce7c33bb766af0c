"""A link of a given round trip on one machine: what passes through arrives later, at no smaller rate."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack, closing, suppress
from types import TracebackType
from typing import Self

READ_BYTES = 2**16
MOST_CHUNKS = 256
"""On their way, each direction of a connection: a sender that is faster waits."""
START_SECONDS = 10.0
CLOSE_SECONDS = 1.0
"""For what a peer has not read yet."""


class DelayingProxy:
    """Of one loopback port, in a thread of its own. A context manager; `port` is known once it is entered."""

    def __init__(self, target_port: int, round_trip_seconds: float) -> None:
        self.port = 0
        self._target_port = target_port
        self._one_way_seconds = round_trip_seconds / 2
        self._loop = asyncio.new_event_loop()
        self._listens = threading.Event()
        self._ends = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="delaying-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._listens.wait(START_SECONDS):
            raise TimeoutError("the delaying proxy does not listen")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._ends.set)
        self._thread.join()

    def _run(self) -> None:
        with closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        connections: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._connection(reader, writer))
            connections.add(task)
            task.add_done_callback(connections.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=READ_BYTES)
        self.port = server.sockets[0].getsockname()[1]
        self._listens.set()
        await self._ends.wait()
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(_closed, writer)
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target_port, limit=READ_BYTES)
            stack.push_async_callback(_closed, there_writer)
            with suppress(ExceptionGroup):  # one side is gone: so is the connection
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._one_way(reader, there_writer))
                    group.create_task(self._one_way(there_reader, writer))

    async def _one_way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Raises ConnectionError at the end, and when either side fails."""
        now = asyncio.get_running_loop().time
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(MOST_CHUNKS)

        async def read() -> None:
            while True:
                chunk = b""
                with suppress(ConnectionError):
                    chunk = await reader.read(READ_BYTES)
                await under_way.put((now() + self._one_way_seconds, chunk))
                if not chunk:
                    return

        reading = asyncio.create_task(read())
        try:
            while True:
                due_seconds, chunk = await under_way.get()
                await asyncio.sleep(due_seconds - now())
                if not chunk:
                    raise ConnectionError("the sender closed the connection")
                writer.write(chunk)
                await writer.drain()
        finally:
            reading.cancel()


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await writer.wait_closed()
    writer.transport.abort()
