"""A local file that is written under a temporary name and then published atomically."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass

from voxfleet_agent.durable_files import sync_file, sync_folder
from voxfleet_agent.storage.local_paths import Place, file_errors, parent_folder
from voxfleet_agent.storage.mount_calls import progress
from voxfleet_agent.storage.owned_file import OwnedFile
from voxfleet_agent.storage.staging_names import hold, staging_name

_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file under its temporary name."""

    folder: OwnedFile
    file: OwnedFile
    staging: str
    name: str
    """Its name to be."""

    def write(self, block: bytes) -> None:
        with file_errors(), self.file.use() as descriptor:
            write_all(descriptor, block)

    def sync(self) -> None:
        with file_errors(), self.file.use() as descriptor:
            sync_file(descriptor)


def stage(place: Place) -> StagedFile:
    with file_errors(), parent_folder(place, create=True) as (folder, name):
        staging = staging_name()
        descriptor = os.open(staging, _CREATE_FLAGS, 0o666, dir_fd=folder)
        hold(descriptor)
        return StagedFile(OwnedFile(os.dup(folder)), OwnedFile(descriptor), staging, name)


def publish(staged: StagedFile, *, replace: bool) -> bool:
    with file_errors(), staged.file.use() as descriptor, staged.folder.use() as folder:
        sync_file(descriptor)
        progress()  # a write that was given up must not appear hours later
        if replace:
            os.rename(staged.staging, staged.name, src_dir_fd=folder, dst_dir_fd=folder)
        elif not _link(folder, staged.staging, staged.name):
            return False
        sync_folder(folder)
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


def unstage(staged: StagedFile) -> None:
    with file_errors():
        try:
            # Unlinked only after the last use, which may be a publication that nobody waits for any more.
            with suppress(FileNotFoundError), staged.folder.use() as folder:  # it was renamed
                os.unlink(staged.staging, dir_fd=folder)
        finally:
            staged.file.close()
            staged.folder.close()


def write_all(descriptor: int, block: bytes) -> None:
    """Raises OSError."""
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]
