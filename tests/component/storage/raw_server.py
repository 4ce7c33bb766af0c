"""A server whose test script decides every byte, including bytes that http.server would not send."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self, TypeAlias


@dataclass(frozen=True)
class Asked:
    """One request; the script reads its body."""

    number: int
    """The number of this request to the server, from 0."""
    method: str
    target: str
    length: int
    """Content-Length."""
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def trickle(self, content: bytes, seconds: float = 0.02) -> None:
        """Sends one byte at a time."""
        for number in range(len(content)):
            await self.send(content[number : number + 1])
            await asyncio.sleep(seconds)

    async def read_body(self) -> bytes:
        return await self.reader.readexactly(self.length)

    def hang_up(self) -> None:
        self.writer.close()


Script: TypeAlias = Callable[[Asked], Awaitable[None]]


class RawServer:
    """Runs in the test's event loop and keeps connections open until the script closes them."""

    def __init__(self, script: Script, context: ssl.SSLContext | None = None, receive_bytes: int | None = None) -> None:
        """`receive_bytes`: the size of the kernel's receive buffer."""
        self._script = script
        self._context = context
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket = socket.socket()
        if receive_bytes is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.connections = 0
        self.requests: list[Asked] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def url(self, path: str) -> str:
        return f"https://localhost:{self.port}{path}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, sock=self._socket, ssl=self._context, limit=2**16)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._converse(reader, writer))
        self._tasks.add(task)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                method, target, _ = head.split("\r\n")[0].split(" ")
                lengths = [line[15:] for line in head.lower().split("\r\n") if line.startswith("content-length:")]
                asked = Asked(len(self.requests), method, target, int([*lengths, "0"][0]), reader, writer)
                self.requests.append(asked)
                await self._script(asked)
        except (OSError, EOFError):
            pass  # the client hung up
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def head(status: int = 200, *lines: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"HTTP/{version} {status} Some", *lines, "", ""]).encode()
