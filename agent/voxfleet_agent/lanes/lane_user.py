"""The account that lanes run as, so that what decodes strangers' files cannot read the agent's secrets.

Files stay the agent's: the lane gets read access to its clips through its group, and can neither add to nor replace
what lies in the agent's folders. That matters, because the agent, which is root, writes there.
"""

from __future__ import annotations

import asyncio
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
    """The account cannot be used. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class LaneUser:
    name: str
    uid: int
    gid: int

    @classmethod
    def named(cls, name: str) -> LaneUser:
        """Raises LaneAccountError: no such account, root itself, or the agent is not root and so cannot use it."""
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
        return cls(name, entry.pw_uid, entry.pw_gid)

    def own(self, folder: Path) -> None:
        """Gives the lane its own folder, 0700."""
        descriptor = os.open(folder, _FOLDER_FLAGS)
        try:
            os.fchown(descriptor, self.uid, self.gid)
            os.fchmod(descriptor, 0o700)
        finally:
            os.close(descriptor)

    def let_read(self, clip: Path) -> None:
        """Lets the lane read one of the agent's files, and reach it in a folder that it cannot list."""
        folder = os.open(clip.parent, _FOLDER_FLAGS)
        try:
            self._let_reach(folder)
            file = os.open(clip.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            try:
                if stat.S_ISREG(os.fstat(file).st_mode):
                    os.fchown(file, -1, self.gid)
                    os.fchmod(file, 0o640)
            finally:
                os.close(file)
        finally:
            os.close(folder)

    def adopt(self, written: Path, path: Path) -> None:
        """Copies what the lane wrote in its own folder to `path`, one of the agent's, and removes it there.

        Never follows a link that the lane put in its place. Raises VoxFleetError(LANE_CRASHED) for anything but a
        file of the lane's own, OSError.
        """
        try:
            source = os.open(written, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise self._not_audio() from error
        with os.fdopen(source, "rb") as file:
            facts = os.fstat(source)
            if not stat.S_ISREG(facts.st_mode) or facts.st_uid != self.uid:
                raise self._not_audio()
            with os.fdopen(os.open(path, _NEW_FILE_FLAGS, 0o600), "wb") as target:
                shutil.copyfileobj(file, target, _COPY_BYTES)
        written.unlink()

    def _not_audio(self) -> VoxFleetError:
        return VoxFleetError(FailureClass.LANE_CRASHED, "the lane put something else where its audio should be")

    def _let_reach(self, folder: int) -> None:
        facts = os.fstat(folder)
        if facts.st_gid != self.gid:
            os.fchown(folder, -1, self.gid)
        if not facts.st_mode & stat.S_IXGRP:
            os.fchmod(folder, stat.S_IMODE(facts.st_mode) | stat.S_IXGRP)


def make_reachable(folder: Path, *, below: Path) -> None:
    """Makes a folder if need be, and lets every account pass through it and its parents up to `below`, not list them.

    Those folders hold nothing but folders with rights of their own.
    """
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    for place in (folder, *folder.parents):
        if place == below:
            return
        place.chmod(0o711)
    raise ValueError(f"{folder} does not lie below {below}")


class LaneReadableModels:
    """A ModelResolver whose models the account can read, and no others of the cache."""

    def __init__(self, models: ModelResolver, account: LaneUser, cache: Path) -> None:
        self._models = models
        self._account = account
        self._cache = cache.resolve()

    async def resolve(self, source: ModelSource, storage: Storage) -> ResolvedModel:
        model = await self._models.resolve(source, storage)
        await asyncio.to_thread(self._open, model.path)
        return model

    def _open(self, folder: Path) -> None:
        """What lies outside the cache has the rights that its owner gave it."""
        for name in sorted(path.name for path in folder.iterdir()):
            file = (folder / name).resolve()  # the hub's layout links to its blobs
            if file.is_relative_to(self._cache) and file.is_file():
                self._let(file, stat.S_IRGRP)
                self._let_pass(file.parent)
        self._let_pass(folder)

    def _let_pass(self, folder: Path) -> None:
        for place in (folder, *folder.parents):
            if not place.is_relative_to(self._cache):
                return
            self._let(place, stat.S_IRGRP | stat.S_IXGRP if place == folder else stat.S_IXGRP)

    def _let(self, place: Path, rights: int) -> None:
        facts = place.stat()
        if facts.st_gid != self._account.gid:
            os.chown(place, -1, self._account.gid)
        if facts.st_mode & rights != rights:
            place.chmod(stat.S_IMODE(facts.st_mode) | rights)
