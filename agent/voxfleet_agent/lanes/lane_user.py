"""The account that lanes run as, so that the process that decodes strangers' files cannot read the agent's secrets.

Files still belong to the agent. The lane user may read its clips through its group. It cannot add or replace files in
the agent's folders: the agent writes there as root, and what the account planted could mislead it.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from voxfleet_agent.models.resolved_model import ModelResolver, ResolvedModel
from voxfleet_agent.storage import Storage
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_model import ModelSource

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_COPY_BYTES = 2**20


class LaneUserError(Exception):
    """The account cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class LaneUser:
    name: str
    uid: int
    gid: int

    @classmethod
    def from_name(cls, name: str) -> LaneUser:
        """Raises LaneUserError when there is no such account, when it is root or shares its primary group, or when the
        agent is not root."""
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise LaneUserError(f"laneUser: there is no account {name} on this machine; create it") from None
        if entry.pw_uid == 0:
            raise LaneUserError("laneUser: root can read the ledger key; name an account without rights")
        if os.geteuid() != 0:
            raise LaneUserError(
                f"laneUser: only root can run lanes as {name}; run the agent as root or remove the field"
            )
        others = other_members(entry)
        if others:
            raise LaneUserError(
                f"laneUser: the primary group of {name} is also that of {', '.join(others[:3])}"
                f"{', …' if others[3:] else ''}, who could read every clip; give {name} a group of its own"
                " (docs/how-to/add-a-mac.md says how)"
            )
        return cls(name, entry.pw_uid, entry.pw_gid)

    def give_folder(self, folder: Path) -> None:
        """Makes the account the owner of the lane's folder, with mode 0700."""
        descriptor = os.open(folder, _FOLDER_FLAGS)
        try:
            os.fchown(descriptor, self.uid, self.gid)
            os.fchmod(descriptor, 0o700)
        finally:
            os.close(descriptor)

    def grant_read(self, clip: Path) -> None:
        """Lets the account read one of the agent's files, and pass through its folder without listing it."""
        folder = os.open(clip.parent, _FOLDER_FLAGS)
        try:
            self._grant_passage(folder)
            file = os.open(clip.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            try:
                if stat.S_ISREG(os.fstat(file).st_mode):
                    os.fchown(file, -1, self.gid)
                    os.fchmod(file, 0o640)
            finally:
                os.close(file)
        finally:
            os.close(folder)

    def _grant_passage(self, folder: int) -> None:
        facts = os.fstat(folder)
        if facts.st_gid != self.gid:
            os.fchown(folder, -1, self.gid)
        if not facts.st_mode & stat.S_IXGRP:
            os.fchmod(folder, stat.S_IMODE(facts.st_mode) | stat.S_IXGRP)


def other_members(account: pwd.struct_passwd) -> list[str]:
    """The other accounts that this machine lists as members of the account's primary group, sorted."""
    try:
        named = grp.getgrgid(account.pw_gid).gr_mem
    except KeyError:
        named = []  # the group has no name, and no members but those whose primary group it is
    primary = [entry.pw_name for entry in pwd.getpwall() if entry.pw_gid == account.pw_gid]
    return sorted({*named, *primary} - {account.pw_name})


def collect_file(written: Path, path: Path, owner: int) -> None:
    """Moves a file from the lane's folder to `path` in a folder of the agent's, as a copy that the lane cannot change.

    Never follows a link that the lane put in the file's place. `owner`: the lane's uid. Raises OSError, and
    VoxFleetError(LANE_CRASHED) for anything but a file that the lane owns.
    """
    try:
        source = os.open(written, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _not_audio() from error
    with os.fdopen(source, "rb") as file:
        facts = os.fstat(source)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != owner:
            raise _not_audio()
        with os.fdopen(os.open(path, _NEW_FILE_FLAGS, 0o600), "wb") as target:
            shutil.copyfileobj(file, target, _COPY_BYTES)
    written.unlink()


def _not_audio() -> VoxFleetError:
    return VoxFleetError(FailureClass.LANE_CRASHED, "the lane put something else where its audio should be")


def make_reachable(folder: Path, *, below: Path) -> None:
    """Creates a folder and its parents if need be, and lets every account pass through it and those below `below`.

    No account may list them, nor a parent that was missing. They contain only folders that have their own rights.
    Raises ValueError when `folder` does not lie below `below`.
    """
    missing = [directory for directory in folder.parents if not directory.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for directory in missing:
        directory.chmod(0o711)
    for directory in (folder, *folder.parents):
        if directory == below:
            return
        directory.chmod(0o711)
    raise ValueError(f"{folder} does not lie below {below}")


class LaneReadableModels:
    """A ModelResolver that lets the lane user read the models that it resolves, and nothing else of the cache."""

    def __init__(self, models: ModelResolver, lane_user: LaneUser, cache: Path) -> None:
        self._models = models
        self._lane_user = lane_user
        self._cache = cache.resolve()

    async def resolve(self, source: ModelSource, storage: Storage) -> ResolvedModel:
        model = await self._models.resolve(source, storage)
        await storage.call_at(str(model.path), lambda: self._grant_model(model.path))
        return model

    def _grant_model(self, folder: Path) -> None:
        """Makes the model's files readable; those outside the cache keep the rights that their owner gave them."""
        for name in sorted(path.name for path in folder.iterdir()):
            file = (folder / name).resolve()  # in the hub's cache layout, files are links to blobs
            if file.is_relative_to(self._cache) and file.is_file():
                self._grant(file, stat.S_IRGRP)
                self._grant_folder(file.parent)
        self._grant_folder(folder)

    def _grant_folder(self, folder: Path) -> None:
        for directory in (folder, *folder.parents):
            if not directory.is_relative_to(self._cache):
                return
            self._grant(directory, stat.S_IRGRP | stat.S_IXGRP if directory == folder else stat.S_IXGRP)

    def _grant(self, path: Path, rights: int) -> None:
        facts = path.stat()
        if facts.st_gid != self._lane_user.gid:
            os.chown(path, -1, self._lane_user.gid)
        if facts.st_mode & rights != rights:
            path.chmod(stat.S_IMODE(facts.st_mode) | rights)
