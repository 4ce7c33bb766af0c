"""The body of an answer that is written as it comes."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import HttpVersion11, web

SOCKET_BUFFER_BYTES = 64 * 1024
"""What the kernel holds of an answer, so that a client that stops reading is known to have stopped."""


class ClientStopped(Exception):
    """The client closed the connection, or read nothing for too long; it is told nothing any more."""

    def __init__(self, response: web.StreamResponse) -> None:
        super().__init__()
        self.response = response
        """What the handler returns: aiohttp writes none of it, for the connection is closed."""


class StreamedBody:
    """Begins with its first byte: until then the call may still be refused with a status."""

    def __init__(self, request: web.Request, *, idle_seconds: float) -> None:
        self._request = request
        self._idle_seconds = idle_seconds
        self._response = web.StreamResponse(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})

    @property
    def has_begun(self) -> bool:
        return self._response.prepared

    def set_length(self, body_bytes: int) -> None:
        """Before the first byte, where the length is known."""
        self._response.content_length = body_bytes

    def set_header(self, name: str, value: str) -> None:
        """Before the first byte."""
        self._response.headers[name] = value

    async def write(self, data: bytes) -> None:
        """Returns once the client took all but what the buffers hold. `data` may be empty. Raises ClientStopped."""
        if not self._response.prepared:
            async with self._in_time():
                self._narrow_buffers()
                await self._response.prepare(self._request)
        for start in range(0, len(data), SOCKET_BUFFER_BYTES):
            async with self._in_time():
                await self._response.write(data[start : start + SOCKET_BUFFER_BYTES])

    async def finish(self) -> web.StreamResponse:
        """Raises ClientStopped."""
        async with self._in_time():
            await self._response.write_eof()
        return self._response

    def cut_short(self) -> web.StreamResponse:
        """Ends the connection after what was written, without the end of the body.

        Of HTTP/1.0 the connection's end is that of the body, so that it is reset, though what is on its way is lost.
        """
        transport = self._request.transport
        if transport is not None and self._request.version < HttpVersion11:
            peer = transport.get_extra_info("socket")
            if peer is not None:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        elif transport is not None:
            transport.close()
        return self._response

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._idle_seconds):
                yield
        except (TimeoutError, ConnectionError):
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ClientStopped(self._response) from None

    def _narrow_buffers(self) -> None:
        transport = self._request.transport
        if transport is None:
            raise ConnectionResetError
        transport.set_write_buffer_limits(high=SOCKET_BUFFER_BYTES)
        peer = transport.get_extra_info("socket")
        if peer is not None and peer.family != socket.AF_UNIX:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
