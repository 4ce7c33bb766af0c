"""The placement pass: one at a time, over all shards without a live attempt and all Macs.

Consistency: it reads the cache, which holds this process's own writes, so no lane is given away twice; should the
cache be behind for another reason, the conditional write fails and the pass runs again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import structlog
from pydantic import ValidationError

from voxfleet_api.conditions import Reason, truncate
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent
from voxfleet_api.kinds.audio_batch_job import CLEANUP_FINALIZER
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.protocol import TERMINAL_STATES, AttemptKey
from voxfleet_api.quantities import duration_milliseconds
from voxfleet_operator.cache import key_of
from voxfleet_operator.fleet.view import MacView
from voxfleet_operator.kube import Forbidden, Invalid
from voxfleet_operator.placement import filters
from voxfleet_operator.placement.place import place
from voxfleet_operator.placement.snapshot import (
    CONTROL_SLOTS,
    Assignment,
    MacSlot,
    PendingShard,
    PlacementJob,
    PlacementSnapshot,
    Unavailable,
)
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.attempt_spec import SpecNotReady, attempt_spec
from voxfleet_operator.reconcile.contact import reached
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.job_plan import is_accepted
from voxfleet_operator.reconcile.job_shards import JobShards
from voxfleet_operator.reconcile.job_status import has_ended
from voxfleet_operator.reconcile.mac_status import offline_lanes
from voxfleet_operator.reconcile.shard_decision import Contact, Step, decide, mac_to_avoid, usage_of
from voxfleet_operator.reconcile.shard_state import (
    ATTEMPT_CAP,
    assigned,
    current,
    is_committed,
    is_failed,
    is_live,
)
from voxfleet_operator.reconcile.writes import write_status
from voxfleet_process import crash_points

REFUSED_PAUSE_STEP = 4
"""Of the backoff: about a minute."""

log = structlog.get_logger(__name__)


class PlacementReconciler:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def reconcile(self, key: Key) -> float | None:
        if not self._context.synced():
            return 1.0
        snapshot = self._gather()
        plan = place(snapshot, self._context.clock())
        self._publish(plan.pending)
        conflicts = False
        for assignment in plan.assignments:
            try:
                conflicts |= not await self._assign(assignment)
            except (Invalid, Forbidden, ValidationError) as error:
                # This shard's trouble must not hold up the jobs after it.
                log.error("assignment refused", shard_uid=assignment.shard_uid, error=_without_values(error))
                self._context.pauses.shard_failed(assignment.shard_uid, REFUSED_PAUSE_STEP, self._context.clock())
        return 0.0 if conflicts else plan.wake_after_seconds

    def _gather(self) -> PlacementSnapshot:
        context = self._context
        blocked = context.problems.keys()
        load = _Load.of(context.cache.all(AudioShard), blocked)
        jobs = [
            job for job in context.cache.all(AudioBatchJob) if takes_attempts(job) and job.metadata.uid not in blocked
        ]
        namespaces = {job.metadata.namespace for job in jobs}
        return PlacementSnapshot(
            shards=tuple(shard for job in jobs for shard in self._pending_shards(job, load)),
            macs=tuple(self._slot(mac, load) for mac in context.cache.all(MacAgent)),
            namespace_labels={name: context.cache.namespace_labels(name) for name in namespaces},
            held_lanes=load.namespace_lanes,
        )

    def _pending_shards(self, job: AudioBatchJob, load: _Load) -> Iterable[PendingShard]:
        shards = JobShards.of(job, self._context.cache.owned_by(AudioShard, job.metadata.uid))
        common = placement_job(job, load.job_lanes[job.metadata.uid])
        for shard in shards.all:
            if shard.spec.stage is Stage.PROCESS and (shards.halted or job.status.plan is None):
                continue
            replaces_lost = is_live(shard)
            if is_committed(shard) or is_failed(shard) or (replaces_lost and not self._is_lost(shard)):
                continue
            yield PendingShard(
                uid=shard.metadata.uid,
                name=shard.metadata.name,
                job=common,
                stage=shard.spec.stage,
                ordinal=shard.spec.ordinal or 0,
                next_attempt=(shard.status.attempt or 0) + 1,
                avoid=mac_to_avoid(shard.status.attempts),
                not_before_seconds=self._context.pauses.shard_until(shard.metadata.uid),
                replaces_lost=replaces_lost,
            )

    def _is_lost(self, shard: AudioShard) -> bool:
        """Whether the newest attempt may be taken over now."""
        if (shard.status.attempt or 0) >= ATTEMPT_CAP:
            return False
        where = reached(self._context, shard)
        if where.contact is not Contact.LOST:
            return False
        return decide(shard, self._context.fleet.view(shard.status.mac or ""), where.contact) is Step.REPLACE

    def _slot(self, mac: MacAgent, load: _Load) -> MacSlot:
        name = mac.metadata.name
        view = self._context.fleet.view(name)
        lanes = 0 if view.machine is None else offline_lanes(view.machine)
        reason = unavailable(mac, view)
        return MacSlot(
            name=name,
            labels=mac.metadata.labels,
            access=mac.spec.access,
            unavailable=reason,
            detail=detail(view) if reason is not None else "",
            free_lanes=max(0, lanes - len(load.busy_lanes(name, view))),
            free_control_slots=max(0, CONTROL_SLOTS - load.control[name]),
            not_before_seconds=self._context.pauses.mac_until(name),
            loaded_models=frozenset() if view.machine is None else frozenset(view.machine.loaded_models),
        )

    def _publish(self, pending: Mapping[str, str]) -> None:
        reasons = self._context.pending_reasons
        pending = {uid: truncate(reason) for uid, reason in pending.items()}  # longer ones no status takes
        changed = {uid for uid in reasons.keys() | pending.keys() if reasons.get(uid) != pending.get(uid)}
        reasons.clear()
        reasons.update(pending)
        for uid in changed:
            job = self._context.cache.by_uid(AudioBatchJob, uid)
            if job is not None:
                self._context.queue.add(key_of(job))

    async def _assign(self, assignment: Assignment) -> bool:
        """Writes attempt, Mac and digest; the agent hears of it only afterwards. False: decide again."""
        context = self._context
        shard = context.cache.by_uid(AudioShard, assignment.shard_uid)
        mac = context.cache.get(MacAgent, "", assignment.mac)
        if shard is None or mac is None or (shard.status.attempt or 0) + 1 != assignment.attempt:
            return False
        if is_live(shard) and not self._is_lost(shard):
            return False  # its Mac came back while earlier assignments were written
        job = context.cache.by_uid(AudioBatchJob, shard.spec.job_ref.uid)
        if job is None or not takes_attempts(job):
            return False
        shards = JobShards.of(job, context.cache.owned_by(AudioShard, job.metadata.uid))
        bound = log.bind(
            namespace=job.metadata.namespace,
            job=job.metadata.name,
            shard=shard.metadata.name,
            attempt=assignment.attempt,
            mac=assignment.mac,
        )
        try:
            spec = attempt_spec(job, shard, assignment.attempt, shards.all)
        except SpecNotReady as error:
            bound.warning("attempt not assigned", error=str(error))
            return True
        old = current(shard.status)
        status = assigned(
            shard,
            attempt=assignment.attempt,
            mac=assignment.mac,
            spec_digest=digest_of(spec),
            lease_seconds=max(1, duration_milliseconds(mac.spec.disconnect.lost_after) // 1000),
            usage_of_lost=None if old is None else usage_of(shard, old, context.fleet.view(old.mac)),
            now=context.timestamp(),
        )
        if await write_status(context, shard, status) is None:
            return False
        crash_points.point("assigned")
        bound.info("attempt assigned")
        return True


@dataclass(slots=True)
class _Load:
    """What live attempts hold, by the record."""

    lanes: dict[str, set[AttemptKey]] = field(default_factory=dict)
    control: Counter[str] = field(default_factory=Counter)
    job_lanes: Counter[str] = field(default_factory=Counter)
    namespace_lanes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, shards: Iterable[AudioShard], blocked: Collection[str]) -> _Load:
        """`blocked`: UIDs of jobs whose attempts cannot be sent; those hold only what their agents report."""
        load = cls()
        for shard in shards:
            if not is_live(shard) or shard.spec.job_ref.uid in blocked:
                continue
            mac = shard.status.mac or ""
            if shard.spec.stage is not Stage.PROCESS:
                load.control[mac] += 1
                continue
            key = AttemptKey(shard.metadata.uid, shard.status.attempt or 0)
            load.lanes.setdefault(mac, set()).add(key)
            load.job_lanes[shard.spec.job_ref.uid] += 1
            load.namespace_lanes[shard.metadata.namespace] += 1
        return load

    def busy_lanes(self, mac: str, view: MacView) -> set[AttemptKey]:
        """By the record, and by what the agent reports: an attempt that was given up may still be cleaning up."""
        reported = {
            key
            for key, report in view.attempts.items()
            if report.lane is not None and report.state not in TERMINAL_STATES
        }
        return self.lanes.get(mac, set()) | reported


def _without_values(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_input=False))


def takes_attempts(job: AudioBatchJob) -> bool:
    return (
        job.metadata.deletion_timestamp is None
        and CLEANUP_FINALIZER in job.metadata.finalizers
        and is_accepted(job)
        and not has_ended(job)
    )


def placement_job(job: AudioBatchJob, live_lanes: int) -> PlacementJob:
    return PlacementJob(
        uid=job.metadata.uid,
        namespace=job.metadata.namespace,
        name=job.metadata.name,
        created=job.metadata.creation_timestamp,
        uris=job.spec.uris(),
        parallelism=job.spec.parallelism,
        live_lanes=live_lanes,
        mac_selector=job.spec.mac_selector,
        model_digest=None if job.status.plan is None else job.status.plan.model_digest,
    )


def unavailable(mac: MacAgent, view: MacView) -> Unavailable | None:
    """Why the Mac takes no attempt of any job."""
    if mac.metadata.deletion_timestamp is not None:
        return filters.DELETED
    if mac.spec.unschedulable:
        return filters.UNSCHEDULABLE
    if view.reason is Reason.DUPLICATE_MACHINE:
        return filters.DUPLICATE
    if not view.connected or view.machine is None:
        return filters.UNREACHABLE
    if not view.machine.runtime_compatible:
        return filters.INCOMPATIBLE
    return filters.UNVERIFIED if view.ledger_error is not None else None


def detail(view: MacView) -> str:
    if not view.connected:
        return view.message
    if view.ledger_error is not None:
        return view.ledger_error
    return "" if view.machine is None else view.machine.runtime_message
