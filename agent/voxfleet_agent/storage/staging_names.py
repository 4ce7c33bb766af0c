"""Temporary names of files that are being written, and which of them a killed writer left behind."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import socket
from collections.abc import Callable
from functools import cache
from pathlib import Path

STAGING_PREFIX = ".voxfleet-unfinished-"
"""Listings hide names that begin with it."""
FORGOTTEN_SECONDS = 7 * 86_400
"""The age at which a file counts as left behind, whoever wrote it. A live writer changes its file every minute."""


def staging_name() -> str:
    """A new name, which tells the machine that writes under it."""
    return f"{STAGING_PREFIX}{_machine()}-{secrets.token_hex(8)}"


def hold(descriptor: int) -> None:
    """Marks an open file as being written, until the process closes it or ends."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # some network file systems have no locks; there the file's age must do
        return


def is_left_behind(name: str, age_seconds: float, open_file: Callable[[], int]) -> bool:
    """Whether nobody writes this file any more. A lock proves it for writers of this machine only.

    `open_file` returns a descriptor; it is called only when name and age do not tell. Raises its OSError.
    """
    if age_seconds > FORGOTTEN_SECONDS:
        return True
    if not name.startswith(f"{STAGING_PREFIX}{_machine()}-"):
        return False
    descriptor = open_file()
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


@cache
def _machine() -> str:
    """Tells machines apart, and containers of one machine, whose locks may not reach each other."""
    try:
        namespace = str(Path("/proc/self/ns/mnt").readlink())
    except OSError:  # not Linux
        namespace = ""
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:12]
