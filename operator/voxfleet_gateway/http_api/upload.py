"""An uploaded recording on its way from a client's form to a lane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from voxfleet_gateway.http_api.upload_form import FileBegins, FormField, FormPart
from voxfleet_gateway.refusals import CallRefused

HELD_BYTES = 2**20
"""How much of a file waits for the fields behind it, before a lane is asked for: a small recording needs a lane only
once all of its form is here, and whoever sends slowly takes no place of others meanwhile."""


class Upload:
    def __init__(self, parts: AsyncIterator[FormPart], now_seconds: Callable[[], float]) -> None:
        self._parts = parts
        self._now_seconds = now_seconds
        self._held: list[bytes] = []
        self._has_file = False
        self._bytes = 0
        self.fields: list[tuple[str, str]] = []
        """Those that have come."""
        self.extension = ""
        self.ended = asyncio.Event()
        """All of the form is here."""
        self.last_byte_seconds = 0.0
        """When the last byte of the form was here."""

    async def read_beginning(self) -> None:
        """Reads until the form has ended, or HELD_BYTES of its file are here. Raises CallRefused, as `form_parts`."""
        held = 0
        while held < HELD_BYTES and not self.ended.is_set():
            chunk = await self._next_chunk()
            if chunk is not None:
                self._held.append(chunk)
                held += len(chunk)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The file, from its beginning. Raises CallRefused, as `form_parts`."""
        while self._held:
            yield self._held.pop(0)
        while not self.ended.is_set():
            chunk = await self._next_chunk()
            if chunk is not None:
                yield chunk

    async def _next_chunk(self) -> bytes | None:
        """None: what came was no part of the file."""
        part = await anext(self._parts, None)
        self.last_byte_seconds = self._now_seconds()
        match part:
            case bytes():
                self._bytes += len(part)
                return part
            case FormField(name, value):
                self.fields.append((name, value))
            case FileBegins(extension):
                self._has_file, self.extension = True, extension
            case None:
                self._check_file()
                self.ended.set()
        return None

    def _check_file(self) -> None:
        if not self._has_file:
            raise CallRefused(400, "missing_file", "the form has no file; send the recording as `file`", param="file")
        if not self._bytes:
            raise CallRefused(400, "empty_file", "the file is empty; send a recording", param="file")
