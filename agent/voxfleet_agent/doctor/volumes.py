"""Checks scratch (where it lies, its speed and its free space), and who may read the agent's files."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path, PurePath

import psutil

from voxfleet_agent.addresses import AllowList
from voxfleet_agent.config import AgentConfig
from voxfleet_agent.doctor.finding import Finding, fail, ok, warn
from voxfleet_agent.durable_files import sync_file
from voxfleet_agent.storage import Mounts, require_mounted
from voxfleet_agent.storage.mount_calls import progress
from voxfleet_agent.volumes import unmounted_volume
from voxfleet_api.failures import VoxFleetError

_NETWORK_FILESYSTEMS = frozenset(
    {"nfs", "nfs4", "smbfs", "cifs", "smb3", "afpfs", "webdav", "davfs", "9p", "ceph", "glusterfs"}
)
_PURGED_FOLDERS = ("/tmp", "/private/tmp", "/var/tmp", "/private/var/tmp", "/var/folders", "/private/var/folders")  # noqa: S108 -- named, not used
_SPEED_BYTES = 64 * 2**20
_SLOW_MIB_PER_SECOND = 200
_MIB = 2**20
ANSWER_SECONDS = 30.0
"""How long a volume may make no progress while it is checked."""


@dataclass(frozen=True, slots=True)
class Volume:
    """The volume that a folder lies on."""

    path: Path
    filesystem: str
    free_bytes: int


def check_volumes(config: AgentConfig) -> list[Finding]:
    """Runs all checks; writes and removes one file of 64 MiB in the scratch folder, and makes no folder."""
    mounts = Mounts(AllowList(config.allow).folders, ANSWER_SECONDS)
    try:
        found = mounts.of(str(config.scratch.path)).run_blocking(lambda: _check_scratch(config))
    except VoxFleetError as error:
        found = [fail("scratch", error.message, "mount its volume again, or correct scratch.path")]
    return [*found, *(_check_allowed(mounts, folder) for folder in AllowList(config.allow).folders)]


def _check_allowed(mounts: Mounts, folder: str) -> Finding:
    try:
        exists = mounts.of(folder).run_blocking(lambda: _is_folder(folder))
    except (VoxFleetError, OSError) as error:
        message = error.message if isinstance(error, VoxFleetError) else f"{folder}: {error.strerror}"
        return fail("allow", message, "mount it again, or take it out of allow: its attempts would wait and fail")
    if not exists:
        return warn("allow", f"{folder} does not exist", "mount it, or correct allow: attempts there would fail")
    return ok("allow", f"{folder} answers")


def _is_folder(path: str) -> bool:
    require_mounted(path)
    return Path(path).is_dir()


def _check_scratch(config: AgentConfig) -> list[Finding]:
    scratch = config.scratch
    if (mount := unmounted_volume(scratch.path)) is not None:
        return [judge_unmounted(mount), *judge_modes(_modes(config))]
    try:
        volume = read_volume(scratch.path)
        exists = scratch.path.exists()
        return [
            judge_location(volume),
            judge_free_space(volume, scratch.quota_bytes, scratch.min_free_bytes),
            judge_speed(_write_speed(scratch.path)) if exists else judge_missing(scratch.path),
            *judge_modes(_modes(config)),
        ]
    except OSError as error:
        return [fail("scratch", f"{scratch.path}: {error.strerror}", "correct scratch.path, or its owner")]


def judge_unmounted(mount_point: PurePath) -> Finding:
    return fail(
        "scratch",
        f"the volume {mount_point} is not mounted: scratch would fill the start disk",
        "mount it, or correct scratch.path; a folder of that name on the start disk must go first",
    )


def judge_missing(path: Path) -> Finding:
    found = f"{path} does not exist, so its speed and permissions were not checked"
    parent = nearest_existing(path)
    if not os.access(parent, os.W_OK | os.X_OK):
        return fail("scratch", f"{found}; this account may not make it in {parent}", "make it, or correct scratch.path")
    return warn("scratch", found, f"mkdir -m 700 -p {path}, or correct scratch.path; then run doctor again")


def nearest_existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def judge_location(volume: Volume) -> Finding:
    if volume.filesystem.lower() in _NETWORK_FILESYSTEMS or volume.filesystem.lower().startswith("fuse"):
        return fail(
            "scratch place", f"{volume.path} lies on a network volume ({volume.filesystem})", "use a local, fast volume"
        )
    if volume.filesystem == "tmpfs":
        return warn(
            "scratch place",
            f"{volume.path} lies in memory (tmpfs)",
            "use a disk: scratch would compete with the models",
        )
    if any(volume.path.is_relative_to(purged) for purged in _PURGED_FOLDERS):
        return fail(
            "scratch place",
            f"{volume.path} lies below a folder that the system empties by itself",
            "use a folder of its own, such as /Volumes/scratch/voxfleet",
        )
    return ok("scratch place", f"{volume.path} on {volume.filesystem}")


def judge_free_space(volume: Volume, quota_bytes: int, min_free_bytes: int) -> Finding:
    needed = quota_bytes + min_free_bytes
    found = f"{volume.free_bytes // _MIB} MiB free, quota and minFree are {needed // _MIB} MiB together"
    if volume.free_bytes < min_free_bytes:
        return fail("scratch room", found, "free the volume, or lower scratch.minFree: attempts are refused now")
    if volume.free_bytes < needed:
        return warn("scratch room", found, "free the volume, or lower scratch.quota, so that the quota can be used")
    return ok("scratch room", found)


def judge_speed(bytes_per_second: float) -> Finding:
    speed = bytes_per_second / _MIB
    if speed < _SLOW_MIB_PER_SECOND:
        return warn(
            "scratch speed", f"{speed:.0f} MiB/s written and synced", "use a faster volume; an internal SSD does"
        )
    return ok("scratch speed", f"{speed:.0f} MiB/s written and synced")


def judge_modes(modes: dict[Path, tuple[int, int]]) -> list[Finding]:
    """Fails for each path that other users may access. `modes`: (permission bits, owner) by path."""
    problems = []
    for path, (mode, owner) in modes.items():
        if owner != os.geteuid():
            problems.append(f"{path} belongs to user {owner}; chown it to the agent's account")
        elif mode & 0o077:
            problems.append(f"{path} is open to others ({mode:o}); chmod go-rwx {path}")
    if problems:
        return [fail("permissions", text.partition(";")[0], text.partition("; ")[2]) for text in problems]
    return [ok("permissions", f"{len(modes)} private files and folders are the agent's alone")]


def read_volume(path: Path) -> Volume:
    resolved = path.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if resolved.is_relative_to(part.mountpoint)]
    deepest = max(mounts, key=lambda part: len(part.mountpoint), default=None)
    return Volume(
        resolved,
        deepest.fstype if deepest is not None else "unknown",
        psutil.disk_usage(str(nearest_existing(resolved))).free,
    )


def _modes(config: AgentConfig) -> dict[Path, tuple[int, int]]:
    paths = (*config.secret_files.values(), config.state_dir, config.scratch.path)
    statuses = {path: path.stat() for path in paths if path.exists()}
    return {path: (stat.S_IMODE(status.st_mode), status.st_uid) for path, status in statuses.items()}


def _write_speed(folder: Path) -> float:
    """Measures one sequential write with its sync, in bytes per second."""
    block = os.urandom(_MIB)
    path = folder / f".doctor-{os.getpid()}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        started = time.monotonic()
        for _ in range(_SPEED_BYTES // _MIB):
            os.write(descriptor, block)
            progress()
        sync_file(descriptor)
        return _SPEED_BYTES / max(time.monotonic() - started, 1e-6)
    finally:
        os.close(descriptor)
        path.unlink()
