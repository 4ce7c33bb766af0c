"""What an attempt is told to do. Pure, and the same for the same shard and attempt, whoever leads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import SecretStr

from voxfleet_api.digest import digest_of
from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_api.kinds.audio_batch_job import MAX_SHARDS, JobPlan
from voxfleet_api.kinds.audio_shard import JobRef, Stage
from voxfleet_api.kinds.job_model import HubModel, ModelSource
from voxfleet_api.protocol import (
    AttemptRequest,
    AttemptSpec,
    CommitRef,
    FinalizeOrder,
    PlanOrder,
    ProcessOrder,
    S3Credentials,
)
from voxfleet_api.quantities import duration_milliseconds
from voxfleet_api.ranges import decode, encode
from voxfleet_api.results import job_folder


class SpecNotReady(Exception):
    """The job's status lacks what this stage stands on: the contract, or the frozen plan."""


class CredentialsIncomplete(Exception):
    """The job's Secret lacks a key; the message names Secret, key and namespace."""


def attempt_spec(job: AudioBatchJob, shard: AudioShard, attempt: int, shards: Iterable[AudioShard]) -> AttemptSpec:
    """`shards`: all of the job's; Finalize names their commits. Raises SpecNotReady."""
    contract = job.status.contract
    if contract is None:
        raise SpecNotReady(f"job {job.metadata.name} was not accepted")
    stage = shard.spec.stage
    plan = job.status.plan
    if plan is None and stage is not Stage.PLAN:
        raise SpecNotReady(f"job {job.metadata.name} has no plan")
    return AttemptSpec(
        namespace=job.metadata.namespace,
        job=JobRef(name=job.metadata.name, uid=job.metadata.uid),
        shard_name=shard.metadata.name,
        shard_uid=shard.metadata.uid,
        attempt=attempt,
        stage=stage,
        task=job.spec.task,
        contract=contract.spec,
        contract_digest=contract.digest,
        output_folder=job_folder(job.spec.output.uri, job.metadata.name, job.metadata.uid),
        billing_key=job.spec.billing_key,
        transcription=job.spec.transcription,
        synthesis=job.spec.synthesis,
        formats=job.spec.output.formats,
        plan=_plan_order(job) if stage is Stage.PLAN else None,
        process=_process_order(job, shard, plan) if stage is Stage.PROCESS and plan is not None else None,
        finalize=_finalize_order(plan, shards) if stage is Stage.FINALIZE and plan is not None else None,
    )


def attempt_request(spec: AttemptSpec, lease_seconds: int, credentials: S3Credentials | None) -> AttemptRequest:
    return AttemptRequest(
        spec_digest=digest_of(spec), spec=spec.dump(), lease_seconds=lease_seconds, credentials=credentials
    )


def s3_credentials(data: Mapping[str, bytes], namespace: str, name: str) -> S3Credentials:
    """From a Secret's data. Raises CredentialsIncomplete."""

    def text(key: str) -> str | None:
        try:
            return data[key].decode().strip() if key in data else None
        except UnicodeDecodeError:
            raise CredentialsIncomplete(f"Secret {namespace}/{name}, key {key} is no text; store it again") from None

    def required(key: str) -> SecretStr:
        value = text(key)
        if not value:
            raise CredentialsIncomplete(f"Secret {namespace}/{name} has no key {key}; add it")
        return SecretStr(value)

    token = text("AWS_SESSION_TOKEN")
    return S3Credentials(
        access_key_id=required("AWS_ACCESS_KEY_ID"),
        secret_access_key=required("AWS_SECRET_ACCESS_KEY"),
        session_token=SecretStr(token) if token else None,
        region=text("AWS_REGION"),
        endpoint_url=text("AWS_ENDPOINT_URL"),
    )


def _plan_order(job: AudioBatchJob) -> PlanOrder:
    return PlanOrder(
        input=job.spec.input,
        model=job.spec.model,
        shard_audio_milliseconds=max(1, duration_milliseconds(job.spec.sharding.target_audio)),
        max_shards=MAX_SHARDS,
    )


def _process_order(job: AudioBatchJob, shard: AudioShard, plan: JobPlan) -> ProcessOrder:
    if shard.spec.ordinal is None or shard.spec.indexes is None:
        raise SpecNotReady(f"shard {shard.metadata.name} has no clips")
    return ProcessOrder(
        plan_attempt=plan.attempt,
        manifest_sha256=plan.manifest_sha256,
        model=_resolved(job.spec.model, plan),
        model_digest=plan.model_digest,
        boundaries_digest=digest_of(list(plan.boundaries)),
        ordinal=shard.spec.ordinal,
        indexes=shard.spec.indexes,
    )


def _resolved(model: ModelSource, plan: JobPlan) -> ModelSource:
    """A hub model is named by the commit that Plan found: a branch may move between two shards."""
    if model.hub is None or plan.model_revision is None:
        return model
    return model.model_copy(update={"hub": HubModel(id=model.hub.id, revision=plan.model_revision)})


def _finalize_order(plan: JobPlan, shards: Iterable[AudioShard]) -> FinalizeOrder:
    process = sorted(
        (shard for shard in shards if shard.spec.stage is Stage.PROCESS), key=lambda shard: shard.spec.ordinal or 0
    )
    commits = [(shard, shard.status.commit) for shard in process]
    total = plan.boundaries[-1] if plan.boundaries else 0
    delivered = {index for shard, commit in commits if commit is not None for index in decode(shard.spec.indexes or "")}
    return FinalizeOrder(
        plan_attempt=plan.attempt,
        manifest_sha256=plan.manifest_sha256,
        total=total,
        commits=tuple(
            CommitRef(shard_uid=shard.metadata.uid, attempt=commit.attempt, sha256=commit.sha256)
            for shard, commit in commits
            if commit is not None
        ),
        not_run=encode(set(range(total)) - delivered),
    )
