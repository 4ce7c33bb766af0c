"""Bounded scratch space: one 0700 folder per attempt. Bytes are reserved before they are written."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Container
from itertools import islice
from pathlib import Path

from voxfleet_agent.folder_lock import lock_folder
from voxfleet_agent.scratch_errors import scratch_errors
from voxfleet_agent.scratch_reservations import Request, Reservations, Volume
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_shared import crash_points

ATTEMPTS = "attempts"
SWEEP_ENTRIES = 10_000
"""The most entries that one sweep unlinks, so that it never blocks the agent for long; the next sweep continues."""
PATIENCE_SECONDS = 300.0
"""How long an attempt that has no bytes of its own to wait for waits for others. Its lane stands still meanwhile."""
CHECK_SECONDS = 1.0
"""How often a waiting attempt looks whether other programs have freed the volume."""

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Scratch:
    """All scratch of one agent. It writes and sweeps only `<path>/attempts/`, and touches nothing else."""

    def __init__(
        self, path: Path, quota_bytes: int, min_free_bytes: int, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Creates the folders and locks them for this process. Raises FolderInUseError when another agent uses them."""
        self._lock = lock_folder(path)
        self.attempts_path = path / ATTEMPTS
        self.attempts_path.mkdir(mode=0o700, exist_ok=True)
        self._folder = os.open(self.attempts_path, _FOLDER_FLAGS)
        os.fchmod(self._folder, 0o700)
        self.quota_bytes = quota_bytes
        self.min_free_bytes = min_free_bytes
        self._patience_seconds = patience_seconds
        self._reservations = Reservations(quota_bytes)
        self._decisions: dict[Request, asyncio.Future[VoxFleetError | None]] = {}
        """Of the requests that wait: None once granted, or why not."""
        self._runs: dict[str, AttemptScratch] = {}
        """The last run of each attempt. An earlier one may have been left behind, and ends late."""

    @property
    def reserved_bytes(self) -> int:
        return self._reservations.used_bytes

    def reserved_by(self, owner: str) -> int:
        return self._reservations.used_by(owner)

    def shortage(self) -> str | None:
        """Why no attempt should begin at this moment; None when one may."""
        volume = self._volume()
        if volume.free_bytes >= volume.min_free_bytes:
            return None
        return (
            f"the scratch volume has {volume.free_bytes} bytes free and scratch.minFree is {volume.min_free_bytes};"
            " free the volume"
        )

    async def reserve(self, request: Request, *, wait: bool) -> None:
        """Waits until the request is granted; see scratch_reservations for what it may wait for.

        Raises VoxFleetError(SCRATCH_EXHAUSTED) when it can never be granted, when it is not granted now and `wait` is
        false, and when the owner has waited for others for as long as it may.
        """
        self._reservations.ask(request)
        decision: asyncio.Future[VoxFleetError | None] = asyncio.get_running_loop().create_future()
        self._decisions[request] = decision
        try:
            self._serve()
            if not wait:
                self._give_up(request, "at once")
            await self._decide(request, decision)
        except BaseException:
            self._reservations.withdraw(request)
            self._reservations.release(request)
            raise
        finally:
            del self._decisions[request]
            self._serve()  # whoever stood behind it
        crash_points.point("reserved")

    async def _decide(self, request: Request, decision: asyncio.Future[VoxFleetError | None]) -> None:
        now_seconds = asyncio.get_running_loop().time
        check_seconds = min(CHECK_SECONDS, self._patience_seconds)
        idle_since_seconds = now_seconds()
        while not decision.done():
            await asyncio.wait({decision}, timeout=check_seconds)
            self._serve()
            if decision.done():
                break
            if not self._reservations.is_idle(request.owner):
                idle_since_seconds = now_seconds()
            elif now_seconds() - idle_since_seconds >= self._patience_seconds:
                self._give_up(request, f"within {self._patience_seconds:.0f} s")
        error = decision.result()
        if error is not None:
            raise error

    def is_granted(self, request: Request) -> bool:
        return self._reservations.is_granted(request)

    def free(self, request: Request) -> None:
        if self._reservations.release(request):
            self._serve()

    def is_current(self, run: AttemptScratch) -> bool:
        """Whether the run is its attempt's last one, and its scratch was not removed."""
        return self._runs.get(run.owner) is run

    def _serve(self) -> None:
        """Decides on everything that waits."""
        if all(decision.done() for decision in self._decisions.values()):
            return
        granted, refused = self._reservations.serve(self._volume())
        for request in granted:
            self._decisions[request].set_result(None)
        for request, obstacle in refused:
            self._decisions[request].set_result(_scratch_exhausted(obstacle.reason))

    def _give_up(self, request: Request, when: str) -> None:
        """Refuses a request that still waits."""
        decision = self._decisions[request]
        if not decision.done():
            obstacle = self._reservations.obstacle(request, self._volume())
            reason = "other attempts on this Mac wait for scratch" if obstacle is None else obstacle.reason
            decision.set_result(_scratch_exhausted(f"{reason} (it was not to be had {when})"))

    def _volume(self) -> Volume:
        facts = os.fstatvfs(self._folder)
        available_bytes, unwritten_bytes, returning_bytes = facts.f_bavail * facts.f_frsize, self.reserved_bytes, 0
        if available_bytes - unwritten_bytes - self._reservations.waiting_bytes < self.min_free_bytes:
            unwritten_bytes, returning_bytes = self._unwritten_and_returning_bytes()
        return Volume(
            capacity_bytes=facts.f_blocks * facts.f_frsize,
            free_bytes=available_bytes - unwritten_bytes,
            returning_bytes=returning_bytes,
            min_free_bytes=self.min_free_bytes,
        )

    def _unwritten_and_returning_bytes(self) -> tuple[int, int]:
        unwritten_bytes = returning_bytes = 0
        for request in self._reservations.granted():
            written_bytes = _size_bytes(self.attempts_path / request.owner / request.name)
            unwritten_bytes += max(0, request.size_bytes - written_bytes)
            returning_bytes += 0 if request.kept else max(request.size_bytes, written_bytes)
        return unwritten_bytes, returning_bytes

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
        VoxFleetError(SCRATCH_EXHAUSTED) when the volume is full, read-only or no longer mounted, and
        VoxFleetError(RUNTIME_MISMATCH) when this agent may not use it.
        """
        self._require_in_place()
        with scratch_errors():
            with contextlib.suppress(FileExistsError):  # from an earlier run; `os.open` refuses a link
                os.mkdir(str(key), 0o700, dir_fd=self._folder)
            descriptor = os.open(str(key), _FOLDER_FLAGS, dir_fd=self._folder)
        try:
            with scratch_errors():
                _empty(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._refuse_waiting(str(key))
        self._reservations.open(str(key), limit_bytes)
        run = self._runs[str(key)] = AttemptScratch(self, str(key), descriptor)
        return run

    def _refuse_waiting(self, owner: str) -> None:
        for request, decision in self._decisions.items():
            if request.owner == owner and not decision.done():
                decision.set_result(_scratch_was_removed())

    async def remove_attempt(self, key: AttemptKey) -> int:
        """Removes the attempt's folder and frees its bytes; returns how many entries were unlinked.

        Never follows a link. A second call unlinks nothing and returns 0.
        """
        removed = await asyncio.to_thread(remove_entry, self._folder, str(key))
        self._runs.pop(str(key), None)
        self._reservations.close(str(key))
        self._refuse_waiting(str(key))
        self._serve()
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
    """One run's hold of its attempt's folder; implements stages.stage_context.StageScratch.

    A run that was left behind may end while the next run of its attempt works in the same folder: it reserves, frees
    and removes nothing there.
    """

    def __init__(self, scratch: Scratch, owner: str, descriptor: int) -> None:
        self._scratch = scratch
        self.owner = owner
        self._descriptor = descriptor
        self._requests: dict[str, Request] = {}
        """Granted ones by file name."""
        self.high_water_bytes = 0

    @property
    def path(self) -> Path:
        return self._scratch.attempts_path / self.owner

    @property
    def reserved_bytes(self) -> int:
        return self._scratch.reserved_by(self.owner)

    async def reserve(self, name: str, size_bytes: int, *, wait: bool = True) -> Path:
        """Raises ValueError for a name that is not plain or is reserved already, VoxFleetError(SCRATCH_EXHAUSTED)."""
        return await self._reserve(Request(self.owner, name, size_bytes), wait=wait)

    async def reserve_kept(self, name: str, size_bytes: int, beside_bytes: int) -> Path:
        """Raises as `reserve` does."""
        return await self._reserve(Request(self.owner, name, size_bytes, beside_bytes), wait=True)

    async def _reserve(self, request: Request, *, wait: bool) -> Path:
        name = request.name
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise ValueError("a scratch name is one plain file name")
        if not self._scratch.is_current(self):
            raise _scratch_was_removed()
        await self._scratch.reserve(request, wait=wait)
        self._requests[name] = request
        self.high_water_bytes = max(self.high_water_bytes, self.reserved_bytes)
        return self.path / name

    async def release(self, path: Path) -> None:
        request = self._requests.pop(path.name, None)
        if request is None or not self._scratch.is_granted(request):
            return
        with contextlib.suppress(FileNotFoundError):  # it was never written
            os.unlink(path.name, dir_fd=self._descriptor)
        self._scratch.free(request)

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


def _scratch_exhausted(reason: str) -> VoxFleetError:
    return VoxFleetError(FailureClass.SCRATCH_EXHAUSTED, reason)


def _scratch_was_removed() -> VoxFleetError:
    return _scratch_exhausted("the attempt's scratch was removed, or the attempt runs again")


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
