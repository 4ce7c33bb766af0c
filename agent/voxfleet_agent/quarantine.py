"""Retains quarantined clips on this Mac, as contracts ask: `<folder>/<namespace>/<job>-<uid8>/`.

Each clip has a folder `<index>-<class>` with `evidence.json`, `kept.json` and, when it was fetched, `clip`. The files
have their own quota, apart from scratch, and do not count as residue of an attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from voxfleet_agent.clock import Clock, timestamp
from voxfleet_agent.durable_files import sync_file, sync_file_at, sync_folder
from voxfleet_agent.logs import logger
from voxfleet_agent.scratch import remove_entry
from voxfleet_agent.scratch_errors import scratch_errors
from voxfleet_api.attempt_spec import AttemptSpec
from voxfleet_api.base import SpecModel
from voxfleet_api.digest import canonical_json
from voxfleet_api.quantities import duration_milliseconds
from voxfleet_api.rows import Evidence

_log = logger("voxfleet.quarantine")

EVIDENCE_NAME = "evidence.json"
CLIP_NAME = "clip"
_KEPT_NAME = "kept.json"
_UNFINISHED = ".unfinished-"
_PLAIN_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,198}[a-z0-9])?")
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _RetentionRecord(SpecModel):
    """The content of kept.json. Times are RFC 3339 in UTC, because a clip outlives the process that kept it."""

    kept_at: str
    expires_at: str


@dataclass(frozen=True, slots=True)
class RetainedClip:
    """One quarantined clip on this Mac."""

    namespace: str
    job: str
    """`<job>-<uid8>`"""
    name: str
    """`<index>-<class>`"""
    path: Path
    size_bytes: int
    kept_at: datetime
    expires_at: datetime

    @property
    def index(self) -> int:
        return int(self.name.partition("-")[0])


class QuarantineStore:
    """All retained clips of one Mac, within one quota that its jobs share."""

    def __init__(self, folder: Path, quota_bytes: int, clock: Clock) -> None:
        self.path = folder
        self.quota_bytes = quota_bytes
        self._clock = clock
        self._change_lock = asyncio.Lock()
        self._usage: QuarantineQuota | None = None
        """From the last scan, with this process's changes since; another process may have discarded clips meanwhile."""

    def open(self, spec: AttemptSpec) -> JobQuarantine:
        """The job's folder. It is created with the first clip that is kept."""
        retain = spec.contract.quarantine.retain_for
        folder = Path(_safe(spec.namespace), _safe(f"{spec.job.name}-{spec.job.uid[:8]}"))
        milliseconds = None if retain is None else duration_milliseconds(retain)
        return JobQuarantine(self, folder, milliseconds)

    def clips(self) -> list[RetainedClip]:
        """All retained clips, the oldest first."""
        clips = [
            _read_clip(namespace.name, job.name, clip)
            for namespace in _subfolders(self.path)
            for job in _subfolders(namespace)
            for clip in _subfolders(job)
            if not clip.name.startswith(_UNFINISHED)
        ]
        return sorted(clips, key=lambda clip: (clip.kept_at, clip.namespace, clip.job, clip.name))

    @property
    def size_bytes(self) -> int:
        """The size of all clips, from memory; 0 before the first `expire` or `keep`."""
        return 0 if self._usage is None else self._usage.size_bytes

    @property
    def count(self) -> int:
        """The number of clips, from memory; 0 before the first `expire` or `keep`."""
        return 0 if self._usage is None else self._usage.count

    def discard(self, clips: Sequence[RetainedClip]) -> int:
        """Removes these clips, and folders that become empty; returns the freed bytes."""
        freed_bytes = 0
        for clip in clips:
            if self._remove(Path(clip.namespace, clip.job), clip.name):
                freed_bytes += clip.size_bytes
        return freed_bytes

    def _usage_of(self, clips: Sequence[RetainedClip]) -> QuarantineQuota:
        usage = QuarantineQuota(self.quota_bytes)
        for clip in clips:
            usage.add(Path(clip.namespace, clip.job), clip.name, clip.size_bytes)
        return usage

    async def expire(self) -> int:
        """Removes expired clips and the leftovers of a crash during `keep`; returns the number of expired clips."""
        async with self._change_lock:
            return await asyncio.to_thread(self._expire)

    async def keep(self, folder: Path, evidence: Evidence, clip: Path | None, retain_milliseconds: int) -> None:
        """Raises VoxFleetError when the volume takes nothing; see `scratch_error`."""
        async with self._change_lock:
            with scratch_errors():
                await asyncio.to_thread(self._keep, folder, evidence, clip, retain_milliseconds)

    def _keep(self, folder: Path, evidence: Evidence, clip: Path | None, retain_milliseconds: int) -> None:
        now = self._clock.wall()
        record = _RetentionRecord(
            kept_at=timestamp(now), expires_at=timestamp(now + timedelta(milliseconds=retain_milliseconds))
        )
        evidence_json, record_json = canonical_json(evidence.dump()), canonical_json(record.dump())
        name = f"{evidence.index:06d}-{evidence.failure_class.value}"
        if self._usage is None:
            self._usage = self._usage_of(self.clips())
        self._remove(folder, name)
        size_bytes = len(evidence_json) + len(record_json)
        if clip is not None and self._make_room(self._usage, folder, size_bytes + clip.stat().st_size):
            size_bytes += clip.stat().st_size
        else:
            clip = None
            self._make_room(self._usage, folder, size_bytes)
        descriptor = self._open(folder, create=True)
        try:
            unfinished = f"{_UNFINISHED}{name}"
            remove_entry(descriptor, unfinished)
            os.mkdir(unfinished, 0o700, dir_fd=descriptor)
            clip_folder = os.open(unfinished, _FOLDER_FLAGS, dir_fd=descriptor)
            try:
                _write_file(clip_folder, EVIDENCE_NAME, evidence_json)
                _write_file(clip_folder, _KEPT_NAME, record_json)
                if clip is not None:
                    _link_or_copy(clip, clip_folder, CLIP_NAME)
                sync_folder(clip_folder)
            finally:
                os.close(clip_folder)
            os.rename(unfinished, name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
            sync_folder(descriptor)
            self._usage.add(folder, name, size_bytes)
        finally:
            os.close(descriptor)

    def _make_room(self, usage: QuarantineQuota, folder: Path, size_bytes: int) -> bool:
        """Evicts clips until `size_bytes` of the job at `folder` fit; returns whether they fit.

        The caller keeps evidence, which is small, even when it does not fit.
        """
        if size_bytes > self.quota_bytes:
            return False
        while not usage.fits(size_bytes):
            evicted = usage.next_to_evict(folder, size_bytes)
            if evicted is None or not self._removed(*evicted):
                return False
        return True

    def _expire(self) -> int:
        now = self._clock.wall()
        clips = self.clips()
        self._usage = self._usage_of(clips)
        expired = [clip for clip in clips if clip.expires_at <= now]
        for clip in expired:
            self._removed(Path(clip.namespace, clip.job), clip.name)
        for namespace in _subfolders(self.path):
            for job in _subfolders(namespace):
                for entry in _subfolders(job):
                    if entry.name.startswith(_UNFINISHED):
                        self._removed(Path(namespace.name, job.name), entry.name)
        return len(expired)

    def _removed(self, folder: Path, name: str) -> bool:
        """Like `_remove`, but a clip that cannot be removed stays, and counts: no work may end because of it."""
        try:
            self._remove(folder, name)
        except OSError as error:
            _log.warning(
                "a quarantined clip cannot be removed; check its owner and its volume",
                namespace=folder.parent.name,
                job=folder.name,
                error=error.strerror,
            )
            return False
        return True

    def _remove(self, folder: Path, name: str) -> int:
        """Removes a clip, and folders that become empty; returns how many of the clip's entries were unlinked."""
        removed = 0
        with contextlib.suppress(FileNotFoundError):
            descriptor = self._open(folder, create=False)
            try:
                removed = remove_entry(descriptor, name)
            finally:
                os.close(descriptor)
        if self._usage is not None:
            self._usage.remove(folder, name)
        for empty in (self.path / folder, self.path / folder.parent):
            with contextlib.suppress(OSError):  # the folder holds another clip
                empty.rmdir()
        return removed

    def _open(self, folder: Path, *, create: bool) -> int:
        """A descriptor of the folder `<namespace>/<job>`. No component of the path may be a link."""
        if create:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path, _FOLDER_FLAGS)
        for part in folder.parts:
            parent = descriptor
            try:
                if create:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, 0o700, dir_fd=parent)
                descriptor = os.open(part, _FOLDER_FLAGS, dir_fd=parent)
            finally:
                os.close(parent)
        return descriptor


