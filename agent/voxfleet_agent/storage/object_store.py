"""What each kind of storage can do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from voxfleet_agent.addresses import Address
from voxfleet_agent.storage.object_version import ObjectVersion, sent_too_little
from voxfleet_agent.storage.upload_content import Content

READER_BLOCK_BYTES = 2**16
CLEANUP_SECONDS = 10.0
"""That the end of a failed or cancelled upload waits for its remains to be removed."""
STAGING_PREFIX = ".voxfleet-unfinished-"
"""Of the names of files that get their own once they are complete; no listing shows them."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An object whose bytes come as they are asked for."""

    version: ObjectVersion
    start: int
    """Offset of the first byte that comes: the one that was asked for, or 0."""
    blocks: AsyncGenerator[bytes, None]


class RangeReader:
    """A seekable, read-only view of an object; what is not in its block is asked for as one range."""

    def __init__(self, fetch: Callable[[int, int], bytes], size_bytes: int, first_block: bytes = b"") -> None:
        """`fetch` gives the bytes from a first offset up to, without, a second one."""
        self._fetch = fetch
        self._size_bytes = size_bytes
        self._position = 0
        self._block_start = 0
        self.ranges = 0
        """That were asked for."""
        self._block = first_block

    def seek(self, offset: int, /) -> int:
        self._position = offset
        return offset

    def read(self, size: int, /) -> bytes:
        start, end = self._position, min(self._position + size, self._size_bytes)
        if start >= end:
            return b""
        if start < self._block_start or end > self._block_start + len(self._block):
            stop = min(max(end, start + READER_BLOCK_BYTES), self._size_bytes)
            self.ranges += 1
            block = self._fetch(start, stop)
            if len(block) < stop - start:
                raise sent_too_little()
            self._block, self._block_start = block, start
        data = self._block[start - self._block_start : end - self._block_start]
        self._position = start + len(data)
        return data


class ObjectStore(Protocol):
    """Every method raises VoxFleetError; see the package."""

    async def head(self, address: Address) -> ObjectVersion: ...

    def open(
        self, address: Address, version: ObjectVersion | None = None, start: int = 0
    ) -> AbstractAsyncContextManager[Opened]:
        """Raises INPUT_CHANGED when the object is not this version."""
        ...

    async def open_reader(self, address: Address) -> tuple[ObjectVersion, RangeReader]:
        """The reader blocks: use it by `in_reader_thread`."""
        ...

    async def put(self, address: Address, content: Content) -> None:
        """Durable on return."""
        ...

    async def create(self, address: Address, content: Content) -> bool:
        """Like `put`, but False when the object exists, whatever it holds."""
        ...

    async def list_names(self, address: Address, limit: int) -> list[str]:
        """Relative to the address; in any order."""
        ...

    async def aclose(self) -> None: ...
