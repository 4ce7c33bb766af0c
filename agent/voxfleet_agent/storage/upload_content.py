"""Content to upload: bytes, or a file of any size."""

from __future__ import annotations

import hashlib
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from voxfleet_agent.scratch_errors import scratch_errors
from voxfleet_agent.storage.blocking_calls import in_thread
from voxfleet_agent.storage.owned_file import OwnedFile
from voxfleet_api.failures import FailureClass, VoxFleetError

BLOCK_BYTES = 2**20


class Content(Protocol):
    @property
    def size_bytes(self) -> int: ...

    async def sha256(self, start: int, stop: int) -> str:
        """The sha256, in hex, of the bytes from `start` up to `stop`."""
        ...

    def blocks(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` up to `stop`."""
        ...


class BytesContent:
    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)

    @property
    def size_bytes(self) -> int:
        return len(self._content)

    async def sha256(self, start: int, stop: int) -> str:
        return hashlib.sha256(self._content[start:stop]).hexdigest()

    async def blocks(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        for offset in range(start, stop, BLOCK_BYTES):
            yield bytes(self._content[offset : min(offset + BLOCK_BYTES, stop)])


class BlockContent(ABC):
    """Content that is hashed block by block; subclasses only provide the blocks."""

    async def sha256(self, start: int, stop: int) -> str:
        """The sha256, in hex, of the bytes from `start` up to `stop`."""
        digest = hashlib.sha256()
        async for block in self.blocks(start, stop):
            await in_thread(lambda block=block: digest.update(block))  # type: ignore[misc] # bound in the loop
        return digest.hexdigest()

    @abstractmethod
    def blocks(self, start: int, stop: int) -> AsyncGenerator[bytes, None]: ...


class FileContent(BlockContent):
    """The content of an open file. Raises VoxFleetError(SCRATCH_EXHAUSTED) when it cannot be read."""

    def __init__(self, file: OwnedFile, size_bytes: int) -> None:
        self._file = file
        self._size_bytes = size_bytes

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    async def blocks(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        while start < stop:
            block = await in_thread(lambda: self._read(min(BLOCK_BYTES, stop - start), start))  # noqa: B023 -- awaited
            yield block
            start += len(block)

    def _read(self, size_bytes: int, offset: int) -> bytes:
        with scratch_errors(), self._file.use() as descriptor:
            block = os.pread(descriptor, size_bytes, offset)
        if not block:
            raise VoxFleetError(FailureClass.SCRATCH_EXHAUSTED, "a file in scratch became shorter while it was read")
        return block


@contextmanager
def open_file(path: Path) -> Iterator[FileContent]:
    """Opens a file in scratch. Raises VoxFleetError(SCRATCH_EXHAUSTED) unless it is a regular file."""
    with scratch_errors():
        file = OwnedFile(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))
    try:
        with file.use() as descriptor:
            state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise VoxFleetError(FailureClass.SCRATCH_EXHAUSTED, "what should be uploaded is not a regular file")
        yield FileContent(file, state.st_size)
    finally:
        file.close()
