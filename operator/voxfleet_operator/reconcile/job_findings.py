"""What one reconciler has found out about a job and another one needs. In memory only: every pass finds it anew."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from voxfleet_api.conditions import Reason, truncate

REFUSAL_GRACE_SECONDS = 10
"""How long after its creation a job or an endpoint may lack what it names. GitOps applies it and its contract in one
go, in any order, and gives up at the first Stalled."""


@dataclass(frozen=True, slots=True)
class Blocker:
    """Something that stops a job until a person fixes it."""

    reason: Reason
    message: str


class JobBlockers:
    """The jobs whose attempts cannot be sent, by UID.

    Shards report them; the reconciler that sees the cause fixed clears them.
    """

    def __init__(self) -> None:
        self._blockers: dict[str, Blocker] = {}

    def jobs(self) -> AbstractSet[str]:
        """The UIDs of the blocked jobs."""
        return self._blockers.keys()

    def __contains__(self, job_uid: str) -> bool:
        return job_uid in self._blockers

    def report(self, job_uid: str, blocker: Blocker) -> bool:
        """Returns True unless this very blocker was already reported."""
        if self._blockers.get(job_uid) == blocker:
            return False
        self._blockers[job_uid] = blocker
        return True

    def clear(self, job_uid: str) -> bool:
        """Returns True if the job was blocked."""
        return self._blockers.pop(job_uid, None) is not None


@dataclass(frozen=True, slots=True)
class ChangedReasons:
    """UIDs of jobs."""

    waiting: frozenset[str]
    """That begin or cease to wait."""
    reworded: frozenset[str]
    """That go on waiting, for another reason or for as many other Macs."""


class PendingReasons:
    """Why a job's next shard has no Mac, by job UID, as the last placement pass found it."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    def get(self, job_uid: str) -> str | None:
        return self._reasons.get(job_uid)

    def replace(self, reasons: Mapping[str, str]) -> ChangedReasons:
        """Keeps these and no others; returns what changed."""
        new = {uid: truncate(reason) for uid, reason in reasons.items()}  # a status takes no longer reasons
        old, self._reasons = self._reasons, new
        reworded = (uid for uid in old.keys() & new.keys() if old[uid] != new[uid])
        return ChangedReasons(frozenset(old.keys() ^ new.keys()), frozenset(reworded))
