"""Content that is made line by line and kept compressed until it is uploaded."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import AsyncGenerator

from voxfleet_agent.storage.blocking_calls import in_thread
from voxfleet_agent.storage.upload_content import BLOCK_BYTES, BlockContent

_LEVEL = 1  # a manifest shrinks to a tenth and less; higher levels cost more than they save


class PackedContent(BlockContent):
    """Implements content.Content. Append all of it before it is read."""

    def __init__(self) -> None:
        self._packed: list[bytes] = []
        """Whole blocks of BLOCK_BYTES."""
        self._open = bytearray()
        """What fills no block yet."""
        self._digest = hashlib.sha256()

    @property
    def size_bytes(self) -> int:
        return len(self._packed) * BLOCK_BYTES + len(self._open)

    @property
    def whole_sha256(self) -> str:
        """In hex."""
        return self._digest.hexdigest()

    def append(self, content: bytes) -> None:
        self._digest.update(content)
        self._open += content
        while len(self._open) >= BLOCK_BYTES:
            self._packed.append(zlib.compress(memoryview(self._open)[:BLOCK_BYTES], _LEVEL))
            del self._open[:BLOCK_BYTES]

    async def blocks(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        while start < stop:
            number, offset = divmod(start, BLOCK_BYTES)
            block = (await in_thread(lambda: self._block(number)))[offset : offset + stop - start]  # noqa: B023 -- awaited
            yield block
            start += len(block)

    def _block(self, number: int) -> bytes:
        return zlib.decompress(self._packed[number]) if number < len(self._packed) else bytes(self._open)
