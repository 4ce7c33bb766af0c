"""A proxy in front of a real S3 server that breaks chosen requests the way networks and servers do.

It speaks HTTP/1.1 and closes each connection after one answer. Signatures stay valid, because it hands on every header
as it came.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

HEAD_LIMIT_BYTES = 65_536


class Fault(StrEnum):
    RESET = "reset"
    """The connection is reset ahead of an answer."""
    CUT = "cut"
    """The server does what was asked; the connection is reset in the middle of its answer."""
    ERROR = "500"
    SLOW_DOWN = "503"
    """With Retry-After: 0."""
    TOO_MANY = "429"
    SLOW = "slow"
    """The whole answer, in pieces, with pauses between them."""


_STATUS = {Fault.ERROR: "500 Internal Server Error", Fault.SLOW_DOWN: "503 Slow Down", Fault.TOO_MANY: "429 Too Many"}
_PIECES, _PAUSE_SECONDS = 4, 0.02


class FaultyProxy:
    """Hands everything on, until it is armed."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self._faults: dict[str, Fault] = {}
        self._left: Counter[str] = Counter()
        self._method = "GET"
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.met: Counter[Fault] = Counter()
        """Faults that a client met."""

    def arm(self, faults: Mapping[str, Fault], *, method: str = "GET", times: int = 1) -> None:
        """From now on, the first `times` calls of `method` for each object break whose name `faults` holds.

        A name is the last part of a key. Counts in `met` go on.
        """
        self._faults = dict(faults)
        self._method = method
        self._left = Counter(dict.fromkeys(faults, times))

    @property
    def endpoint_url(self) -> str:
        if self._server is None:
            raise RuntimeError("the proxy is not started")
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=HEAD_LIMIT_BYTES)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
            fault = self._fault(method, unquote(urlsplit(target).path))
            if fault is not None:
                self.met[fault] += 1
            await self._answer(fault, head, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client or the server went away, as they may
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _fault(self, method: str, path: str) -> Fault | None:
        name = path.rpartition("/")[2]
        if method != self._method or self._left[name] == 0:
            return None
        self._left[name] -= 1
        return self._faults[name]

    async def _answer(
        self, fault: Fault | None, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if fault is Fault.RESET:
            _reset(writer)
            return
        if fault in _STATUS:
            after = "Retry-After: 0\r\n" if fault is not Fault.ERROR else ""
            lines = f"HTTP/1.1 {_STATUS[fault]}\r\n{after}Content-Length: 0\r\nConnection: close\r\n\r\n"
            writer.write(lines.encode())
            await writer.drain()
            return
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        try:
            to_server.write(_closing(head))
            body = asyncio.create_task(_pass_on(reader, to_server, _body_bytes(head)))
            try:
                await self._deliver(fault, from_server, writer)
            finally:
                body.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await body
        finally:
            to_server.close()

    async def _deliver(
        self, fault: Fault | None, from_server: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if fault is None:
            while data := await from_server.read(65_536):
                writer.write(data)
                await writer.drain()
            return
        whole = await from_server.read()
        body_at = whole.index(b"\r\n\r\n") + 4
        if fault is Fault.CUT:
            # An answer without a body breaks within its head.
            kept = (body_at + len(whole)) // 2 if len(whole) > body_at else body_at // 2
            writer.write(whole[:kept])
            await writer.drain()
            _reset(writer)
            return
        step = max(1, -(-len(whole) // _PIECES))
        for start in range(0, len(whole), step):
            writer.write(whole[start : start + step])
            await writer.drain()
            await asyncio.sleep(_PAUSE_SECONDS)


def _body_bytes(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


def _closing(head: bytes) -> bytes:
    """Asks the server to close after its answer; `Connection` is not among the signed headers."""
    lines = [line for line in head[:-4].split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*lines, b"Connection: close", b"", b""])


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> None:
    while count > 0 and (data := await reader.read(min(count, 65_536))):
        count -= len(data)
        writer.write(data)
        await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
