"""A proxy for a real HTTP server that injects the faults of networks and overloaded servers."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

CHUNK_BYTES = 2**14
HEAD_LIMIT_BYTES = 2**16


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    number: int
    """The number of earlier requests with this method and target."""


@dataclass(frozen=True)
class Status:
    """Answers with this status; the server does not see the request."""

    code: int
    retry_after: str | None = None
    body: bytes = b""


@dataclass(frozen=True)
class Reset:
    """Resets the connection after this many bytes of the response's body."""

    after_bytes: int = 0


@dataclass(frozen=True)
class ResetUpload:
    """Resets the connection after this many bytes of the request's body; the server does not see the request."""

    after_bytes: int = 0


@dataclass(frozen=True)
class Stall:
    """Sends nothing after this many bytes of the body, but keeps the connection open."""

    after_bytes: int = 0


@dataclass(frozen=True)
class Slow:
    bytes_per_second: int


@dataclass(frozen=True)
class LoseAnswer:
    """The server handles the request, but its response never reaches the client."""


Fault: TypeAlias = Status | Reset | ResetUpload | Stall | Slow | LoseAnswer
Plan: TypeAlias = Callable[[Request], Fault | None]


def no_faults(_: Request) -> None:
    return None


class InTurn:
    """One fault per request, in order; None, or the end of the list, means no fault."""

    def __init__(self, *faults: Fault | None, only: str | None = None) -> None:
        """`only`: the only method with faults."""
        self._faults = list(faults)
        self._only = only

    def __call__(self, request: Request) -> Fault | None:
        if self._faults and self._only in (None, request.method):
            return self._faults.pop(0)
        return None


class Seeded:
    """The same requests get the same faults, in any order."""

    def __init__(self, seed: int, percent: float, faults: Sequence[Fault], *, most_in_a_row: int = 2) -> None:
        """`most_in_a_row`: the limit of failures in a row of one request, so that retries can succeed."""
        self._seed = seed
        self._percent = percent
        self._faults = faults
        self._most_in_a_row = most_in_a_row

    def __call__(self, request: Request) -> Fault | None:
        if request.number % (self._most_in_a_row + 1) == self._most_in_a_row:
            return None
        text = f"{self._seed} {request.method} {request.target} {request.number}"
        drawn = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        if drawn % 10_000 >= self._percent * 100:
            return None
        return self._faults[drawn // 10_000 % len(self._faults)]


class FaultProxy:
    """Listens on a loopback port in a thread, one request per connection. `plan` can change at any time."""

    def __init__(self, upstream_port: int, plan: Plan = no_faults) -> None:
        self.plan = plan
        self.requests: list[Request] = []
        self.injected: Counter[str] = Counter()
        """The number of faults by kind."""
        self.sent_bytes: list[int] = []
        """Of each answer's body that came from the server, by when they began; counted before it is sent."""
        self._upstream_port = upstream_port
        self._seen: Counter[tuple[str, str]] = Counter()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def switch(self, upstream_port: int) -> None:
        """Requests go to another server from now on, also one that `plan` holds back at this moment."""
        self._upstream_port = upstream_port

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        tasks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = self._loop.create_task(self._handle(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=HEAD_LIMIT_BYTES)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._ended.wait()
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(reader, writer)
        except (OSError, EOFError):
            pass  # one side hung up; the other side will notice
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, target, _ = first.split(" ")
        request = Request(method, target, self._seen[method, target])
        self._seen[method, target] += 1
        self.requests.append(request)
        fault = self.plan(request)
        if fault is not None:
            self.injected[type(fault).__name__] += 1
        length = int(_header(lines, "content-length") or 0)
        if isinstance(fault, ResetUpload):
            await reader.readexactly(min(fault.after_bytes, length))
            _reset(writer)
            return
        if isinstance(fault, Status):
            await _discard(reader, length)
            await _answer_status(writer, fault)
            return
        await self._forward(reader, writer, [first, *lines], length, fault)

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        lines: Sequence[str],
        length: int,
        fault: Fault | None,
    ) -> None:
        upstream, to_upstream = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        try:
            kept = [line for line in lines if not line.lower().startswith(("connection:", "expect:"))]
            to_upstream.write("\r\n".join([*kept, "Connection: close", "", ""]).encode("latin-1"))
            while length > 0:
                block = await reader.readexactly(min(CHUNK_BYTES, length))
                to_upstream.write(block)
                await to_upstream.drain()
                length -= len(block)
            head = await upstream.readuntil(b"\r\n\r\n")
            if isinstance(fault, LoseAnswer):
                _reset(writer)
                return
            writer.write(head)
            await self._send_body(upstream, reader, writer, fault)
        finally:
            to_upstream.close()
            with contextlib.suppress(OSError):
                await to_upstream.wait_closed()

    async def _send_body(
        self,
        upstream: asyncio.StreamReader,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        fault: Fault | None,
    ) -> None:
        left = fault.after_bytes if isinstance(fault, Reset | Stall) else None
        number = len(self.sent_bytes)
        self.sent_bytes.append(0)
        size = max(1, fault.bytes_per_second // 10) if isinstance(fault, Slow) else CHUNK_BYTES
        while left is None or left > 0:
            block = await upstream.read(size if left is None else min(size, left))
            if not block:
                break
            self.sent_bytes[number] += len(block)
            writer.write(block)
            await writer.drain()
            if left is not None:
                left -= len(block)
            if isinstance(fault, Slow):
                await asyncio.sleep(0.1)
        if isinstance(fault, Reset):
            await asyncio.sleep(0.01)  # lets the sent bytes arrive before the reset
            _reset(writer)
        elif isinstance(fault, Stall):
            await reader.read()  # until the client gives up


async def _discard(reader: asyncio.StreamReader, length: int) -> None:
    while length > 0:
        length -= len(await reader.readexactly(min(CHUNK_BYTES, length)))


async def _answer_status(writer: asyncio.StreamWriter, status: Status) -> None:
    lines = [f"HTTP/1.1 {status.code} Fault", f"Content-Length: {len(status.body)}", "Connection: close"]
    if status.retry_after is not None:
        lines.append(f"Retry-After: {status.retry_after}")
    writer.write("\r\n".join([*lines, "", ""]).encode() + status.body)
    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends the connection with RST."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _header(lines: Iterable[str], name: str) -> str | None:
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip().lower() == name:
            return value.strip()
    return None
