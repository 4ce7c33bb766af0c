"""Makes written bytes and names survive a power cut."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from pathlib import Path

_FULL_FSYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)
"""macOS: fsync(2) hands the bytes to the drive, whose own cache a power cut empties; F_FULLFSYNC flushes that too."""
_UNSUPPORTED = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL})


def sync_file(descriptor: int) -> None:
    """Returns once the file's bytes are on the medium. Raises OSError."""
    if _FULL_FSYNC is not None:
        try:
            fcntl.fcntl(descriptor, _FULL_FSYNC)
            return
        except OSError as error:
            if error.errno not in _UNSUPPORTED:  # network file systems and some others have only fsync
                raise
    os.fsync(descriptor)


def sync_file_at(path: Path) -> None:
    """Like `sync_file`, for a file or folder that nobody has open. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sync_file(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: int | Path) -> None:
    """Returns once names that were made, changed or removed in the folder are on the medium. Raises OSError."""
    if isinstance(folder, int):
        sync_file(folder)
    else:
        sync_file_at(folder)


def replace_file(file: Path, content: bytes) -> None:
    """Writes or replaces a file of mode 0600 atomically and durably, in a folder that exists. Raises OSError."""
    unfinished = file.with_name(f".{file.name}-{secrets.token_hex(4)}.tmp")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
            opened.flush()
            sync_file(opened.fileno())
        unfinished.rename(file)
    finally:
        unfinished.unlink(missing_ok=True)
    sync_folder(file.parent)
