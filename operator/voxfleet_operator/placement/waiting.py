"""Which shards wait for a Mac, and what their namespaces have had, as the objects of the API server say. Pure.

`voxfleet why` computes a job's place in the queue from the same objects.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Self

from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_api.kinds.audio_shard import MAX_CHIP, Stage
from voxfleet_api.kinds.mac_acceptance import ACCEPTS_MAC
from voxfleet_api.machine_messages import MachineFacts
from voxfleet_operator.metering.recent_use import age_seconds
from voxfleet_operator.placement.order import LANE_SECONDS
from voxfleet_operator.placement.snapshot import JobNeeds, NamespaceStanding, PendingShard, PlacementJob
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job_life import stages_at_work
from voxfleet_operator.reconcile.namespace_access import addresses_of, chooses_clips, names_clips_elsewhere
from voxfleet_operator.reconcile.shard.facts import ShardFacts

WEIGHT_LABEL = "voxfleet.dev/weight"
"""On a Namespace: its share of the Macs compared with others, from 1 (as without it) to 99."""
_WEIGHT = re.compile(r"[1-9][0-9]?")


def unfinished(job: AudioBatchJob, shards: JobShards) -> Iterable[ShardFacts]:
    """Shards with work left that the job wants done. The newest attempt of one may still be assigned."""
    stages = stages_at_work(job)
    if not stages:
        return
    for found in shards.facts:
        if not (found.is_process or found.is_committed or found.is_failed) and found.stage in stages:
            yield found
    if Stage.PROCESS in stages and job.status.plan is not None and not shards.halted:
        for found in shards.coverage.covering:
            if not (found.is_committed or found.is_failed):
                yield found


class SaidByShards(NamedTuple):
    """All that a job's shards say about where they can run."""

    chip: str | None
    has_pieces: bool

    @classmethod
    def of(cls, job: AudioBatchJob, shards: JobShards) -> Self:
        chip = job_chip(shards) if job.spec.requirements.homogeneous else None
        return cls(chip, any(found.path for found in shards.facts))


def placement_job(job: AudioBatchJob, shards: JobShards) -> PlacementJob:
    return placement_job_of(job, SaidByShards.of(job, shards))


def placement_job_of(job: AudioBatchJob, said: SaidByShards) -> PlacementJob:
    plan = job.status.plan
    return PlacementJob(
        uid=job.metadata.uid,
        namespace=job.metadata.namespace,
        name=job.metadata.name,
        created=job.metadata.creation_timestamp,
        uris=addresses_of(job),
        parallelism=job.spec.parallelism,
        priority=job.spec.priority,
        needs=job_needs(job, said.chip),
        model_digest=None if plan is None else plan.model_digest,
        has_pieces=said.has_pieces,
        billing_key=job.spec.billing_key,
    )


def job_needs(job: AudioBatchJob, chip: str | None) -> JobNeeds:
    plan, requirements = job.status.plan, job.spec.requirements
    return JobNeeds(
        mac_selector=job.spec.mac_selector,
        tolerations=job.spec.tolerations,
        requirements=requirements,
        model_bytes=None if plan is None else plan.model_bytes,
        chip=chip,
        names_clips_elsewhere=names_clips_elsewhere(job.spec),
        chooses_clips=chooses_clips(job.spec),
        tries_mac_as=job.metadata.uid if ACCEPTS_MAC in job.metadata.annotations else None,
    )


def job_chip(shards: JobShards) -> str | None:
    """The chip that processes the job's clips, by shards that were split, too; None while none may have been."""
    return next((found.chip for found in shards.facts if found.is_process and found.chip is not None), None)


def stays_on_chip(job: AudioBatchJob, chip_of_job: Callable[[], str | None], shard: AudioShard, chip: str) -> bool:
    """Whether the shard may be worked on by this chip. `chip_of_job`: asked for only where it matters."""
    if shard.spec.stage is not Stage.PROCESS or not job.spec.requirements.homogeneous:
        return True
    return chip_of_job() in (None, chip)


