"""What all jobs bring to a placement pass, kept up with the cache: a look costs what has changed since the last one."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TypeVar

import structlog

from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_operator.cache import Cache
from voxfleet_operator.placement.job_work import JobWork, OpenJob, WorkMaker
from voxfleet_operator.placement.one_of_equals import OneOfEquals
from voxfleet_operator.placement.snapshot import JobNeeds, PendingShard
from voxfleet_operator.placement.uncounted_use import UncountedUse
from voxfleet_operator.placement.waiting import LaneHistory
from voxfleet_operator.reconcile.shard.facts import ShardFacts

log = structlog.get_logger(__name__)

T = TypeVar("T")


class JobWorks:
    """The works of all jobs that have shards.

    The tables are as of the last look, by UID of the jobs that have something in them, without those that are blocked.
    """

    def __init__(self, cache: Cache, retry_limit: int) -> None:
        self._cache = cache
        self._owned = cache.owned(AudioShard)
        self._stale: set[str] = set()
        """Jobs without a change of their own that are looked at again."""
        self._changed = (self._owned.follow(), cache.by_own_uid(AudioBatchJob).follow(), self._stale)
        """A job is in them until it was taken in: what raises loses no change."""
        self.needs: OneOfEquals[JobNeeds] = OneOfEquals()
        facts = cache.derived(AudioShard, ShardFacts.of)
        self._maker = WorkMaker(retry_limit, self.needs.of, cache.is_assumed, facts.of)
        self._agents_can = False
        self._blocked: frozenset[str] = frozenset()
        self._works: dict[str, JobWork] = {}
        self.waiting: dict[str, Mapping[str, PendingShard]] = {}
        self.live: dict[str, OpenJob] = {}
        self.due_to_split: dict[str, OpenJob] = {}
        self.lanes: dict[str, LaneHistory] = {}
        self.unreadable: dict[str, str] = {}
        """Why placement cannot tell what a job brings. It is left out, and asked for again in each look."""
        self.uncounted = UncountedUse()

    def __len__(self) -> int:
        return len(self._works)

    def look(self, *, agents_can: bool, blocked: Set[str]) -> None:
        """Takes in what has changed. `agents_can`: whether shards may be split."""
        self._stale.update(self._blocked ^ blocked)
        if agents_can is not self._agents_can:
            self._stale.update(self._works)
        self._agents_can, self._blocked = agents_can, frozenset(blocked)
        for uid in sorted(set[str]().union(*self._changed)):
            try:
                self._take_in(uid)
            except Exception as error:  # noqa: BLE001 # one job's fault must not stop the pass of all others
                self._leave_out(uid, error)

    def as_of_look(self, uid: str) -> JobWork | None:
        """Of one job, as it was in the last look, or newer; None for one without shards."""
        return self._works.get(uid)

    def of(self, uid: str) -> JobWork | None:
        """Of one job, as it is now; None for one without shards."""
        if any(uid in changed for changed in self._changed):
            self._take_in(uid)
        return self._works.get(uid)

    def _leave_out(self, uid: str, error: Exception) -> None:
        if uid not in self.unreadable:
            log.error("placement cannot read a job", job_uid=uid, exc_info=error)
        self.unreadable[uid] = f"placement cannot read this job ({type(error).__name__}); see the operator's log"
        self._works.pop(uid, None)
        self._enter(uid)

    def _take_in(self, uid: str) -> None:
        work, owned = None, self._owned.of(uid)
        if owned:
            job = self._cache.by_uid(AudioBatchJob, uid)
            work = self._maker.make(job, owned, self._works.get(uid), agents_can=self._agents_can)
        _set(self._works, uid, work)
        self._enter(uid)
        self.unreadable.pop(uid, None)
        for changed in self._changed:
            changed.discard(uid)

    def _enter(self, uid: str) -> None:
        """Into the tables."""
        work = None if uid in self._blocked else self._works.get(uid)
        opened = None if work is None else work.open
        _set(self.waiting, uid, opened.waiting if opened is not None and opened.waiting else None)
        _set(self.live, uid, opened if opened is not None and opened.live else None)
        _set(self.due_to_split, uid, opened if opened is not None and opened.due_to_split else None)
        _set(self.lanes, uid, work.lanes if work is not None and work.lanes.last_given else None)
        self.uncounted.put(uid, "" if work is None else work.lanes.namespace, () if work is None else work.times)


def _set(table: dict[str, T], uid: str, value: T | None) -> None:
    if value is None:
        table.pop(uid, None)
    else:
        table[uid] = value
