"""Bounded scratch space: one 0700 folder per attempt. Bytes are reserved before they are written."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sys
from collections.abc import Callable, Container, Iterator
from itertools import islice
from pathlib import Path

from voxfleet_agent.folder_lock import lock_folder
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.protocol import AttemptKey
from voxfleet_shared import crash_points

ATTEMPTS = "attempts"
SWEEP_ENTRIES = 10_000
"""The most entries that one sweep unlinks, so that it never blocks the agent for long; the next sweep continues."""

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


@contextlib.contextmanager
def writing_scratch() -> Iterator[None]:
    """Turns the OSError of a full or read-only volume into VoxFleetError(SCRATCH_EXHAUSTED)."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise VoxFleetError(
            FailureClass.SCRATCH_EXHAUSTED,
            f"scratch cannot be written: {os.strerror(error.errno or 0)}; free the volume of scratch.path or mount it"
            " for writing",
        ) from error


class Scratch:
    """All scratch of one agent. It writes and sweeps only `<path>/attempts/`, and touches nothing else."""

    def __init__(self, path: Path, quota_bytes: int, min_free_bytes: int) -> None:
        """Creates the folders and locks them for this process. Raises FolderInUseError when another agent uses them."""
        self._lock = lock_folder(path)
        self.attempts_path = path / ATTEMPTS
        self.attempts_path.mkdir(mode=0o700, exist_ok=True)
        self._folder = os.open(self.attempts_path, _FOLDER_FLAGS)
        os.fchmod(self._folder, 0o700)
        self.quota_bytes = quota_bytes
        self.min_free_bytes = min_free_bytes
        self._reserved: dict[Path, int] = {}
        self._freed = asyncio.Condition()

    @property
    def reserved_bytes(self) -> int:
        return sum(self._reserved.values())

    def shortage(self, size_bytes: int = 0) -> str | None:
        """Why `size_bytes` more do not fit at this moment; None when they fit."""
        if self.reserved_bytes + size_bytes > self.quota_bytes:
            return f"scratch.quota is {self.quota_bytes} bytes and {self.reserved_bytes} are in use"
        unwritten_bytes = sum(max(0, size - _size_bytes(path)) for path, size in self._reserved.items())
        volume = os.fstatvfs(self._folder)
        free_bytes = volume.f_bavail * volume.f_frsize
        if free_bytes - unwritten_bytes - size_bytes < self.min_free_bytes:
            return f"the scratch volume has {free_bytes} bytes free and scratch.minFree is {self.min_free_bytes}"
        return None

    async def reserve(
        self, path: Path, size_bytes: int, attempt_shortage: Callable[[], str | None], *, wait: bool = True
    ) -> None:
        """Waits until the bytes fit into scratch and `attempt_shortage` returns None.

        Raises VoxFleetError(SCRATCH_EXHAUSTED) when no release can make them fit, or when they do not fit now and
        `wait` is false.
        """
        async with self._freed:
            if path in self._reserved:
                raise ValueError(f"{path.name} is reserved already")
            while (shortage := attempt_shortage() or self.shortage(size_bytes)) is not None:
                if size_bytes > self.quota_bytes or not self._reserved or not wait:
                    raise _scratch_exhausted(size_bytes, shortage)
                await self._freed.wait()
            self._reserved[path] = size_bytes
        crash_points.point("reserved")

    async def free(self, path: Path) -> None:
        async with self._freed:
            if self._reserved.pop(path, None) is not None:
                self._freed.notify_all()

    def _require_in_place(self) -> None:
        """Raises VoxFleetError(SCRATCH_EXHAUSTED) when another folder has taken the place of the opened one."""
        try:
            in_place = os.path.samestat(self.attempts_path.lstat(), os.fstat(self._folder))
        except OSError:
            in_place = False
        if not in_place:
            raise VoxFleetError(
                FailureClass.SCRATCH_EXHAUSTED,
                "the folder of scratch.path is not the one that this agent opened: its volume was unmounted, or the"
                " folder was replaced; mount the volume and restart the agent",
            )

    def open_attempt(self, key: AttemptKey, limit_bytes: int) -> AttemptScratch:
        """The attempt's folder, empty: it is created or cleared. `limit_bytes`: the contract's scratch.maxBytes.

        Files that an earlier run left in it have no reservation any more. No link is followed. Raises
        VoxFleetError(SCRATCH_EXHAUSTED) when the volume is full, read-only or no longer mounted.
        """
        self._require_in_place()
        with writing_scratch(), contextlib.suppress(FileExistsError):  # from an earlier run; `os.open` refuses a link
            os.mkdir(str(key), 0o700, dir_fd=self._folder)
        descriptor = os.open(str(key), _FOLDER_FLAGS, dir_fd=self._folder)
        try:
            with writing_scratch():
                _empty(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return AttemptScratch(self, self.attempts_path / str(key), descriptor, limit_bytes)

    async def remove_attempt(self, key: AttemptKey) -> int:
        """Removes the attempt's folder and frees its bytes; returns how many entries were unlinked.

        Never follows a link. A second call unlinks nothing and returns 0.
        """
        removed = await asyncio.to_thread(remove_entry, self._folder, str(key))
        folder = self.attempts_path / str(key)
        async with self._freed:
            for path in [path for path in self._reserved if path.is_relative_to(folder)]:
                del self._reserved[path]
            self._freed.notify_all()
        return removed

    def residue_bytes(self, key: AttemptKey) -> int:
        """The bytes in the attempt's folder, which cleanup should have removed; 0 once the folder is gone."""
        folder = self.attempts_path / str(key)
        return sum(_size_bytes(Path(root, name)) for root, _, names in os.walk(folder) for name in names)

    async def sweep(self, owned: Container[str], limit: int = SWEEP_ENTRIES) -> int:
        """Removes entries whose name is not in `owned`; returns how many entries were unlinked.

        It stops after `limit` entries; the next sweep removes the rest.
        """
        return await asyncio.to_thread(self._sweep, owned, limit)

    def _sweep(self, owned: Container[str], limit: int) -> int:
        with os.scandir(self._folder) as entries:
            strays = list(islice((entry.name for entry in entries if entry.name not in owned), limit))
        removed = 0
        for name in strays:
            removed += remove_entry(self._folder, name, limit - removed)
            if removed >= limit:
                break
        return removed

    def close(self) -> None:
        os.close(self._folder)
        os.close(self._lock)


class AttemptScratch:
    """One attempt's folder; implements stages.stage_context.StageScratch."""

    def __init__(self, scratch: Scratch, path: Path, descriptor: int, limit_bytes: int) -> None:
        self._scratch = scratch
        self._path = path
        self._descriptor = descriptor
        self._limit_bytes = limit_bytes
        self._sizes: dict[Path, int] = {}
        self.high_water_bytes = 0

    @property
    def path(self) -> Path:
        return self._path

    @property
    def reserved_bytes(self) -> int:
        return sum(self._sizes.values())

    async def reserve(self, name: str, size_bytes: int, *, wait: bool = True) -> Path:
        """Raises ValueError for a name that is not plain or is reserved already, VoxFleetError(SCRATCH_EXHAUSTED)."""
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise ValueError("a scratch name is one plain file name")
        path = self._path / name

        def attempt_shortage() -> str | None:
            if self.reserved_bytes + size_bytes <= self._limit_bytes:
                return None
            return f"the contract's scratch.maxBytes is {self._limit_bytes} and {self.reserved_bytes} are in use"

        if size_bytes > self._limit_bytes:
            raise _scratch_exhausted(size_bytes, attempt_shortage() or "")
        await self._scratch.reserve(path, size_bytes, attempt_shortage, wait=wait)
        self._sizes[path] = size_bytes
        self.high_water_bytes = max(self.high_water_bytes, self.reserved_bytes)
        return path

    async def release(self, path: Path) -> None:
        if self._sizes.pop(path, None) is None:
            return
        with contextlib.suppress(FileNotFoundError):  # reserved, but never written
            os.unlink(path.name, dir_fd=self._descriptor)
        await self._scratch.free(path)

    def close(self) -> None:
        os.close(self._descriptor)


def remove_entry(folder: int, name: str, limit: int = sys.maxsize) -> int:
    """Removes a file, link or whole folder in an open folder; returns how many entries were unlinked, 0 when absent.

    It works with descriptors and never follows a link, so nothing outside the folder can be removed. It stops after
    `limit` entries; another call removes the rest.
    """
    try:
        descriptor = os.open(name, _FOLDER_FLAGS, dir_fd=folder)
    except FileNotFoundError:
        return 0
    except OSError:  # a file or a link; or a folder that cannot be opened, for which unlink raises
        return _unlink(folder, name)
    removed = 0
    try:
        with os.scandir(descriptor) as entries:
            names = [entry.name for entry in islice(entries, limit)]
        for entry_name in names:
            if removed < limit:
                removed += remove_entry(descriptor, entry_name, limit - removed)
    finally:
        os.close(descriptor)
    if len(names) >= limit:  # there may be more entries
        return removed
    os.rmdir(name, dir_fd=folder)
    return removed + 1


def _empty(folder: int) -> None:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        remove_entry(folder, name)


def _scratch_exhausted(size_bytes: int, shortage: str) -> VoxFleetError:
    return VoxFleetError(
        FailureClass.SCRATCH_EXHAUSTED,
        f"{size_bytes} bytes of scratch were needed, but {shortage}; raise it or free the volume",
    )


def _unlink(folder: int, name: str) -> int:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return 0
    return 1


def _size_bytes(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0
