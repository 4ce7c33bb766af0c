"""Which mounted file system a path lies on, without asking the file system, which may be dead."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import PurePosixPath

import psutil

from voxfleet_agent.storage.mount_calls import CALL_SECONDS, MountCalls

_TABLE_SECONDS = 10.0
"""How long the table of mounts is believed: volumes come and go."""


class Mounts:
    """The threads of all file systems that one agent touches: no file system waits for another."""

    def __init__(self, prefixes: Iterable[str] = (), call_seconds: float = CALL_SECONDS) -> None:
        """`prefixes`: absolute folders that count as file systems of their own, such as those of the allow-list."""
        self._prefixes = tuple(prefixes)
        self._call_seconds = call_seconds
        self._calls: dict[str, MountCalls] = {}
        self._table: tuple[str, ...] = ()
        self._table_read_at: float | None = None

    def of(self, path: str) -> MountCalls:
        """The calls of the file system that an absolute path lies on, as far as its text tells."""
        folder = mount_above(path, (*self._prefixes, *self._mount_points()))
        return self._calls.setdefault(folder, MountCalls(folder, seconds=self._call_seconds))

    def _mount_points(self) -> tuple[str, ...]:
        now = time.monotonic()
        if self._table_read_at is None or now >= self._table_read_at + _TABLE_SECONDS:
            # The kernel answers from memory, on Linux (/proc/self/mounts) as on macOS (getfsstat with MNT_NOWAIT).
            self._table = tuple(part.mountpoint for part in psutil.disk_partitions(all=True))
            self._table_read_at = now
        return self._table


def mount_above(path: str, folders: Iterable[str]) -> str:
    """The deepest of `folders` that contains the path; `/` when none does. Pure."""
    parts = PurePosixPath(os.path.normpath(path)).parts
    best: tuple[str, ...] = ("/",)
    for folder in folders:
        above = PurePosixPath(folder).parts
        if len(above) > len(best) and parts[: len(above)] == above:
            best = above
    return str(PurePosixPath(*best))
