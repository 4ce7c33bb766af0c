"""Reads from the cache and the fleet what a placement pass decides on.

What follows from objects alone is kept from pass to pass, and made anew where an object has changed. What moves with
time, contact and pauses is asked for in each pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain

from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_api.kinds.audio_shard import AttemptRecord
from voxfleet_operator.fleet.mac_view import attempt_view
from voxfleet_operator.metering.recent_use import added_up
from voxfleet_operator.placement.alike_macs import AlikeMacs
from voxfleet_operator.placement.budgets import BudgetGatherer, seconds_left
from voxfleet_operator.placement.candidates import selected_labels
from voxfleet_operator.placement.job_works import JobWorks
from voxfleet_operator.placement.known_macs import KnownMacs
from voxfleet_operator.placement.snapshot import (
    MacSlot,
    PendingShard,
    PlacementJob,
    PlacementSnapshot,
)
from voxfleet_operator.placement.waiting import placement_job, standings
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job_life import wish_of
from voxfleet_operator.reconcile.lost_mac import ContactState
from voxfleet_operator.reconcile.registration import SharedFindings
from voxfleet_operator.reconcile.shard.decide import ShardAction, decide
from voxfleet_operator.reconcile.shard.split import SplitLimits, is_split_due_once_lost, knows_pieces
from voxfleet_operator.reconcile.shard.status import current, retries_used

REMEMBERED_FACTOR = 4
"""So many judgements are remembered for each job: of a few kinds of shards, and some of jobs that are gone."""


class PlacementGatherer:
    def __init__(self, context: Context, findings: SharedFindings) -> None:
        self._context = context
        self._findings = findings
        self._works = JobWorks(context.cache, context.options.retry_limit)
        self._macs = KnownMacs(context, findings)
        self._alike = AlikeMacs((), (), {})
        self._budgets = BudgetGatherer(context.budgets, findings.statements)

    @property
    def remembered(self) -> int:
        """How many things are kept from pass to pass."""
        return len(self._works) + len(self._works.uncounted) + len(self._macs) + len(self._alike)

    def gather(self) -> PlacementSnapshot:
        context, now, blocked = self._context, self._context.now(), self._findings.blockers.jobs()
        macs, works = self._macs.slots(blocked, now), self._works
        works.look(agents_can=knows_pieces(context.fleet.views().values()), blocked=blocked)
        for opened in works.due_to_split.values():
            for key in opened.due_to_split:
                context.queue.add(key)  # what made it due may not have woken it
        pending = (*chain.from_iterable(self._waiting()), *self._lost())
        labels = context.cache.labels_by_namespace()
        used = added_up(
            works.uncounted.seconds(self._findings.statements.heads), self._findings.statements.use_seconds(now)
        )
        over_budget = self._budgets.over_budget(pending, works, now)
        return PlacementSnapshot(
            shards=pending,
            macs=macs,
            namespace_labels=labels,
            standings=standings(works.lanes.values(), pending, used, labels, now),
            live_lanes={uid: len(lanes.held_since) for uid, lanes in works.lanes.items() if lanes.held_since},
            over_budget=over_budget,
            budgets_renew_seconds=context.clock() + seconds_left(now) if over_budget else None,
        )

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Why jobs were left out of the last snapshot, by UID."""
        return self._works.unreadable

    def alike(self, snapshot: PlacementSnapshot) -> AlikeMacs:
        """What was judged of Macs as they are in this snapshot, which is the last one."""
        selected = selected_labels(self._works.needs.all())
        too_many = len(self._alike) > REMEMBERED_FACTOR * len(self._works)
        if too_many or not self._alike.holds(snapshot.macs, selected, snapshot.namespace_labels):
            self._alike = AlikeMacs(snapshot.macs, selected, snapshot.namespace_labels)
        return self._alike

    def mac_slots(self) -> tuple[MacSlot, ...]:
        """The Macs as they are now, in the order of their names."""
        return self._macs.slots(self._findings.blockers.jobs(), self._context.now())

    def shards_of(self, job: AudioBatchJob) -> JobShards:
        """As they are now."""
        work = self._works.of(job.metadata.uid)
        return JobShards(()) if work is None else work.shards

    def common_of(self, job: AudioBatchJob) -> PlacementJob:
        """What placement sees of the job."""
        work = self._works.of(job.metadata.uid)
        if work is None or work.common is None:
            return placement_job(job, JobShards(()))
        return work.common

    def chip_of(self, job: AudioBatchJob) -> str | None:
        """Of a homogeneous job that has begun. One that had a chip in the last look is taken to stay on it: a large
        job would be read anew for each of its assignments.
        """
        work = self._works.as_of_look(job.metadata.uid)
        if work is None or work.said is None or work.said.chip is None:
            work = self._works.of(job.metadata.uid)
        return None if work is None or work.said is None else work.said.chip

    def may_still_be_replaced(self, job: AudioBatchJob, shard: AudioShard) -> bool:
        """Asks again, of what Macs say by now; what the look saw of the job may only forbid what it now allows."""
        work = self._works.as_of_look(job.metadata.uid)
        if work is None or work.open is None:
            return False
        agents_can = knows_pieces(self._context.fleet.views().values())
        return self._may_be_replaced(job, shard, replace(work.open.limits, agents_can=agents_can))

    def lost_for_seconds(self, shard: AudioShard, record: AttemptRecord) -> float:
        return self._findings.lease_clock.mac_contact(record, shard.status.lease_seconds or 0).lost_for_seconds

    def _waiting(self) -> Iterable[Iterable[PendingShard]]:
        """The shards without an attempt, job by job."""
        waiting, paused = self._works.waiting, self._paused_by_job()
        if not paused:
            return (shards.values() for shards in waiting.values())
        return (
            _with_pauses(shards, paused[uid]) if uid in paused else shards.values() for uid, shards in waiting.items()
        )

    def _lost(self) -> Iterable[PendingShard]:
        """The shards whose newest attempt is on a lost Mac."""
        in_contact, pauses = self._macs.machines_in_contact(), self._findings.backoffs.shard_pauses()
        for opened in self._works.live.values():
            for live in opened.live:
                record = live.record
                if record.machine is not None and in_contact.get(record.mac) == record.machine:
                    continue
                if self._may_be_replaced(opened.job, live.facts.shard, opened.limits):
                    following = opened.following(live)
                    yield replace(following, not_before_seconds=pauses.get(following.uid, 0.0))

    def _may_be_replaced(self, job: AudioBatchJob, shard: AudioShard, limits: SplitLimits) -> bool:
        """Whether the newest attempt, which is live, is on a lost Mac, so that another Mac may take over."""
        if retries_used(shard.status) >= limits.retry_limit:
            return False
        record = current(shard.status)
        if record is None:
            return False
        contact = self._findings.lease_clock.mac_contact(record, shard.status.lease_seconds or 0)
        if contact.state is not ContactState.LOST:
            return False
        view, wish = attempt_view(record, self._context.fleet.views()), wish_of(job, shard.spec.stage)
        replaced = decide(shard, view, contact.state, wish) is ShardAction.REPLACE
        return replaced and not is_split_due_once_lost(shard, limits)

    def _paused_by_job(self) -> Mapping[str, Mapping[str, float]]:
        """Until when shards pause after a failure: by job UID, then by their own."""
        found: dict[str, dict[str, float]] = {}
        for uid, until_seconds in self._findings.backoffs.shard_pauses().items():
            shard = self._context.cache.by_uid(AudioShard, uid)
            if shard is not None:
                found.setdefault(shard.spec.job_ref.uid, {})[uid] = until_seconds
        return found


def _with_pauses(waiting: Mapping[str, PendingShard], pauses: Mapping[str, float]) -> Iterable[PendingShard]:
    return (
        replace(shard, not_before_seconds=pauses[uid]) if uid in pauses else shard for uid, shard in waiting.items()
    )
