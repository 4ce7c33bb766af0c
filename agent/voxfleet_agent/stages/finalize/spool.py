"""One reserved file in scratch: written in any order, read as lines in another one. It keeps no line in memory."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Self

from voxfleet_agent.scratch import writing_scratch
from voxfleet_agent.storage.blocking_calls import in_thread
from voxfleet_agent.storage.upload_content import BLOCK_BYTES, BlockContent, scratch_errors
from voxfleet_api.failures import FailureClass, VoxFleetError

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class Spool:
    """Every call blocks. Raises VoxFleetError(SCRATCH_EXHAUSTED) for what the disk answers. A context manager."""

    def __init__(self, path: Path, size_bytes: int, taken_bytes: int = 0) -> None:
        """`size_bytes`: as reserved; `append` begins after the first `taken_bytes`."""
        with scratch_errors():
            self._descriptor = os.open(path, _FLAGS, 0o600)
        self._size_bytes = size_bytes
        self._end = taken_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def append(self, content: bytes) -> int:
        """Where it was written."""
        offset = self._end
        self._end += len(content)
        self.write(offset, content)
        return offset

    def write(self, offset: int, content: bytes) -> None:
        if offset + len(content) > self._size_bytes:
            raise ValueError("more was written than reserved")
        with writing_scratch():
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
    """Stretches of a spool, one behind the other; implements storage.content.Content."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._offsets = array("Q")
        self._ends = array("Q", [0])
        """Of each stretch, in these contents; the first is no stretch's."""

    @property
    def size_bytes(self) -> int:
        return self._ends[-1]

    def add(self, offset: int, size_bytes: int) -> None:
        """`size_bytes` is positive."""
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
        place = bisect_right(self._ends, start) - 1
        pieces = []
        while start < stop:
            size_bytes = min(stop, self._ends[place + 1]) - start
            pieces.append(self._spool.read(self._offsets[place] + start - self._ends[place], size_bytes))
            start, place = start + size_bytes, place + 1
        return b"".join(pieces)
