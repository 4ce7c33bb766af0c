"""A folder that one process holds at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class FolderInUseError(Exception):
    """Another process holds the folder; the message names it and what to do."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder} is in use by another voxfleet-agent; end that one, or give each agent folders of its own"
        )
        self.folder = folder


def lock_folder(folder: Path) -> int:
    """Creates the folder if need be and returns a descriptor that holds it for this process.

    Raises FolderInUseError when another process holds it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise FolderInUseError(folder) from error
    return descriptor
