"""Content that is built line by line and kept compressed until it is uploaded."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import AsyncGenerator

from voxfleet_agent.storage.blocking_calls import in_thread
from voxfleet_agent.storage.upload_content import BLOCK_BYTES, BlockContent

_LEVEL = 1  # a manifest shrinks to a tenth or less; higher levels cost more than they save


class PackedContent(BlockContent):
    """Implements upload_content.Content. Append everything before reading."""

    def __init__(self) -> None:
        self._packed: list[bytes] = []
        """Full blocks of BLOCK_BYTES, compressed."""
        self._last_block = bytearray()
        """The last block while it is not full."""
        self._digest = hashlib.sha256()

    @property
    def size_bytes(self) -> int:
        return len(self._packed) * BLOCK_BYTES + len(self._last_block)

    @property
    def whole_sha256(self) -> str:
        """The sha256 of the whole content, in hex."""
        return self._digest.hexdigest()

    def append(self, content: bytes) -> None:
        self._digest.update(content)
        self._last_block += content
        while len(self._last_block) >= BLOCK_BYTES:
            self._packed.append(zlib.compress(memoryview(self._last_block)[:BLOCK_BYTES], _LEVEL))
            del self._last_block[:BLOCK_BYTES]

    async def blocks(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        while start < stop:
            number, offset = divmod(start, BLOCK_BYTES)
            block = (await in_thread(lambda: self._block(number)))[offset : offset + stop - start]  # noqa: B023 -- awaited
            yield block
            start += len(block)

    def _block(self, number: int) -> bytes:
        return zlib.decompress(self._packed[number]) if number < len(self._packed) else bytes(self._last_block)
