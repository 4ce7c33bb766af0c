"""Who holds how much of a Mac's quarantine, and whose clip gives way. In memory, without a clock or a disk."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path


class QuarantineRoom:
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
