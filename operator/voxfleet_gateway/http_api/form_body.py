"""The body of a form on its way to aiohttp's parser, which never waits while something is there to be read."""

from __future__ import annotations

from typing import cast

from aiohttp import StreamReader

from voxfleet_gateway.loop_share import LoopShare


def shared_body(content: StreamReader, share: LoopShare) -> StreamReader:
    """Gives the parser all of a StreamReader that it uses; empty lines before a form keep the loop from nobody."""
    return cast(StreamReader, _SharedBody(content, share))


class _SharedBody:
    def __init__(self, content: StreamReader, share: LoopShare) -> None:
        self._content = content
        self._share = share

    async def readline(self, *, max_line_length: int | None = None) -> bytes:
        await self._share.take()
        return await self._content.readline(max_line_length=max_line_length)

    async def read(self, n: int = -1) -> bytes:
        await self._share.take()
        return await self._content.read(n)

    def at_eof(self) -> bool:
        return self._content.at_eof()

    def unread_data(self, data: bytes) -> None:
        self._content.unread_data(data)