def chip_name(machine: MachineFacts | None) -> str:
    """The chip as a shard's status keeps it."""
    return "" if machine is None else machine.chip[:MAX_CHIP]


def pending_shard(
    common: PlacementJob,
    facts: ShardFacts,
    *,
    not_before_seconds: float = 0.0,
    replaces_lost: bool = False,
    expected_seconds: float | None = None,
) -> PendingShard:
    return PendingShard(
        uid=facts.uid,
        name=facts.shard.metadata.name,
        job=common,
        stage=facts.stage,
        ordinal=facts.ordinal,
        next_attempt=facts.next_attempt,
        is_piece=bool(facts.path) or (common.has_pieces and facts.stage is Stage.FINALIZE),
        avoid=facts.avoid,
        not_before_seconds=not_before_seconds,
        replaces_lost=replaces_lost,
        expected_seconds=expected_seconds,
        waits_since=facts.shard.metadata.creation_timestamp,
    )


def weight_of(namespace_labels: Mapping[str, str]) -> int:
    """1 also for a label that is no weight."""
    label = namespace_labels.get(WEIGHT_LABEL, "")
    return int(label) if _WEIGHT.fullmatch(label) else 1


@dataclass(frozen=True, slots=True)
class LaneHistory:
    """Which lanes some shards of one namespace hold, and when one was last given to them."""

    namespace: str
    held_since: Mapping[str, str]
    """By shard UID, of each live Process attempt: when it was assigned."""
    last_given: str
    """Empty if none ever was."""

    @classmethod
    def of(cls, namespace: str, shards: Iterable[ShardFacts]) -> LaneHistory:
        held: dict[str, str] = {}
        last_given = ""
        for found in shards:
            if found.assigned_at is None or not found.is_process:
                continue
            last_given = max(last_given, found.assigned_at)
            if found.is_live:
                held[found.uid] = found.assigned_at
        return cls(namespace, held, last_given)


def lane_histories(shards: Iterable[AudioShard]) -> list[LaneHistory]:
    """One for each namespace."""
    by_namespace: dict[str, list[ShardFacts]] = defaultdict(list)
    for shard in shards:
        by_namespace[shard.metadata.namespace].append(ShardFacts.of(shard))
    return [LaneHistory.of(namespace, own) for namespace, own in by_namespace.items()]


def standings(
    lanes: Iterable[LaneHistory],
    pending: Iterable[PendingShard],
    used_seconds: Mapping[str, float],
    labels: Mapping[str, Mapping[str, str]],
    now: datetime,
) -> dict[str, NamespaceStanding]:
    """By namespace. `lanes`: of all shards; `used_seconds`: verified machine time.

    An attempt on a lost Mac holds no lane once another Mac may take over: its namespace waits for one.
    """
    lost: set[str] = set()
    oldest_work: dict[str, str] = {}
    for waiting in pending:
        if waiting.replaces_lost:
            lost.add(waiting.uid)
        if waiting.needs_lane:
            namespace = waiting.job.namespace
            since = oldest_work.get(namespace)
            if since is None or waiting.waits_since < since:
                oldest_work[namespace] = waiting.waits_since
    held: Counter[str] = Counter()
    used: dict[str, float] = defaultdict(float, used_seconds)
    last_lane: dict[str, str] = {}
    for history in lanes:
        namespace = history.namespace
        if history.last_given > last_lane.get(namespace, ""):
            last_lane[namespace] = history.last_given
        for uid, since in history.held_since.items():
            if uid not in lost:
                held[namespace] += 1
                used[namespace] += max(LANE_SECONDS, age_seconds(since, now))
    return {
        namespace: NamespaceStanding(
            held_lanes=held[namespace],
            used_seconds=used[namespace],
            weight=weight_of(labels.get(namespace, {})),
            waited_seconds=_waited_seconds(oldest_work.get(namespace), last_lane.get(namespace), now),
        )
        for namespace in {*held, *used, *oldest_work}
    }


def _waited_seconds(oldest_work: str | None, last_lane: str | None, now: datetime) -> float:
    return 0.0 if oldest_work is None else age_seconds(max(oldest_work, last_lane or ""), now)
