"""How slow the other side may be, as curl's --speed-limit and --speed-time say it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from voxfleet_api.failures import FailureClass, VoxFleetError


@dataclass(frozen=True, slots=True)
class SpeedLimit:
    """In each `seconds` of waiting, `window_bytes` have to come, or the whole rest."""

    window_bytes: int | None
    """None: the whole rest alone counts."""
    seconds: float

    def too_slow(self, does: str) -> VoxFleetError:
        """`does`: `sends` or `takes an upload`."""
        if self.window_bytes is None:
            return VoxFleetError(FailureClass.TRANSPORT, f"the storage ended no answer within {self.seconds:g} s")
        rate = self.window_bytes / self.seconds
        return VoxFleetError(
            FailureClass.TRANSPORT,
            f"the storage {does} too slowly: less than {rate:.0f} bytes a second over {self.seconds:g} s",
        )


class MinimumSpeed:
    """Of one body that comes. Bytes of a window that is full are no credit for the next one, and the time that the
    body's reader takes is not the server's."""

    def __init__(self, limit: SpeedLimit) -> None:
        self._limit = limit
        self._left_seconds, self._came_bytes = limit.seconds, 0

    async def next_block(self, blocks: AsyncIterator[bytes]) -> bytes | None:
        """None at the end. Raises VoxFleetError(TRANSPORT) for a server that is too slow; the blocks are ended then."""
        asked = time.monotonic()
        try:
            async with asyncio.timeout(self._left_seconds):
                block = await anext(blocks, None)
        except TimeoutError:
            raise self._limit.too_slow("sends") from None
        self._left_seconds -= time.monotonic() - asked
        self._came_bytes += len(block or b"")
        if self._limit.window_bytes is not None and self._came_bytes >= self._limit.window_bytes:
            self._left_seconds, self._came_bytes = self._limit.seconds, 0
        return block
