"""How much the answers of all calls may hold together, which one at a time cannot know. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

MAX_BYTES = 2**27


class HeldBytes:
    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self.total = 0

    @contextmanager
    def holder(self) -> Iterator[Holder]:
        """What it holds is given back when the context is left."""
        holder = Holder(self)
        try:
            yield holder
        finally:
            self.total -= holder.size_bytes

    def has_room(self, size_bytes: int) -> bool:
        return self.total + size_bytes <= self._max_bytes


class Holder:
    def __init__(self, held: HeldBytes) -> None:
        self._held = held
        self.size_bytes = 0

    def take(self, size_bytes: int) -> bool:
        """False, and nothing is held: others hold too much."""
        if not self._held.has_room(size_bytes):
            return False
        self.size_bytes += size_bytes
        self._held.total += size_bytes
        return True
