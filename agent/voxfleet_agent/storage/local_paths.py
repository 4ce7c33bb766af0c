"""Real paths, and folders that are opened part by part. Everything here blocks: call it in the threads of its mount."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath

from voxfleet_agent.access_advice import denial
from voxfleet_agent.durable_files import sync_folder
from voxfleet_agent.storage.mount_calls import MountCalls
from voxfleet_agent.volumes import unmounted_volume
from voxfleet_api.failures import FailureClass, VoxFleetError

READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # O_NONBLOCK: never wait for a pipe's writer
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_NO_ACCESS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP})
_NO_OBJECT = frozenset({errno.ENOENT, errno.ENOTDIR})
_NOT_REGULAR = frozenset({errno.EISDIR, errno.ENXIO})
_IMPOSSIBLE = frozenset({errno.ENAMETOOLONG, errno.EINVAL})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object really lies. Both paths are real paths."""

    calls: MountCalls
    folder: str
    """The allowed folder that contains it."""
    path: str


def lies_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder if folder == "/" else f"{folder}/")


def real_path(path: str) -> str:
    with file_errors():
        return os.path.realpath(path)


def require_mounted(path: str) -> None:
    """Raises VoxFleetError(TRANSPORT) when the volume that the path should lie on is not mounted."""
    with file_errors():
        volume = unmounted_volume(PurePath(path))
    if volume is not None:
        raise VoxFleetError(FailureClass.TRANSPORT, f"the volume {volume} is not mounted; mount it")


@contextmanager
def parent_folder(place: Place, *, create: bool) -> Iterator[tuple[int, str]]:
    """Returns (descriptor of the folder that contains the path, name in that folder). Raises OSError."""
    if place.path == place.folder:
        raise VoxFleetError(FailureClass.ACCESS_DENIED, "is an allowed folder itself; name an object in it")
    parent, _, name = place.path.rpartition("/")
    with open_folder(place.folder, parent or "/", create=create) as folder:
        yield folder, name


@contextmanager
def open_folder(allowed: str, path: str, below: tuple[str, ...] = (), *, create: bool = False) -> Iterator[int]:
    """A descriptor of a folder, or of one `below` it. Raises OSError.

    Opens the path part by part, so that a link that replaced a folder since the check cannot lead elsewhere.
    """
    folder = os.open(allowed, _FOLDER_FLAGS)
    try:
        for part in (*Path(path).relative_to(allowed).parts, *below):
            if create:
                _make_folder(part, folder)
            inner = os.open(part, _FOLDER_FLAGS, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _make_folder(name: str, folder: int) -> None:
    try:
        os.mkdir(name, dir_fd=folder)
    except FileExistsError:
        return
    sync_folder(folder)


@contextmanager
def file_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise file_error(error) from None  # the cause would show the path
    except ValueError:
        raise _impossible() from None


def file_error(error: OSError) -> VoxFleetError:
    if error.errno in _NO_ACCESS:
        return VoxFleetError(FailureClass.ACCESS_DENIED, denial(error.errno, sys.platform))
    if error.errno in _NO_OBJECT:
        return VoxFleetError(FailureClass.INPUT_NOT_FOUND, "the object does not exist, or this Mac does not see it")
    if error.errno in _NOT_REGULAR:
        return not_regular()
    if error.errno in _IMPOSSIBLE:
        return _impossible()
    if error.errno in _FULL:
        # A shared folder is full for every Mac, and a retry succeeds once there is room.
        return VoxFleetError(FailureClass.TRANSPORT, "the output's disk is full; make room")
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    return VoxFleetError(FailureClass.TRANSPORT, f"the file system answered: {reason}")


def not_regular() -> VoxFleetError:
    return VoxFleetError(
        FailureClass.INVALID_INPUT, "is not a regular file; folders, pipes, sockets and devices are not read"
    )


def _impossible() -> VoxFleetError:
    return VoxFleetError(FailureClass.INVALID_INPUT, "the address is too long for a file, or no file can have it")
