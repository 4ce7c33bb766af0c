"""The attempt specs of a run without a cluster. Pure: the same documents give the same specs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from voxfleet_api.attempt_spec import AttemptSpec, CommitRef
from voxfleet_api.digest import canonical_json, digest_of, sha256_hex
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.audio_shard import JobRef, Stage
from voxfleet_api.kinds.job_status import JobPlan
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.protocol import ShardResult
from voxfleet_api.ranges import encode
from voxfleet_api.results import PlanResult, job_folder
from voxfleet_api.stage_specs import DeliveredShard, finalize_spec, plan_spec, process_spec


@dataclass(frozen=True, slots=True)
class FrozenPlan:
    """A Plan attempt and its result."""

    attempt: int
    found: PlanResult

    @property
    def job_plan(self) -> JobPlan:
        """The plan in the form that a job's status has on a fleet."""
        return JobPlan(attempt=self.attempt, **self.found.model_dump())

    @property
    def shards(self) -> int:
        return max(0, len(self.found.boundaries) - 1)

    @property
    def total(self) -> int:
        return self.found.boundaries[-1] if self.found.boundaries else 0

    def indexes(self, ordinal: int) -> str:
        return encode(range(self.found.boundaries[ordinal], self.found.boundaries[ordinal + 1]))


@dataclass(frozen=True, slots=True)
class Committed:
    """A Process shard that has a result."""

    ordinal: int
    attempt: int
    result: ShardResult


@dataclass(frozen=True, slots=True)
class AttemptSpecs:
    """The specs of one job's attempts."""

    job: AudioBatchJob
    contract: VoiceContractSpec
    uid: str
    settings: Mapping[str, str] = field(default_factory=dict)
    """Variables that also change the run: see MlxAudioSettings.settings."""

    @classmethod
    def of(
        cls, job: AudioBatchJob, contract: VoiceContractSpec, settings: Mapping[str, str] | None = None
    ) -> AttemptSpecs:
        contract = contract.in_full()  # as the API server writes defaults out, so that ladders are found again
        uid = job.metadata.uid or _identity(job, contract, settings or {})[:32]
        return cls(job, contract, uid, settings or {})

    @property
    def identity(self) -> str:
        """The digest of everything that defines a run. Unless the job names a UID, its folders are named after it."""
        return _identity(self.job, self.contract, self.settings)

    @property
    def name(self) -> str:
        """The name of the run's folders on this machine."""
        return f"{self.job.metadata.name}-{self.uid[:8]}"

    @property
    def output_folder(self) -> str:
        return job_folder(self.job.spec.output.uri, self.job.metadata.name, self.uid)

    def shard_uid(self, stage: Stage, ordinal: int | None = None) -> str:
        return sha256_hex(f"{self.uid}/{stage.value}/{'' if ordinal is None else ordinal}".encode())[:32]

    def min_shards(self, lanes: int) -> int | None:
        """A shard for each lane, unless the job says how large its shards are."""
        return None if lanes == 1 or "sharding" in self.job.spec.model_fields_set else lanes

    def plan(self, attempt: int, min_shards: int | None = None) -> AttemptSpec:
        spec = plan_spec(self.job.spec, min_shards)
        return self._spec(Stage.PLAN, None, attempt).model_copy(update={"plan": spec})

    def process(self, plan: FrozenPlan, ordinal: int, attempt: int) -> AttemptSpec:
        spec = process_spec(self.job.spec, plan.job_plan, ordinal, plan.indexes(ordinal))
        return self._spec(Stage.PROCESS, ordinal, attempt).model_copy(update={"process": spec})

    def finalize(self, plan: FrozenPlan, committed: Sequence[Committed], attempt: int) -> AttemptSpec:
        delivered = [
            DeliveredShard(
                plan.indexes(shard.ordinal),
                CommitRef(
                    shard_uid=self.shard_uid(Stage.PROCESS, shard.ordinal),
                    attempt=shard.attempt,
                    sha256=shard.result.commit_sha256,
                ),
            )
            for shard in sorted(committed, key=lambda shard: shard.ordinal)
        ]
        spec = finalize_spec(plan.job_plan, delivered)
        return self._spec(Stage.FINALIZE, None, attempt).model_copy(update={"finalize": spec})

    def _spec(self, stage: Stage, ordinal: int | None, attempt: int) -> AttemptSpec:
        suffix = stage.value.lower() if ordinal is None else f"{ordinal:05d}"
        return AttemptSpec(
            namespace=self.job.metadata.namespace,
            job=JobRef(name=self.job.metadata.name, uid=self.uid),
            shard_name=f"{self.job.metadata.name}-{suffix}",
            shard_uid=self.shard_uid(stage, ordinal),
            attempt=attempt,
            stage=stage,
            task=self.job.spec.task,
            contract=self.contract,
            contract_digest=digest_of(self.contract),
            output_folder=self.output_folder,
            billing_key=self.job.spec.billing_key,
            transcription=self.job.spec.transcription,
            synthesis=self.job.spec.synthesis,
            formats=self.job.spec.output.formats,
        )


def named_addresses(job: AudioBatchJob) -> tuple[str, ...]:
    """Prefixes of all addresses that the job names; a run without an agent's allow-list may touch only these."""
    return tuple(dict.fromkeys(f"{address.rpartition('/')[0]}/" for address in job.spec.uris()))


def _identity(job: AudioBatchJob, contract: VoiceContractSpec, settings: Mapping[str, str]) -> str:
    metadata, frozen = job.metadata, AudioBatchJob.crd.frozen_spec
    mutable = () if frozen is None else frozen.mutable  # they change how a job runs, not what it does
    spec = {name: value for name, value in job.spec.dump().items() if name not in mutable}
    documents = [metadata.namespace, metadata.name, spec | {"parallelism": None}, contract.dump()]
    return sha256_hex(canonical_json([*documents, dict(settings)]))
