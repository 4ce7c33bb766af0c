"""One reserved scratch file, written in one order and read in another. No line stays in memory."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Self

from voxfleet_agent.scratch_errors import scratch_errors
from voxfleet_agent.storage.blocking_calls import in_thread
from voxfleet_agent.storage.upload_content import BLOCK_BYTES, BlockContent
from voxfleet_api.failures import FailureClass, VoxFleetError

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class Spool:
    """A context manager. Every call blocks, and raises VoxFleetError(SCRATCH_EXHAUSTED) when the disk fails."""

    def __init__(self, path: Path, size_bytes: int, used_bytes: int = 0) -> None:
        """`size_bytes`: the reserved size. The first `used_bytes` are for `write`; `append` begins after them."""
        with scratch_errors():
            self._descriptor = os.open(path, _FLAGS, 0o600)
        self._size_bytes = size_bytes
        self._end = used_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def append(self, content: bytes) -> int:
        """Returns the offset at which the content is written."""
        offset = self._end
        self._end += len(content)
        self.write(offset, content)
        return offset

    def write(self, offset: int, content: bytes) -> None:
        if offset + len(content) > self._size_bytes:
            raise ValueError("more was written than reserved")
        with scratch_errors():
            view = memoryview(content)
            while view:
                written = os.pwrite(self._descriptor, view, offset)
                view, offset = view[written:], offset + written

    def read(self, offset: int, size_bytes: int) -> bytes:
        with scratch_errors():
            content = os.pread(self._descriptor, size_bytes, offset)
        if len(content) != size_bytes:
            raise VoxFleetError(FailureClass.SCRATCH_EXHAUSTED, "a file in scratch became shorter while it was read")
        return content


class SpooledLines(BlockContent):
    """Segments of a spool, one after the other; implements storage.upload_content.Content."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._offsets = array("Q")
        self._ends = array("Q", [0])
        """Where each segment ends within this content, after a leading 0."""

    @property
    def size_bytes(self) -> int:
        return self._ends[-1]

    def add(self, offset: int, size_bytes: int) -> None:
        """Appends a segment of the spool; `size_bytes` is positive."""
        if self._offsets and self._offsets[-1] + self._ends[-1] - self._ends[-2] == offset:
            self._ends[-1] += size_bytes
        else:
            self._offsets.append(offset)
            self._ends.append(self._ends[-1] + size_bytes)

    async def blocks(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        while start < stop:
            block = await in_thread(lambda: self._read(start, min(start + BLOCK_BYTES, stop)))  # noqa: B023 -- awaited
            yield block
            start += len(block)

    def _read(self, start: int, stop: int) -> bytes:
        segment = bisect_right(self._ends, start) - 1
        pieces = []
        while start < stop:
            size_bytes = min(stop, self._ends[segment + 1]) - start
            pieces.append(self._spool.read(self._offsets[segment] + start - self._ends[segment], size_bytes))
            start, segment = start + size_bytes, segment + 1
        return b"".join(pieces)
