"""Why a job waits: which Macs do not take it, and its place in the queue. Pure.

Both are computed by placement's own functions, of what the API server shows. So nothing is written for those who only
wait, and the answer is that of this moment. What the operator alone knows is in `status.pendingReason`: pauses after
failures, and what agents say of their memory, scratch and age.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from voxfleet_api.conditions import ConditionType, find, is_true
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.quantities import hours_text
from voxfleet_cli.mac_slots import slot_of, unaccepted
from voxfleet_cli.surroundings import Surroundings
from voxfleet_operator.metering.recent_use import added_up, counted_use_seconds, uncounted_use_seconds
from voxfleet_operator.metering.statements import newest_heads
from voxfleet_operator.placement.filters import NO_ACCESS, OTHER_BILLING_KEYS, capacity_reason, no_access, static_reason
from voxfleet_operator.placement.order import queue_of_jobs
from voxfleet_operator.placement.snapshot import NamespaceStanding, PendingShard, PlacementJob
from voxfleet_operator.placement.waiting import lane_histories, pending_shard, placement_job, standings, unfinished
from voxfleet_operator.reconcile.job.estimate import ShardTime, held_seconds
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job_life import takes_attempts
from voxfleet_operator.reconcile.shard.status import is_live

Plain = dict[str, Any]


def wait_of(job: AudioBatchJob, around: Surroundings) -> Plain:
    """Empty for a job of which nothing waits for a Mac."""
    by_job: dict[str, list[AudioShard]] = defaultdict(list)
    for shard in around.shards:
        by_job[shard.spec.job_ref.uid].append(shard)
    waiting = {item.metadata.uid: tuple(_waiting_shards(item, by_job[item.metadata.uid])) for item in around.jobs}
    own = waiting.get(job.metadata.uid, ())
    if not own:
        return {}
    pending = [item for items in waiting.values() for item in items]
    standing = _standings(pending, around)
    return {
        "queue": _place(own[0].job, pending, standing, around),
        "shares": _shares(pending, standing) if around.whole else None,
        "macs": None if around.macs is None else _refusals(own[0], around.macs, around),
    }


def _waiting_shards(job: AudioBatchJob, named: Iterable[AudioShard]) -> Iterable[PendingShard]:
    """`named`: the shards that name the job."""
    if not takes_attempts(job) or is_true(job.status.conditions, ConditionType.STALLED):
        return
    shards = JobShards.of(job, named)
    common = placement_job(job, shards)
    plan = job.status.plan
    shard_time = None if plan is None else ShardTime.of(plan, shards.process)
    for found in unfinished(job, shards):
        if not found.is_live:
            yield pending_shard(common, found, expected_seconds=held_seconds(plan, shard_time, found.shard))


def _standings(pending: Iterable[PendingShard], around: Surroundings) -> Mapping[str, NamespaceStanding]:
    used = added_up(
        counted_use_seconds(around.statements, around.now),
        uncounted_use_seconds(around.shards, newest_heads(around.statements)),
    )
    return standings(lane_histories(around.shards), pending, used, around.namespace_labels, around.now)


def _place(
    job: PlacementJob,
    pending: Iterable[PendingShard],
    standing: Mapping[str, NamespaceStanding],
    around: Surroundings,
) -> str:
    live_lanes = _live_lanes(around.shards)
    queue = queue_of_jobs(pending, standing, live_lanes, now=0.0)
    holds = standing.get(job.namespace, NamespaceStanding()).held_lanes
    namespace = f"namespace {job.namespace} holds {holds} {'lane' if holds == 1 else 'lanes'}"
    if job.uid not in queue:
        reason = "what it waits for needs no lane"
        if live_lanes[job.uid] >= job.parallelism:
            reason = f"it has as many lanes as its parallelism, {job.parallelism}"
        return f"it is in no queue for lanes: {reason}; {namespace}"
    place, whose = queue.index(job.uid) + 1, "" if around.whole else f" of namespace {job.namespace}"
    waiting = f"job{whose} that waits" if len(queue) == 1 else f"jobs{whose} that wait"
    priority = f", with priority {job.priority}" if job.priority else ""
    hidden = "" if around.whole else "; you may not see those of other namespaces"
    return f"{_ordinal(place)} of {len(queue)} {waiting} for a lane{priority}; {namespace}{hidden}"


def _live_lanes(shards: Iterable[AudioShard]) -> Counter[str]:
    """By job UID."""
    return Counter(shard.spec.job_ref.uid for shard in shards if shard.spec.stage is Stage.PROCESS and is_live(shard))


def _shares(pending: Iterable[PendingShard], standing: Mapping[str, NamespaceStanding]) -> list[Plain]:
    """The namespaces whose jobs wait for lanes, with what decides between them."""
    jobs: dict[str, set[str]] = defaultdict(set)
    for shard in pending:
        if shard.needs_lane:
            jobs[shard.job.namespace].add(shard.job.uid)
    by_use = sorted(jobs, key=lambda name: (standing[name].used_seconds / standing[name].weight, name))
    return [
        {
            "namespace": name,
            "waitingJobs": len(jobs[name]),
            "lanes": standing[name].held_lanes,
            "recentHours": hours_text(int(standing[name].used_seconds * 1000)),
            "weight": standing[name].weight,
        }
        for name in by_use
    ]


def _refusals(shard: PendingShard, macs: Iterable[MacAgent], around: Surroundings) -> list[Plain]:
    """The Macs by the reason for which they do not take the job's next shard now."""
    held = _held(around.shards)
    labels = around.namespace_labels.get(shard.job.namespace)
    found: dict[str, list[str]] = defaultdict(list)
    for mac in macs:
        reason = _refusal(shard, mac, held, labels, around.now)
        found[reason].append(mac.metadata.name)
    return [{"macs": ", ".join(sorted(names)), "reason": reason} for reason, names in sorted(found.items())]


def _held(shards: Iterable[AudioShard]) -> Counter[tuple[str | None, bool]]:
    """The number of live attempts by Mac, and by whether they hold a lane."""
    return Counter((shard.status.mac, shard.spec.stage is Stage.PROCESS) for shard in shards if is_live(shard))


def _refusal(
    shard: PendingShard,
    mac: MacAgent,
    held: Counter[tuple[str | None, bool]],
    labels: Mapping[str, str] | None,
    now: datetime,
) -> str:
    available, name = find(mac.status.conditions, ConditionType.AVAILABLE), mac.metadata.name
    if available is None or (available.status != "True" and not _tries(shard, mac)):
        return "the operator has not looked at it yet" if available is None else available.message
    slot = slot_of(mac, now, held[name, True], held[name, False])
    closed = no_access(shard.job, slot.traits, labels or {})
    reason = static_reason(shard.job.needs, slot.traits, slot.labels, shard.demand, closed=closed)
    if reason in (NO_ACCESS, OTHER_BILLING_KEYS) and labels is None:
        return f"{reason.singular}, unless the namespace has labels that you may not see"
    if reason is None:
        free = slot.free_lanes if shard.needs_lane else slot.free_control_slots
        reason = capacity_reason(shard.demand, slot, free, now=0.0)
    return "takes it, as far as can be seen" if reason is None else reason.singular


def _tries(shard: PendingShard, mac: MacAgent) -> bool:
    """Whether the job is the one that tries this Mac, which is not accepted yet."""
    ref, uid = mac.spec.acceptance_job, shard.job.needs.tries_mac_as
    return uid is not None and ref is not None and ref.uid == uid and unaccepted(mac)


def _ordinal(number: int) -> str:
    end = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{end}"
