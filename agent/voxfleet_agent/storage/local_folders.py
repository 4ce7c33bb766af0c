"""Walks below a local folder: lists its files, or removes what killed writers left."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from itertools import islice
from pathlib import Path

from voxfleet_agent.storage.listing import EnterFolder, Listing, SkippedFolder
from voxfleet_agent.storage.local_paths import READ_FLAGS, Place, file_error, file_errors, open_folder
from voxfleet_agent.storage.mount_calls import progress
from voxfleet_agent.storage.object_version import check_count
from voxfleet_agent.storage.staging_names import STAGING_PREFIX, is_left_behind
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.input_selection import SkipReason

SWEPT_ENTRIES = 200_000
"""How many entries one sweep looks at."""

_SKIPPED = {
    errno.EACCES: SkipReason.NOT_READABLE,
    errno.EPERM: SkipReason.NOT_READABLE,
    # Links are not entered: these folders were replaced by links while the prefix was being listed.
    errno.ELOOP: SkipReason.LINKED_FOLDER,
    errno.ENOTDIR: SkipReason.LINKED_FOLDER,
}
"""Errors of one folder below a prefix that leave its neighbours listed."""


def walk(place: Place, limit: int, enter: EnterFolder) -> Listing:
    listing = Listing(exists=_is_folder(place.path))
    pending: list[tuple[str, ...]] = [()] if listing.exists else []
    while pending:
        below = pending.pop()
        try:
            with open_folder(place.folder, place.path, below) as folder, os.scandir(folder) as entries:
                for entry in entries:
                    progress()
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
                raise file_error(error) from None
    return listing


def _is_folder(path: str) -> bool:
    """False when nothing has this path. Raises VoxFleetError(INVALID_INPUT) for a file."""
    with file_errors():
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


def _links_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # the link leads back to itself, or to where nothing may be looked up
        return False


def remove_unfinished(place: Place, now: float) -> int:
    """What cannot be read or removed stays: its neighbours still go. `now`: seconds since the epoch."""
    removed = 0
    pending: list[tuple[str, ...]] = [()]
    seen = 0
    while pending and seen < SWEPT_ENTRIES:
        below = pending.pop()
        with (
            suppress(OSError),
            open_folder(place.folder, place.path, below) as folder,
            os.scandir(folder) as entries,
        ):
            for entry in islice(entries, SWEPT_ENTRIES - seen):
                progress()
                seen += 1
                with suppress(OSError):  # its writer, or another sweep, was faster; or it belongs to another account
                    if entry.is_dir(follow_symlinks=False):
                        pending.append((*below, entry.name))
                    elif entry.name.startswith(STAGING_PREFIX):
                        removed += _remove_left_behind(folder, entry.name, now)
    return removed


def _remove_left_behind(folder: int, name: str, now: float) -> bool:
    age_seconds = now - os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
    left_behind = is_left_behind(name, age_seconds, lambda: os.open(name, READ_FLAGS, dir_fd=folder))
    if left_behind:
        os.unlink(name, dir_fd=folder)
    return left_behind
