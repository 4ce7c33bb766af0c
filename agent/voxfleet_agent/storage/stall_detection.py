"""The minimum speed of a transfer, like curl's --speed-limit and --speed-time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from voxfleet_api.failures import FailureClass, VoxFleetError


@dataclass(frozen=True, slots=True)
class SpeedLimit:
    """Within each `seconds` of waiting, `window_bytes` or the rest of the body must arrive."""

    window_bytes: int | None
    """None: the rest of the body must arrive within `seconds`."""
    seconds: float

    def too_slow(self, does: str) -> VoxFleetError:
        """The error for a storage that breaks the limit. `does`: `sends` or `takes an upload`."""
        if self.window_bytes is None:
            return VoxFleetError(FailureClass.TRANSPORT, f"the storage ended no answer within {self.seconds:g} s")
        rate = self.window_bytes / self.seconds
        return VoxFleetError(
            FailureClass.TRANSPORT,
            f"the storage {does} too slowly: less than {rate:.0f} bytes a second over {self.seconds:g} s",
        )


class MinimumSpeed:
    """Enforces a limit on one incoming body.

    Surplus bytes of a window do not count for the next one, and the time that the reader of the body takes does not
    count at all.
    """

    def __init__(self, limit: SpeedLimit) -> None:
        self._limit = limit
        self._remaining_seconds, self._received_bytes = limit.seconds, 0

    async def next_block(self, blocks: AsyncIterator[bytes]) -> bytes | None:
        """The next block; None at the end. Ends the blocks and raises VoxFleetError(TRANSPORT) when it is too slow."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._remaining_seconds):
                block = await anext(blocks, None)
        except TimeoutError:
            raise self._limit.too_slow("sends") from None
        self._remaining_seconds -= time.monotonic() - started
        self._received_bytes += len(block or b"")
        if self._limit.window_bytes is not None and self._received_bytes >= self._limit.window_bytes:
            self._remaining_seconds, self._received_bytes = self._limit.seconds, 0
        return block
