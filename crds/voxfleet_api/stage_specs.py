"""The stage specs of a job's attempts, on a fleet and without a cluster. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from voxfleet_api.attempt_spec import CommitRef, FinalizeSpec, PlanSource, PlanSpec, ProcessSpec
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds.audio_batch_job import AudioBatchJobSpec
from voxfleet_api.kinds.job_model import HubModel, ModelSource
from voxfleet_api.kinds.job_source import AcceptedSource, JobSource
from voxfleet_api.kinds.job_status import JobPlan
from voxfleet_api.quantities import duration_milliseconds
from voxfleet_api.ranges import decode, encode
from voxfleet_api.results import MAX_SHARDS


@dataclass(frozen=True, slots=True)
class DeliveredShard:
    """A Process shard that has a commit."""

    indexes: str
    commit: CommitRef


def plan_spec(spec: AudioBatchJobSpec, min_shards: int | None = None, source: AcceptedSource | None = None) -> PlanSpec:
    """`source`: the job that `spec.source` names, as it was found."""
    return PlanSpec(
        input=spec.input,
        model=spec.model,
        shard_audio_milliseconds=max(1, duration_milliseconds(spec.sharding.target_audio)),
        max_shards=MAX_SHARDS,
        min_shards=min_shards,
        only=spec.only,
        source=_plan_source(spec.source, source),
    )


def _plan_source(asked: JobSource | None, found: AcceptedSource | None) -> PlanSource | None:
    if asked is None or found is None:
        return None
    return PlanSource(
        folder=found.folder,
        index_sha256=found.index_sha256,
        plan_attempt=found.plan_attempt,
        select=asked.select,
        indexes=asked.indexes,
    )


def process_spec(
    spec: AudioBatchJobSpec, plan: JobPlan, ordinal: int, indexes: str, inherits: tuple[str, ...] = ()
) -> ProcessSpec:
    """`inherits`: for a part of a planned shard, the shards that it was split from."""
    return ProcessSpec(
        plan_attempt=plan.attempt,
        manifest_sha256=plan.manifest_sha256,
        model=_resolved(spec.model, plan),
        model_digest=plan.model_digest,
        boundaries_digest=digest_of(list(plan.boundaries)),
        ordinal=ordinal,
        indexes=indexes,
        inherits=inherits,
    )


def finalize_spec(plan: JobPlan, delivered: Iterable[DeliveredShard]) -> FinalizeSpec:
    """`delivered`: the shards by ordinal. Clips of no delivered shard are not_run."""
    shards = list(delivered)
    total = plan.boundaries[-1] if plan.boundaries else 0
    delivered_indexes = {index for shard in shards for index in decode(shard.indexes)}
    return FinalizeSpec(
        plan_attempt=plan.attempt,
        manifest_sha256=plan.manifest_sha256,
        total=total,
        commits=tuple(shard.commit for shard in shards),
        not_run=encode(set(range(total)) - delivered_indexes),
    )


def _resolved(model: ModelSource, plan: JobPlan) -> ModelSource:
    """Names a hub model by the commit that Plan resolved, because a branch may move between two shards."""
    if model.hub is None or plan.model_revision is None:
        return model
    return model.model_copy(update={"hub": HubModel(id=model.hub.id, revision=plan.model_revision)})
