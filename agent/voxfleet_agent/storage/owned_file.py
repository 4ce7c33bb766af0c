"""An open file that several threads may use, one of which may hang in it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class OwnedFile:
    """Owns a descriptor. Whoever uses it last closes it: a number that is closed in use may name another file next."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._users = 1

    @contextmanager
    def use(self) -> Iterator[int]:
        """Yields the descriptor. Raises ValueError after `close`, once nobody uses the file."""
        with self._lock:
            if self._users == 0:
                raise ValueError("the file is closed")
            self._users += 1
        try:
            yield self._descriptor
        finally:
            self._leave()

    def close(self) -> None:
        """Closes the file as soon as nobody uses it; call it once. May block as the file system does."""
        self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            last = self._users == 0
        if last:
            os.close(self._descriptor)
