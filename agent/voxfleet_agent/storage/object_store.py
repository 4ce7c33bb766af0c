"""The interface of every kind of storage."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from voxfleet_agent.addresses import Address
from voxfleet_agent.storage.listing import EnterFolder, Listing
from voxfleet_agent.storage.object_version import ObjectVersion, too_few_bytes
from voxfleet_agent.storage.upload_content import Content

READER_BLOCK_BYTES = 2**16
CLEANUP_SECONDS = 10.0
"""How long a failed or cancelled upload waits for its leftovers to be removed."""


@dataclass(frozen=True, slots=True)
class OpenedObject:
    """An open object whose bytes are read on demand."""

    version: ObjectVersion
    start: int
    """The offset of the first byte in `blocks`: the requested one, or 0."""
    blocks: AsyncGenerator[bytes, None]


class RangeReader:
    """A seekable, read-only view of an object; a read outside the buffered block fetches one range."""

    def __init__(self, fetch: Callable[[int, int], bytes], size_bytes: int, first_block: bytes = b"") -> None:
        """`fetch(start, stop)` returns the bytes from `start` up to but not including `stop`."""
        self._fetch = fetch
        self._size_bytes = size_bytes
        self._position = 0
        self._block_start = 0
        self.ranges = 0
        """The number of ranges fetched."""
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
                raise too_few_bytes()
            self._block, self._block_start = block, start
        data = self._block[start - self._block_start : end - self._block_start]
        self._position = start + len(data)
        return data


class ObjectStore(Protocol):
    """Every method raises VoxFleetError; the package's docstring lists the classes."""

    async def head(self, address: Address) -> ObjectVersion: ...

    def open(
        self, address: Address, version: ObjectVersion | None = None, start: int = 0
    ) -> AbstractAsyncContextManager[OpenedObject]:
        """Raises INPUT_CHANGED when the object has another version."""
        ...

    async def open_reader(self, address: Address) -> tuple[ObjectVersion, RangeReader]:
        """The reader blocks: use it with `in_reader_thread`."""
        ...

    async def put(self, address: Address, content: Content) -> None:
        """Writes or replaces the object, which is durable on return."""
        ...

    async def create(self, address: Address, content: Content) -> bool:
        """Like `put`, but returns False when the object exists, whatever its content."""
        ...

    async def list_objects(self, address: Address, limit: int, enter: EnterFolder) -> Listing:
        """The objects below the address, in any order. `enter`: which local folders are looked into."""
        ...

    async def aclose(self) -> None: ...
