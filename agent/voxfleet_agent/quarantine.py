"""Quarantined clips that contracts ask to retain on this Mac: `<folder>/<namespace>/<job>-<uid8>/`.

Each clip has a folder `<index>-<class>` with `evidence.json`, `kept.json` and, when it was fetched, `clip`. The files
are counted apart from scratch and are no attempt's residue.
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

from pydantic import ValidationError

from voxfleet_agent.clock import Clock, timestamp
from voxfleet_agent.scratch import remove_entry, writing_scratch
from voxfleet_api.base import SpecModel
from voxfleet_api.digest import canonical_json
from voxfleet_api.protocol import AttemptSpec
from voxfleet_api.quantities import duration_milliseconds
from voxfleet_api.results import Evidence

EVIDENCE_NAME = "evidence.json"
CLIP_NAME = "clip"
_KEPT_NAME = "kept.json"
_UNFINISHED = ".unfinished-"
_PLAIN_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,198}[a-z0-9])?")
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _Kept(SpecModel):
    """kept.json. Times are RFC 3339 in UTC: a clip outlives the process that kept it."""

    kept_at: str
    expires_at: str


@dataclass(frozen=True, slots=True)
class RetainedClip:
    """One clip of the quarantine."""

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
    """All retained clips of one Mac, within one quota that jobs share."""

    def __init__(self, folder: Path, quota_bytes: int, clock: Clock) -> None:
        self.path = folder
        self._quota_bytes = quota_bytes
        self._clock = clock
        self._changing = asyncio.Lock()
        self._room: QuarantineQuota | None = None
        """As the last scan found it and as it changed since; another process may have discarded some."""

    def open(self, spec: AttemptSpec) -> JobQuarantine:
        """The job's folder; nothing is made before there is something to keep."""
        retain = spec.contract.quarantine.retain_for
        folder = Path(_safe(spec.namespace), _safe(f"{spec.job.name}-{spec.job.uid[:8]}"))
        milliseconds = None if retain is None else duration_milliseconds(retain)
        return JobQuarantine(self, folder, milliseconds)

    def clips(self) -> list[RetainedClip]:
        """All of them, the oldest first."""
        found = [
            _read(namespace.name, job.name, clip)
            for namespace in _folders(self.path)
            for job in _folders(namespace)
            for clip in _folders(job)
            if not clip.name.startswith(_UNFINISHED)
        ]
        return sorted(found, key=lambda clip: (clip.kept_at, clip.namespace, clip.job, clip.name))

    @property
    def size_bytes(self) -> int:
        """Of all clips, without a look at the disk; 0 before the first `expire` or `keep`."""
        return 0 if self._room is None else self._room.size_bytes

    @property
    def count(self) -> int:
        """Of clips; as `size_bytes`."""
        return 0 if self._room is None else self._room.count

    def discard(self, clips: Sequence[RetainedClip]) -> int:
        """Removes these clips, and folders that have become empty; returns the bytes that were freed."""
        freed = 0
        for clip in clips:
            if self._remove(Path(clip.namespace, clip.job), clip.name):
                freed += clip.size_bytes
        return freed

    def _scanned(self, clips: Sequence[RetainedClip]) -> QuarantineQuota:
        room = QuarantineQuota(self._quota_bytes)
        for clip in clips:
            room.add(Path(clip.namespace, clip.job), clip.name, clip.size_bytes)
        return room

    async def expire(self) -> int:
        """Removes clips whose time is over and what a crash left half kept; returns how many clips."""
        async with self._changing:
            return await asyncio.to_thread(self._expire)

    async def keep(self, folder: Path, evidence: Evidence, clip: Path | None, retain_milliseconds: int) -> None:
        """Raises VoxFleetError(SCRATCH_EXHAUSTED) when the volume is full or read-only."""
        async with self._changing:
            with writing_scratch():
                await asyncio.to_thread(self._keep, folder, evidence, clip, retain_milliseconds)

    def _keep(self, folder: Path, evidence: Evidence, clip: Path | None, retain_milliseconds: int) -> None:
        now = self._clock.wall()
        kept = _Kept(kept_at=timestamp(now), expires_at=timestamp(now + timedelta(milliseconds=retain_milliseconds)))
        content, about = canonical_json(evidence.dump()), canonical_json(kept.dump())
        name = f"{evidence.index:06d}-{evidence.failure_class.value}"
        if self._room is None:
            self._room = self._scanned(self.clips())
        self._remove(folder, name)
        size_bytes = len(content) + len(about)
        if clip is not None and self._make_room(self._room, folder, size_bytes + clip.stat().st_size):
            size_bytes += clip.stat().st_size
        else:
            clip = None
            self._make_room(self._room, folder, size_bytes)
        descriptor = self._open(folder, make=True)
        try:
            unfinished = f"{_UNFINISHED}{name}"
            remove_entry(descriptor, unfinished)
            os.mkdir(unfinished, 0o700, dir_fd=descriptor)
            inside = os.open(unfinished, _FOLDER_FLAGS, dir_fd=descriptor)
            try:
                _write(inside, EVIDENCE_NAME, content)
                _write(inside, _KEPT_NAME, about)
                if clip is not None:
                    _copy(clip, inside, CLIP_NAME)
            finally:
                os.close(inside)
            os.rename(unfinished, name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
            self._room.add(folder, name, size_bytes)
        finally:
            os.close(descriptor)

    def _make_room(self, room: QuarantineQuota, folder: Path, size_bytes: int) -> bool:
        """Whether so much of one job fits now; its evidence, which is small, is kept in any case."""
        if size_bytes > self._quota_bytes:
            return False
        while not room.fits(size_bytes):
            found = room.first_to_go(folder, size_bytes)
            if found is None:
                return False
            self._remove(*found)
        return True

    def _expire(self) -> int:
        now = self._clock.wall()
        clips = self.clips()
        self._room = self._scanned(clips)
        over = [clip for clip in clips if clip.expires_at <= now]
        self.discard(over)
        for namespace in _folders(self.path):
            for job in _folders(namespace):
                for entry in _folders(job):
                    if entry.name.startswith(_UNFINISHED):
                        self._remove(Path(namespace.name, job.name), entry.name)
        return len(over)

    def _remove(self, folder: Path, name: str) -> int:
        """Entries that were unlinked. Folders that become empty go too."""
        if self._room is not None:
            self._room.remove(folder, name)
        try:
            descriptor = self._open(folder, make=False)
        except FileNotFoundError:
            return 0
        try:
            removed = remove_entry(descriptor, name)
        finally:
            os.close(descriptor)
        for empty in (self.path / folder, self.path / folder.parent):
            with contextlib.suppress(OSError):  # another clip is in it
                empty.rmdir()
        return removed

    def _open(self, folder: Path, *, make: bool) -> int:
        """A descriptor of `<namespace>/<job>`; no step of the way follows a link."""
        if make:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path, _FOLDER_FLAGS)
        for part in folder.parts:
            above = descriptor
            try:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, 0o700, dir_fd=above)
                descriptor = os.open(part, _FOLDER_FLAGS, dir_fd=above)
            finally:
                os.close(above)
        return descriptor


