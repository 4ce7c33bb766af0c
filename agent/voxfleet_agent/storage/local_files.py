"""Local files below the allowed folders. After the check, no path component is followed as a symbolic link."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from voxfleet_agent.addresses import Address
from voxfleet_agent.storage.access_advice import denial
from voxfleet_agent.storage.blocking_calls import in_thread
from voxfleet_agent.storage.listing import EnterFolder, Listing, SkippedFolder
from voxfleet_agent.storage.object_store import STAGING_PREFIX, OpenedObject, RangeReader
from voxfleet_agent.storage.object_version import ObjectVersion, changed, check_count
from voxfleet_agent.storage.upload_content import BLOCK_BYTES, Content
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.results import SkipReason

_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # O_NONBLOCK: never wait for a pipe's writer
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_NO_ACCESS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENXIO})
_NO_OBJECT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR})
_SKIPPED = {
    errno.EACCES: SkipReason.NOT_READABLE,
    errno.EPERM: SkipReason.NOT_READABLE,
    # Links are not entered: these folders were replaced by links while the prefix was being listed.
    errno.ELOOP: SkipReason.LINKED_FOLDER,
    errno.ENOTDIR: SkipReason.LINKED_FOLDER,
}
"""Errors of one folder below a prefix that leave its neighbours listed."""
_IMPOSSIBLE = frozenset({errno.ENAMETOOLONG, errno.EINVAL})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})


class LocalFiles:
    """Every address must come from the allow-list: its path is a real path below an allowed folder."""

    def __init__(self, folder_above: Callable[[str], str | None]) -> None:
        """`folder_above`: finds the allowed folder that contains a real path."""
        self._folder_above = folder_above

    async def head(self, address: Address) -> ObjectVersion:
        return await in_thread(lambda: self._head(address.path))

    @asynccontextmanager
    async def open(
        self, address: Address, version: ObjectVersion | None = None, start: int = 0
    ) -> AsyncIterator[OpenedObject]:
        descriptor, current = await in_thread(lambda: self._open(address.path))
        try:
            if version is not None and current != version:
                raise changed()
            yield OpenedObject(current, start, _blocks(descriptor, start))
        finally:
            os.close(descriptor)

    async def open_reader(self, address: Address) -> tuple[ObjectVersion, RangeReader]:
        version = await self.head(address)
        return version, RangeReader(
            lambda start, stop: self._read(address.path, version, start, stop), version.size_bytes
        )

    def copy(self, address: Address, descriptor: int, version: ObjectVersion) -> str:
        """Writes the whole object to an open file and returns its sha256 in hex. Blocks.

        Raises OSError for errors of the target, VoxFleetError for those of the source.
        """
        source, current = self._open(address.path)
        try:
            if current != version:
                raise changed()
            digest, size_bytes = hashlib.sha256(), 0
            while block := _pread(source, BLOCK_BYTES, size_bytes):
                size_bytes += len(block)
                if size_bytes > version.size_bytes:
                    raise changed()
                digest.update(block)
                write_all(descriptor, block)
            if size_bytes != version.size_bytes or _version(os.fstat(source)) != version:
                raise changed()
            return digest.hexdigest()
        finally:
            os.close(source)

    async def put(self, address: Address, content: Content) -> None:
        await self._write(address.path, content, replace=True)

    async def create(self, address: Address, content: Content) -> bool:
        return await self._write(address.path, content, replace=False)

    async def list_objects(self, address: Address, limit: int, enter: EnterFolder) -> Listing:
        return await in_thread(lambda: self._walk(address.path, limit, enter))

    async def aclose(self) -> None:
        pass

    def _walk(self, path: str, limit: int, enter: EnterFolder) -> Listing:
        listing = Listing(exists=_is_folder(path))
        pending: list[tuple[str, ...]] = [()] if listing.exists else []
        while pending:
            below = pending.pop()
            try:
                with self._open_folder(path, below) as folder, os.scandir(folder) as entries:
                    for entry in entries:
                        name = "/".join((*below, entry.name))
                        if entry.is_dir(follow_symlinks=False):
                            if enter(entry.name):
                                pending.append((*below, entry.name))
                            else:
                                listing.skipped.append(SkippedFolder(name, SkipReason.HIDDEN))
                        elif _links_to_folder(entry):
                            listing.skipped.append(SkippedFolder(name, SkipReason.LINKED_FOLDER))
                        elif not entry.name.startswith(STAGING_PREFIX):
                            listing.names.append(name)
                            check_count(len(listing.names), limit)
            except OSError as error:
                reason = _SKIPPED.get(error.errno or 0) if below else None
                if reason is not None:
                    listing.skipped.append(SkippedFolder("/".join(below), reason))
                elif not isinstance(error, FileNotFoundError):  # a folder that was just deleted holds nothing
                    raise _file_error(error) from None
        return listing

    def _head(self, path: str) -> ObjectVersion:
        descriptor, version = self._open(path)
        os.close(descriptor)
        return version

    def _open(self, path: str) -> tuple[int, ObjectVersion]:
        with _file_errors(), self._folder(path, create=False) as (folder, name):
            try:
                descriptor = os.open(name, _READ_FLAGS, dir_fd=folder)
            except OSError as error:
                if error.errno == errno.ELOOP and _is_link_loop(name, folder):
                    raise VoxFleetError(
                        FailureClass.INPUT_NOT_FOUND, "is a symbolic link that leads back to itself; there is no file"
                    ) from None
                raise
            try:
                state = os.fstat(descriptor)
                if not stat.S_ISREG(state.st_mode):
                    raise VoxFleetError(
                        FailureClass.ACCESS_DENIED, "is not a regular file; folders, pipes and devices are not read"
                    )
            except BaseException:
                os.close(descriptor)
                raise
            return descriptor, _version(state)

    def _read(self, path: str, version: ObjectVersion, start: int, stop: int) -> bytes:
        descriptor, current = self._open(path)
        try:
            if current != version:
                raise changed()
            return _pread(descriptor, stop - start, start)
        finally:
            os.close(descriptor)

    async def _write(self, path: str, content: Content, *, replace: bool) -> bool:
        """Writes under a temporary name, syncs, publishes atomically. Returns False if the object already existed."""
        staging = f"{STAGING_PREFIX}{secrets.token_hex(8)}"
        folder, name, descriptor = await in_thread(lambda: self._stage(path, staging))
        try:
            try:
                async for block in content.blocks(0, content.size_bytes):
                    await in_thread(lambda block=block: _write_block(descriptor, block))  # type: ignore[misc] # bound here
                return await in_thread(lambda: _publish(folder, descriptor, staging, name, replace=replace))
            finally:
                await in_thread(lambda: _unstage(folder, descriptor, staging))
        finally:
            os.close(folder)

    def _stage(self, path: str, staging: str) -> tuple[int, str, int]:
        with _file_errors(), self._folder(path, create=True) as (folder, name):
            descriptor = os.open(staging, _CREATE_FLAGS, 0o666, dir_fd=folder)
            return os.dup(folder), name, descriptor

    @contextmanager
    def _folder(self, path: str, *, create: bool) -> Iterator[tuple[int, str]]:
        """Returns (descriptor of the folder that contains the path, name in that folder). Raises OSError."""
        if path == self._folder_above(path):
            raise VoxFleetError(FailureClass.ACCESS_DENIED, "is an allowed folder itself; name an object in it")
        parent, _, name = path.rpartition("/")
        with self._open_folder(parent or "/", create=create) as folder:
            yield folder, name

    @contextmanager
    def _open_folder(self, path: str, below: tuple[str, ...] = (), *, create: bool = False) -> Iterator[int]:
        """A descriptor of a folder, or of one `below` it. Raises OSError.

        Opens the path part by part, so that a link that replaced a folder since the check cannot lead elsewhere.
        """
        above = self._folder_above(path)
        if above is None:
            raise VoxFleetError(FailureClass.ACCESS_DENIED, "lies outside what this agent may touch")
        folder = os.open(above, _FOLDER_FLAGS)
        try:
            for part in (*Path(path).relative_to(above).parts, *below):
                if create:
                    _make_folder(part, folder)
                inner = os.open(part, _FOLDER_FLAGS, dir_fd=folder)
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)


def _is_folder(path: str) -> bool:
    """False when nothing has this path. Raises VoxFleetError(INVALID_INPUT) for a file."""
    with _file_errors():
        try:
            mode = Path(path).lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return False
    if not stat.S_ISDIR(mode):
        raise VoxFleetError(
            FailureClass.INVALID_INPUT,
            "names a file, not a folder; name the folder that holds it, or list the file in input.clips",
        )
    return True


def _is_link_loop(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder)
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def _links_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # the link leads back to itself, or to where nothing may be looked up
        return False


def _make_folder(name: str, folder: int) -> None:
    try:
        os.mkdir(name, dir_fd=folder)
    except FileExistsError:
        return
    os.fsync(folder)


async def _blocks(descriptor: int, start: int) -> AsyncGenerator[bytes, None]:
    while block := await in_thread(lambda: _pread(descriptor, BLOCK_BYTES, start)):  # noqa: B023 -- awaited at once
        yield block
        start += len(block)


def _pread(descriptor: int, size_bytes: int, offset: int) -> bytes:
    with _file_errors():
        return os.pread(descriptor, size_bytes, offset)


def write_all(descriptor: int, block: bytes) -> None:
    """Raises OSError."""
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]


def _write_block(descriptor: int, block: bytes) -> None:
    with _file_errors():
        write_all(descriptor, block)


def _publish(folder: int, descriptor: int, staging: str, name: str, *, replace: bool) -> bool:
    with _file_errors():
        os.fsync(descriptor)
        if replace:
            os.rename(staging, name, src_dir_fd=folder, dst_dir_fd=folder)
        elif not _link(folder, staging, name):
            return False
        os.fsync(folder)
        return True


def _link(folder: int, staging: str, name: str) -> bool:
    try:
        os.link(staging, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # SMB and exFAT. This is not atomic, but only attempts of one shard could race, and they write different names.
        if _exists(folder, name):
            return False
        os.rename(staging, name, src_dir_fd=folder, dst_dir_fd=folder)
    return True


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _unstage(folder: int, descriptor: int, staging: str) -> None:
    os.close(descriptor)
    with suppress(FileNotFoundError):  # it was renamed
        os.unlink(staging, dir_fd=folder)


def _version(state: os.stat_result) -> ObjectVersion:
    return ObjectVersion(state.st_size, f"{state.st_mtime_ns // 1000:x}-{state.st_size:x}")


@contextmanager
def _file_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _file_error(error) from None  # the cause would show the path
    except ValueError:
        raise VoxFleetError(FailureClass.ACCESS_DENIED, "the address is not one that a file can have") from None


def _file_error(error: OSError) -> VoxFleetError:
    if error.errno in _NO_ACCESS:
        return VoxFleetError(FailureClass.ACCESS_DENIED, denial(error.errno, sys.platform))
    if error.errno in _NO_OBJECT:
        return VoxFleetError(FailureClass.INPUT_NOT_FOUND, "the object does not exist, or this Mac does not see it")
    if error.errno in _IMPOSSIBLE:
        return VoxFleetError(FailureClass.ACCESS_DENIED, "the address is not one that a file can have")
    if error.errno in _FULL:
        # A shared folder is full for every Mac, and a retry succeeds once there is room.
        return VoxFleetError(FailureClass.TRANSPORT, "the output's disk is full; make room")
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    return VoxFleetError(FailureClass.TRANSPORT, f"the file system answered: {reason}")
