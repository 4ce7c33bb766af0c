"""The lock that allows a lane only one child, and the way to end a child whose agent is gone."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

LOCK_NAME = "lane.lock"
_MAX_RECORD_BYTES = 4096
_START_TOLERANCE_SECONDS = 2.0
_REAP_SECONDS = 10.0


class LaneBusyError(Exception):
    """Another process holds the lane."""


class LockHolder(BaseModel):
    """The process that holds a lane, as its lock file records it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    started_at: float
    """Seconds since the epoch, from psutil."""


def acquire(lane_dir: Path) -> int:
    """Locks the lane for the life of this process and records it; returns the descriptor, which must stay open.

    Raises LaneBusyError.
    """
    descriptor = _open(lane_dir / LOCK_NAME, os.O_CREAT)
    if not _try_lock(descriptor):
        os.close(descriptor)
        raise LaneBusyError(f"another process holds {lane_dir / LOCK_NAME}")
    holder = LockHolder(pid=os.getpid(), started_at=psutil.Process().create_time())
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, holder.model_dump_json().encode(), 0)
    return descriptor


def reap_stale(lane_dir: Path, uid: int | None = None) -> int | None:
    """Ends a child that an earlier agent left behind; returns its pid, or None when the lane was free.

    Ends only the process that holds the lock, identified by pid and start time. `uid`: the account that lanes run as;
    that account can write the lock file, which therefore must not name a process of another account. Raises
    LaneBusyError when the holder is unknown, runs under another account, or does not end.
    """
    try:
        descriptor = _open(lane_dir / LOCK_NAME)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise LaneBusyError(
            f"{lane_dir / LOCK_NAME} belongs to another account, as of an agent that ran as root; remove {lane_dir}"
        ) from error
    try:
        if _try_lock(descriptor):
            return None
        holder = _read_holder(descriptor)
        process = _living_process(holder)
        if holder is None or process is None:
            if _try_lock(descriptor):  # it has ended in the meantime
                return None
            raise LaneBusyError(f"{lane_dir / LOCK_NAME} is held by a process that it does not name; end that process")
        if uid is not None and process.uids().real != uid:
            raise LaneBusyError(f"{lane_dir / LOCK_NAME} names process {holder.pid}, which runs under another account")
        process.kill()
        try:
            process.wait(_REAP_SECONDS)
        except psutil.TimeoutExpired as error:
            raise LaneBusyError(f"process {holder.pid} holds {lane_dir / LOCK_NAME} and does not end") from error
        return holder.pid
    except psutil.NoSuchProcess:
        return None
    finally:
        os.close(descriptor)


def _open(path: Path, flags: int = 0) -> int:
    """Opens the lock file; removes what no process can hold as a lock. Raises OSError.

    The lane's account can write in the folder, and a child that a hostile clip took over must not stop the next ones.
    """
    flags |= os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR):
            raise
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)
    return os.open(path, flags, 0o600)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_holder(descriptor: int) -> LockHolder | None:
    try:
        return LockHolder.model_validate_json(os.pread(descriptor, _MAX_RECORD_BYTES, 0))
    except ValidationError:
        return None


def _living_process(holder: LockHolder | None) -> psutil.Process | None:
    if holder is None:
        return None
    try:
        process = psutil.Process(holder.pid)
        same = abs(process.create_time() - holder.started_at) < _START_TOLERANCE_SECONDS
    except psutil.NoSuchProcess:
        return None
    return process if same else None