class JobQuarantine:
    """One job's folder; implements stages.stage.QuarantineFolder."""

    def __init__(self, quarantine: QuarantineStore, folder: Path, retain_milliseconds: int | None) -> None:
        self._quarantine = quarantine
        self._folder = folder
        self._retain_milliseconds = retain_milliseconds

    async def keep(self, evidence: Evidence, clip: Path | None) -> None:
        """Does nothing when the contract retains nothing. Raises VoxFleetError(SCRATCH_EXHAUSTED)."""
        if self._retain_milliseconds is not None:
            await self._quarantine.keep(self._folder, evidence, clip, self._retain_milliseconds)


def _safe(name: str) -> str:
    """The name itself when it is a plain one of the API; else a name that cannot leave its folder."""
    return name if _PLAIN_NAME.fullmatch(name) else f"x-{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def _folders(folder: Path) -> list[Path]:
    """Real folders below a folder, in the order of their names; none when it is missing."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def _read(namespace: str, job: str, folder: Path) -> RetainedClip:
    """What cannot be read counts as expired long ago: it is the first to give way."""
    size_bytes, never = 0, datetime.fromtimestamp(0, UTC)
    kept_at = expires_at = never
    try:
        with os.scandir(folder) as entries:
            size_bytes = sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
        kept = _Kept.model_validate_json((folder / _KEPT_NAME).read_bytes())
        kept_at, expires_at = (datetime.fromisoformat(text) for text in (kept.kept_at, kept.expires_at))
    except (FileNotFoundError, ValidationError, ValueError):
        pass
    return RetainedClip(namespace, job, folder.name, folder, size_bytes, kept_at, expires_at)


def _write(folder: int, name: str, content: bytes) -> None:
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _copy(source: Path, folder: int, name: str) -> None:
    """A link where the file system can: scratch gives its own name up, and no byte is written twice."""
    try:
        os.link(source, name, dst_dir_fd=folder, follow_symlinks=False)
    except OSError:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        with source.open("rb") as opened, os.fdopen(descriptor, "wb") as file:
            shutil.copyfileobj(opened, file)


class QuarantineQuota:
    """One quota for all jobs. A job that holds more than an equal share of it makes room, from its oldest clip on."""

    def __init__(self, quota_bytes: int) -> None:
        self._quota_bytes = quota_bytes
        self._jobs: dict[Path, OrderedDict[str, int]] = {}
        """Bytes of each job's clips, the oldest first."""
        self._held_bytes: dict[Path, int] = {}
        self.size_bytes = 0
        self.count = 0

    def add(self, job: Path, name: str, size_bytes: int) -> None:
        """A clip that is not there, younger than all others of its job."""
        self._jobs.setdefault(job, OrderedDict())[name] = size_bytes
        self._change(job, size_bytes, 1)

    def remove(self, job: Path, name: str) -> None:
        """Does nothing when it is not there."""
        size_bytes = self._jobs.get(job, OrderedDict[str, int]()).pop(name, None)
        if size_bytes is not None:
            self._change(job, -size_bytes, -1)
            if not self._jobs[job]:
                del self._jobs[job], self._held_bytes[job]

    def fits(self, size_bytes: int) -> bool:
        return self.size_bytes + size_bytes <= self._quota_bytes

    def first_to_go(self, job: Path, size_bytes: int) -> tuple[Path, str] | None:
        """(job, name) of the clip that makes room for `size_bytes` more of `job`.

        None when no other job holds more than its share: what is to come is too large itself.
        """
        share_bytes = self._quota_bytes // len(self._jobs.keys() | {job})
        held = {found: total + (size_bytes if found == job else 0) for found, total in self._held_bytes.items()}
        most = max(held, key=held.__getitem__, default=None)
        if most is None or held[most] <= share_bytes:
            return None
        return most, next(iter(self._jobs[most]))

    def _change(self, job: Path, size_bytes: int, count: int) -> None:
        self._held_bytes[job] = self._held_bytes.get(job, 0) + size_bytes
        self.size_bytes += size_bytes
        self.count += count
