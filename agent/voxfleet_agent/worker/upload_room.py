"""How many uploads a lane takes at a time: as many as its memory has room for, and a few at most."""

from __future__ import annotations

import threading

from voxfleet_api.failures import FailureClass, VoxFleetError

MOST_UPLOADS = 4
"""Each has a thread that decodes it."""
RETRY_AFTER_SECONDS = 1.0


class UploadRoom:
    """Any thread may give back what was taken."""

    def __init__(self, total_bytes: int | None) -> None:
        """`total_bytes`: of the lane's memory; None: nobody has counted it, and the memory guard alone bounds it."""
        self._total_bytes = total_bytes
        self._taken_bytes = 0
        self._uploads = 0
        self._lock = threading.Lock()

    def take(self, size_bytes: int) -> None:
        """Raises VoxFleetError: THROTTLED while others have the room, CONTRACT_VIOLATION when there never is enough."""
        if self._total_bytes is not None and size_bytes > self._total_bytes:
            raise VoxFleetError(
                FailureClass.CONTRACT_VIOLATION,
                f"an upload would take up to {size_bytes >> 20} MiB with its decoding, and the lane's memory has"
                f" {self._total_bytes >> 20} MiB for uploads; allow smaller ones, declare conversions.windows, or raise"
                " memoryCap",
            )
        with self._lock:
            is_full = self._total_bytes is not None and self._taken_bytes + size_bytes > self._total_bytes
            if is_full or self._uploads >= MOST_UPLOADS:
                raise VoxFleetError(
                    FailureClass.THROTTLED,
                    f"the lane has {self._uploads} uploads, as many as it takes; wait for one to end",
                    retry_after_seconds=RETRY_AFTER_SECONDS,
                )
            self._taken_bytes += size_bytes
            self._uploads += 1

    def give_back(self, size_bytes: int) -> None:
        with self._lock:
            self._taken_bytes -= size_bytes
            self._uploads -= 1