class JobQuarantine:
    """One job's folder; implements stages.stage_context.QuarantineFolder."""

    def __init__(self, store: QuarantineStore, folder: Path, retain_milliseconds: int | None) -> None:
        self._store = store
        self._folder = folder
        self._retain_milliseconds = retain_milliseconds

    async def keep(self, evidence: Evidence, clip: Path | None) -> None:
        """Does nothing when the contract has no `retainFor`. Raises VoxFleetError(SCRATCH_EXHAUSTED)."""
        if self._retain_milliseconds is not None:
            await self._store.keep(self._folder, evidence, clip, self._retain_milliseconds)


def _safe(name: str) -> str:
    """The name itself when it is a plain API name; otherwise a hashed name that cannot leave its folder."""
    return name if _PLAIN_NAME.fullmatch(name) else f"x-{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def _subfolders(folder: Path) -> list[Path]:
    """Folders directly below a folder, without links, sorted by name; none when it is missing."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def _read_clip(namespace: str, job: str, folder: Path) -> RetainedClip:
    """A clip whose record cannot be read counts as expired long ago, so it is evicted first."""
    size_bytes, never = 0, datetime.fromtimestamp(0, UTC)
    kept_at = expires_at = never
    try:
        with os.scandir(folder) as entries:
            size_bytes = sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
        record = _RetentionRecord.model_validate_json((folder / _KEPT_NAME).read_bytes())
        kept_at, expires_at = (datetime.fromisoformat(text) for text in (record.kept_at, record.expires_at))
    except (OSError, ValueError):  # also a clip that another account made unreadable
        pass
    return RetainedClip(namespace, job, folder.name, folder, size_bytes, kept_at, expires_at)


def _write_file(folder: int, name: str, content: bytes) -> None:
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        sync_file(file.fileno())


def _link_or_copy(source: Path, folder: int, name: str) -> None:
    """Links the file where the file system can, so that no byte is written twice; scratch then unlinks its own name."""
    try:
        os.link(source, name, dst_dir_fd=folder, follow_symlinks=False)
    except OSError:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        with source.open("rb") as opened, os.fdopen(descriptor, "wb") as file:
            shutil.copyfileobj(opened, file)
            file.flush()
            sync_file(file.fileno())
    else:
        sync_file_at(source)


class QuarantineQuota:
    """One quota for all jobs. A job above its equal share makes room, beginning with its oldest clip."""

    def __init__(self, quota_bytes: int) -> None:
        self._quota_bytes = quota_bytes
        self._jobs: dict[Path, OrderedDict[str, int]] = {}
        """Bytes of each clip by job and name, the oldest first."""
        self._job_bytes: dict[Path, int] = {}
        self.size_bytes = 0
        self.count = 0

    def add(self, job: Path, name: str, size_bytes: int) -> None:
        """Adds a new clip, the youngest of its job."""
        self._jobs.setdefault(job, OrderedDict())[name] = size_bytes
        self._change(job, size_bytes, 1)

    def remove(self, job: Path, name: str) -> None:
        """Does nothing when there is no such clip."""
        size_bytes = self._jobs.get(job, OrderedDict[str, int]()).pop(name, None)
        if size_bytes is not None:
            self._change(job, -size_bytes, -1)
            if not self._jobs[job]:
                del self._jobs[job], self._job_bytes[job]

    def fits(self, size_bytes: int) -> bool:
        return self.size_bytes + size_bytes <= self._quota_bytes

    def next_to_evict(self, job: Path, size_bytes: int) -> tuple[Path, str] | None:
        """Returns (job, name) of the clip to remove so that `size_bytes` more of `job` may fit.

        None when no job that has clips exceeds its share: then the new clip itself is too large.
        """
        share_bytes = self._quota_bytes // len(self._jobs.keys() | {job})
        wanted_bytes = {key: total + (size_bytes if key == job else 0) for key, total in self._job_bytes.items()}
        largest = max(wanted_bytes, key=wanted_bytes.__getitem__, default=None)
        if largest is None or wanted_bytes[largest] <= share_bytes:
            return None
        return largest, next(iter(self._jobs[largest]))

    def _change(self, job: Path, size_bytes: int, count: int) -> None:
        self._job_bytes[job] = self._job_bytes.get(job, 0) + size_bytes
        self.size_bytes += size_bytes
        self.count += count
