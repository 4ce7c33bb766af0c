"""A lock on a folder, for one process at a time."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path


class FolderInUseError(Exception):
    """Another process holds the lock; the message names the folder and says what to do."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder} is in use by another voxfleet-agent; end that one, or give each agent folders of its own"
        )
        self.folder = folder


def lock_folder(folder: Path) -> int:
    """Locks the folder, creating it if needed; returns a descriptor that holds the lock while it is open.

    Raises FolderInUseError when another process holds the lock.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise FolderInUseError(folder) from error
    return descriptor


def make_private(folder: Path) -> None:
    """Creates the folder and its missing parents, each with mode 0700; leaves existing ones as they are."""
    for path in reversed((folder, *folder.parents)):
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
