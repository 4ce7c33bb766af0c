"""The placement pass over all shards without a live attempt and all Macs: gather, decide, assign. One runs at a time.

Consistency: the cache holds this process's own writes, also those that are under way, so no lane is given away twice.
Should the cache lag for another reason, the conditional write fails and the pass runs again.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import structlog
from pydantic import ValidationError

from voxfleet_api.digest import digest_of
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, Resource
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_operator.cache import Cache, key_of
from voxfleet_operator.fleet.mac_view import attempt_view
from voxfleet_operator.kube_errors import Forbidden, Invalid
from voxfleet_operator.placement.assignments import AssignmentWriter
from voxfleet_operator.placement.gather import PlacementGatherer
from voxfleet_operator.placement.place import place
from voxfleet_operator.placement.snapshot import Assignment
from voxfleet_operator.placement.waiting import chip_name, stays_on_chip
from voxfleet_operator.queue import PLACEMENT, Key
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.job_life import JobWish, takes_attempts, wish_of
from voxfleet_operator.reconcile.mac_closing import closing
from voxfleet_operator.reconcile.registration import SharedFindings
from voxfleet_operator.reconcile.shard.attempt_spec import SpecNotReady, attempt_spec
from voxfleet_operator.reconcile.shard.decide import usage_of
from voxfleet_operator.reconcile.shard.pieces import attempts_before
from voxfleet_operator.reconcile.shard.status import assigned, current, is_live
from voxfleet_shared import crash_points

REFUSED_BACKOFF_STEP = 4
"""About a minute."""
RESEND_SECONDS = 2.0
BUDGET_SECONDS = 60.0
"""How often budgets are looked at while nothing else happens: long attempts use them up without a change."""

log = structlog.get_logger(__name__)


def placement_woken_by(changed: Resource, _: Cache) -> set[Key]:
    """Jobs, shards and Macs change who is next and what fits."""
    return {PLACEMENT} if isinstance(changed, AudioBatchJob | AudioShard | MacAgent) else set()


class PlacementReconciler:
    def __init__(self, context: Context, findings: SharedFindings, gatherer: PlacementGatherer) -> None:
        self._context = context
        self._backoffs, self._exclusions, self._refusing = findings.backoffs, findings.exclusions, findings.refusing
        self._pending_reasons = findings.pending_reasons
        self._writer = AssignmentWriter(context)
        self._gatherer = gatherer

    async def reconcile(self, key: Key) -> float | None:
        if not self._context.synced():
            return 1.0
        for remembered in (self._backoffs, self._exclusions, self._refusing):
            remembered.forget(self._context.clock())
        settled = await self._writer.resend()
        began_seconds = self._context.clock()
        snapshot = self._gatherer.gather()
        plan = place(snapshot, self._context.clock(), self._gatherer.alike(snapshot))
        waiting_shards = len(snapshot.shards) - len(plan.assignments)
        self._context.metrics.placed(self._context.clock() - began_seconds, waiting_shards, len(plan.pending))
        self._publish({**plan.pending, **self._gatherer.unreadable})
        conflicts = False
        for assignment in plan.assignments:
            try:
                conflicts |= not await self._assign(assignment)
            except (Invalid, Forbidden, ValidationError) as error:
                # An error with one shard must not hold up the jobs after it.
                log.error("assignment refused", shard_uid=assignment.shard_uid, error=_without_values(error))
                self._backoffs.shard_failed(assignment.shard_uid, REFUSED_BACKOFF_STEP, self._context.clock())
        if conflicts:
            return 0.0
        watched = BUDGET_SECONDS if self._context.budgets.budgets else None
        waits = (plan.wake_after_seconds, None if settled else RESEND_SECONDS, watched)
        return min((seconds for seconds in waits if seconds is not None), default=None)

    def _publish(self, pending: Mapping[str, str]) -> None:
        """Each Mac that comes or goes may change the reason of all jobs that wait. They are told at the pace at which
        status tells progress.
        """
        changed, queue = self._pending_reasons.replace(pending), self._context.queue
        for uid in sorted(changed.waiting | changed.reworded):
            job = self._context.cache.by_uid(AudioBatchJob, uid)
            if job is not None and uid in changed.waiting:
                queue.add(key_of(job))
            elif job is not None:
                queue.add_after(key_of(job), self._context.options.progress_interval_seconds)

    async def _assign(self, assignment: Assignment) -> bool:
        """Writes attempt, Mac and digest; only then is the agent called. Returns False if the pass has to run again."""
        context = self._context
        shard = context.cache.by_uid(AudioShard, assignment.shard_uid)
        mac = context.cache.get(MacAgent, "", assignment.mac)
        if shard is None or mac is None or context.cache.is_assumed(shard.metadata.uid):
            return False
        if attempts_before(shard) + 1 != assignment.attempt:
            return False
        job = context.cache.by_uid(AudioBatchJob, shard.spec.job_ref.uid)
        view = context.fleet.view(assignment.mac)
        machine = view.identity
        if job is None or machine is None or not takes_attempts(job):
            return False
        if closing(mac, context.now()).takes_nothing:
            return False  # it began to drain, or closed, while earlier assignments were written
        if wish_of(job, shard.spec.stage) is not JobWish.WORK:
            return False
        if is_live(shard) and not self._gatherer.may_still_be_replaced(job, shard):
            return False  # its Mac came back while earlier assignments were written
        chip = chip_name(view.machine)
        if not stays_on_chip(job, partial(self._gatherer.chip_of, job), shard, chip):
            return False  # its Mac became another machine meanwhile
        bound = log.bind(
            namespace=job.metadata.namespace,
            job=job.metadata.name,
            shard=shard.metadata.name,
            attempt=assignment.attempt,
            mac=assignment.mac,
        )
        try:
            merged = self._gatherer.shards_of(job).all if shard.spec.stage is Stage.FINALIZE else ()
            spec = attempt_spec(job, shard, assignment.attempt, merged)
        except SpecNotReady as error:
            bound.warning("attempt not assigned", error=str(error))
            return True
        old = current(shard.status)
        status = assigned(
            shard,
            attempt=assignment.attempt,
            mac=assignment.mac,
            machine=machine,
            chip=chip or None,
            spec_digest=digest_of(spec),
            lease_seconds=mac.spec.disconnect.lease_seconds,
            usage_of_lost=None if old is None else usage_of(shard, old, attempt_view(old, context.fleet.views())),
            lost_for_seconds=0.0 if old is None else self._gatherer.lost_for_seconds(shard, old),
            now=context.timestamp(),
        )
        if not await self._writer.write(shard, status):
            return False
        crash_points.point("assigned")
        bound.info("attempt assigned")
        return True


def _without_values(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_input=False))
