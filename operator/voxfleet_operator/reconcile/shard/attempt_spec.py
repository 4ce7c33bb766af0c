"""What an attempt has to do. Pure: every leader computes the same spec for the same shard and attempt."""

from __future__ import annotations

from collections.abc import Iterable

from voxfleet_api.attempt_spec import AttemptSpec, CommitRef, FinalizeSpec, ProcessSpec
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_api.kinds.audio_shard import JobRef, Stage
from voxfleet_api.kinds.job_status import JobPlan
from voxfleet_api.machine_time import MachineTime
from voxfleet_api.protocol import AttemptRequest, ReportedLadder, S3Credentials
from voxfleet_api.results import job_folder
from voxfleet_api.stage_specs import DeliveredShard, finalize_spec, plan_spec, process_spec
from voxfleet_operator.reconcile.shard.coverage import Coverage


class SpecNotReady(Exception):
    """The job's status lacks what this stage needs: the contract, or the frozen plan."""


def attempt_spec(job: AudioBatchJob, shard: AudioShard, attempt: int, shards: Iterable[AudioShard]) -> AttemptSpec:
    """`shards` are all shards of the job; Finalize names their commits. Raises SpecNotReady."""
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
        plan=plan_spec(job.spec, source=job.status.source) if stage is Stage.PLAN else None,
        process=_process_spec(job, shard, plan) if stage is Stage.PROCESS and plan is not None else None,
        finalize=_finalize_spec(plan, shards) if stage is Stage.FINALIZE and plan is not None else None,
    )


def attempt_request(
    spec: AttemptSpec,
    lease_seconds: int,
    credentials: S3Credentials | None,
    uri_prefixes: tuple[str, ...],
    ladder: ReportedLadder | None = None,
    *,
    batch_halvings: int,
    machine_time: MachineTime | None = None,
) -> AttemptRequest:
    """`uri_prefixes`: what the Mac opens to the job's namespace. `ladder`: what it need not measure. `batch_halvings`:
    see `mutations`. `machine_time`: for the report; outside the spec, so that older agents finalize too.
    """
    return AttemptRequest(
        spec_digest=digest_of(spec),
        spec=spec.dump(),
        lease_seconds=lease_seconds,
        credentials=credentials,
        uri_prefixes=uri_prefixes,
        ladder=ladder,
        batch_halvings=batch_halvings,
        machine_time=machine_time,
    )


def _process_spec(job: AudioBatchJob, shard: AudioShard, plan: JobPlan) -> ProcessSpec:
    if shard.spec.ordinal is None or shard.spec.indexes is None:
        raise SpecNotReady(f"shard {shard.metadata.name} has no clips")
    inherits = () if shard.spec.piece is None else shard.spec.piece.inherits
    return process_spec(job.spec, plan, shard.spec.ordinal, shard.spec.indexes, inherits)


def _finalize_spec(plan: JobPlan, shards: Iterable[AudioShard]) -> FinalizeSpec:
    return finalize_spec(
        plan,
        [
            DeliveredShard(
                shard.spec.indexes or "",
                CommitRef(shard_uid=shard.metadata.uid, attempt=commit.attempt, sha256=commit.sha256),
            )
            for shard in Coverage.of(shards).process
            if (commit := shard.status.commit) is not None
        ],
    )
