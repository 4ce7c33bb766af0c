"""Local files below the allowed folders. Links are resolved first; then no part of the path is followed as one."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from voxfleet_agent.addresses import Address
from voxfleet_agent.scratch_errors import scratch_errors
from voxfleet_agent.storage.listing import EnterFolder, Listing
from voxfleet_agent.storage.local_folders import remove_unfinished, walk
from voxfleet_agent.storage.local_paths import (
    READ_FLAGS,
    Place,
    file_errors,
    lies_below,
    not_regular,
    parent_folder,
    real_path,
    require_mounted,
)
from voxfleet_agent.storage.mount_calls import MountCalls, progress
from voxfleet_agent.storage.mounts import Mounts
from voxfleet_agent.storage.object_store import OpenedObject, RangeReader
from voxfleet_agent.storage.object_version import ObjectVersion, changed
from voxfleet_agent.storage.owned_file import OwnedFile
from voxfleet_agent.storage.staged_file import StagedFile, publish, stage, unstage, write_all
from voxfleet_agent.storage.upload_content import BLOCK_BYTES, Content
from voxfleet_api.failures import FailureClass, VoxFleetError

SYNC_BYTES = 64 * 2**20
"""How much a slow disk must write within the time of one call; no call can tell progress while it syncs."""

_LINK_OUT = (
    "a link leads outside what this agent may touch; add the prefix that it leads to to `allow` in the agent's file or,"
    " for a run without one, with --allow"
)
_LINK_OUT_OF_NAMESPACE = (
    "a link leads outside what this Mac may touch for the job's namespace; add the prefix that it leads to to"
    " spec.access of the MacAgent, or put the file itself there"
)
_NO_LONGER_OPEN = (
    "the address is no longer open to the job's namespace on this Mac; add its prefix to spec.access of the MacAgent"
)


class LocalFiles:
    """Objects below the allowed folders. Every touch of a file system goes through the threads of its own mount."""

    def __init__(self, folders: Sequence[str], mounts: Mounts, namespace: Sequence[str] | None = None) -> None:
        """`folders`: the allowed folders, as they were written. `namespace`: those that are open to the job's
        namespace; a file must really lie in one of each. None: `folders` alone count."""
        self._folders = _longest_first(folders)
        self._mounts = mounts
        self.renew_namespace(namespace)

    def renew_namespace(self, folders: Sequence[str] | None) -> None:
        self._namespace = None if folders is None else _longest_first(folders)

    async def head(self, address: Address) -> ObjectVersion:
        place = await self._locate(address)
        return await place.calls.run(lambda: _head(place))

    @asynccontextmanager
    async def open(
        self, address: Address, version: ObjectVersion | None = None, start: int = 0
    ) -> AsyncIterator[OpenedObject]:
        place = await self._locate(address)
        file, current = await place.calls.run(lambda: _open_owned(place), lambda opened: opened[0].close())
        try:
            if version is not None and current != version:
                raise changed()
            yield OpenedObject(current, start, _blocks(place.calls, file, start))
        finally:
            place.calls.start(file.close)

    async def open_reader(self, address: Address) -> tuple[ObjectVersion, RangeReader]:
        place = await self._locate(address)
        version = await place.calls.run(lambda: _head(place))

        def fetch(start: int, stop: int) -> bytes:
            return place.calls.run_blocking(lambda: _read(place, version, start, stop))

        return version, RangeReader(fetch, version.size_bytes)

    async def copy(self, address: Address, target: OwnedFile, version: ObjectVersion) -> str:
        """Replaces the content of an open file with the object; returns the sha256 in hex.

        Raises VoxFleetError(SCRATCH_EXHAUSTED) for errors of the target.
        """
        place = await self._locate(address)

        def copy() -> str:
            with target.use() as descriptor:
                return _copy(place, descriptor, version)

        return await place.calls.run(copy)

    async def put(self, address: Address, content: Content) -> None:
        await self._write(address, content, replace=True)

    async def create(self, address: Address, content: Content) -> bool:
        return await self._write(address, content, replace=False)

    async def list_objects(self, address: Address, limit: int, enter: EnterFolder) -> Listing:
        place = await self._locate(address)
        return await place.calls.run(lambda: walk(place, limit, enter))

    async def remove_unfinished(self, address: Address) -> int:
        """Removes what killed writers left below a folder; returns the number of files."""
        place = await self._locate(address)
        return await place.calls.run(lambda: remove_unfinished(place, time.time()))

    async def aclose(self) -> None:
        pass

    async def _locate(self, address: Address) -> Place:
        """Resolves links.

        Raises VoxFleetError: ACCESS_DENIED when the object lies outside the allowed folders, and TRANSPORT when its
        volume is not mounted.
        """
        namespace = self._namespace
        lists = [self._folders] if namespace is None else [self._folders, namespace]
        named = [_lying_over(address.path, folders) for folders in lists]
        calls = self._mounts.of(address.path)
        (allowed, *opened), path = await calls.run(lambda: _real_paths(named, address.path))
        if namespace is not None and not lies_below(path, opened[0]):
            await self._really_below(path, namespace, _LINK_OUT_OF_NAMESPACE)
        if lies_below(path, allowed):
            return Place(calls, allowed, path)
        return await self._really_below(path, self._folders, _LINK_OUT)

    async def _really_below(self, path: str, folders: Sequence[str], refusal: str) -> Place:
        """Looks through all the folders, because a link may lead from one of them into another."""
        unanswered: VoxFleetError | None = None
        for other in folders:
            calls = self._mounts.of(other)
            try:
                folder = await calls.run(lambda other=other: real_path(other))  # type: ignore[misc] # bound here
            except VoxFleetError as error:
                unanswered = error
                continue
            if lies_below(path, folder):
                return Place(calls, folder, path)
        raise unanswered or VoxFleetError(FailureClass.ACCESS_DENIED, refusal)

    async def _write(self, address: Address, content: Content, *, replace: bool) -> bool:
        """Writes under a temporary name, syncs, publishes atomically. Returns False if the object already existed."""
        place = await self._locate(address)
        calls = place.calls
        staged = await calls.run(lambda: stage(place), unstage)
        removed = False
        try:
            unsynced_bytes = 0
            async for block in content.blocks(0, content.size_bytes):
                await calls.run(lambda block=block: staged.write(block))  # type: ignore[misc] # bound here
                unsynced_bytes += len(block)
                if unsynced_bytes >= SYNC_BYTES:
                    await calls.run(staged.sync)
                    unsynced_bytes = 0
            created = await calls.run(lambda: publish(staged, replace=replace))
            await calls.run(lambda: unstage(staged))
            removed = True
            return created
        finally:
            if not removed:
                await self._clean_up(calls, staged)

    async def _clean_up(self, calls: MountCalls, staged: StagedFile) -> None:
        """After a failure: errors are ignored, because the one that led here matters more."""
        with suppress(VoxFleetError):
            await calls.run(lambda: unstage(staged))


def _longest_first(folders: Sequence[str]) -> list[str]:
    return sorted(folders, key=len, reverse=True)


def _lying_over(path: str, folders: Sequence[str]) -> str:
    """Which of the folders a path is below.

    Raises VoxFleetError(ACCESS_DENIED): what is open to the namespace may have changed since the address was checked.
    """
    for folder in folders:
        if lies_below(path, folder):
            return folder
    raise VoxFleetError(FailureClass.ACCESS_DENIED, _NO_LONGER_OPEN)


def _real_paths(folders: Sequence[str], path: str) -> tuple[list[str], str]:
    require_mounted(path)
    return [real_path(folder) for folder in folders], real_path(path)


def _head(place: Place) -> ObjectVersion:
    descriptor, version = _open(place)
    os.close(descriptor)
    return version


def _open_owned(place: Place) -> tuple[OwnedFile, ObjectVersion]:
    descriptor, version = _open(place)
    return OwnedFile(descriptor), version


def _open(place: Place) -> tuple[int, ObjectVersion]:
    with file_errors(), parent_folder(place, create=False) as (folder, name):
        try:
            descriptor = os.open(name, READ_FLAGS, dir_fd=folder)
        except OSError as error:
            if error.errno == errno.ELOOP and _is_link_loop(name, folder):
                raise VoxFleetError(
                    FailureClass.INPUT_NOT_FOUND, "is a symbolic link that leads back to itself; there is no file"
                ) from None
            raise
        try:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode):
                raise not_regular()
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor, _version(state)


def _is_link_loop(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder)
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def _read(place: Place, version: ObjectVersion, start: int, stop: int) -> bytes:
    descriptor, current = _open(place)
    try:
        if current != version:
            raise changed()
        return _pread(descriptor, stop - start, start)
    finally:
        os.close(descriptor)


def _copy(place: Place, target: int, version: ObjectVersion) -> str:
    source, current = _open(place)
    try:
        if current != version:
            raise changed()
        with scratch_errors():
            if os.fstat(target).st_size > 0:
                os.ftruncate(target, 0)
        digest, size_bytes = hashlib.sha256(), 0
        while block := _pread(source, BLOCK_BYTES, size_bytes):
            progress()
            size_bytes += len(block)
            if size_bytes > version.size_bytes:
                raise changed()
            digest.update(block)
            with scratch_errors():
                write_all(target, block)
        if size_bytes != version.size_bytes or _version(os.fstat(source)) != version:
            raise changed()
        return digest.hexdigest()
    finally:
        os.close(source)


async def _blocks(calls: MountCalls, file: OwnedFile, start: int) -> AsyncGenerator[bytes, None]:
    def read() -> bytes:
        with file.use() as descriptor:
            return _pread(descriptor, BLOCK_BYTES, start)

    while block := await calls.run(read):
        yield block
        start += len(block)


def _pread(descriptor: int, size_bytes: int, offset: int) -> bytes:
    with file_errors():
        return os.pread(descriptor, size_bytes, offset)


def _version(state: os.stat_result) -> ObjectVersion:
    return ObjectVersion(state.st_size, f"{state.st_mtime_ns // 1000:x}-{state.st_size:x}")
