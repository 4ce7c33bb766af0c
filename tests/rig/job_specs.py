"""The attempt specs of one job, as the operator makes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.rig.attempt_spec import attempt_spec

from voxfleet_api.attempt_spec import AttemptSpec, CommitRef, FinalizeSpec, PlanSpec, ProcessSpec
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds.audio_shard import JobRef, Stage
from voxfleet_api.kinds.job_input import JobInput
from voxfleet_api.kinds.job_model import BuiltinModel, BuiltinName, ModelSource
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.protocol import ShardResult
from voxfleet_api.ranges import encode
from voxfleet_api.results import PlanResult, job_folder

MODEL = ModelSource(builtin=BuiltinModel(name=BuiltinName.COMMANDS))


@dataclass(frozen=True)
class JobSpecs:
    job_input: JobInput
    output_uri: str
    contract: VoiceContractSpec
    shard_audio_milliseconds: int = 3_600_000
    max_shards: int = 5000
    model: ModelSource = MODEL
    number: int = 0
    """The number of the job, where an agent runs several."""

    @property
    def job(self) -> JobRef:
        return JobRef(name="nightly", uid=f"{self.number:08x}-0000-4000-8000-000000000000")

    @property
    def folder(self) -> str:
        return job_folder(self.output_uri, self.job.name, self.job.uid)

    @property
    def local_folder(self) -> Path:
        """The path of `folder`, where the output is a folder of this machine."""
        return Path(self.folder.removeprefix("file://"))

    def plan(self) -> AttemptSpec:
        plan_spec = PlanSpec(
            input=self.job_input,
            model=self.model,
            shard_audio_milliseconds=self.shard_audio_milliseconds,
            max_shards=self.max_shards,
        )
        return self._spec("plan", Stage.PLAN, 1, plan=plan_spec)

    def process(self, plan: PlanResult, attempt: int = 1) -> Iterator[AttemptSpec]:
        for ordinal, (start, end) in enumerate(zip(plan.boundaries, plan.boundaries[1:], strict=False)):
            process_spec = ProcessSpec(
                plan_attempt=1,
                manifest_sha256=plan.manifest_sha256,
                model=self.model,
                model_digest=plan.model_digest,
                boundaries_digest=digest_of(list(plan.boundaries)),
                ordinal=ordinal,
                indexes=encode(range(start, end)),
            )
            yield self._spec(f"shard-{ordinal}", Stage.PROCESS, attempt, process=process_spec)

    def finalize(
        self, plan: PlanResult, results: list[tuple[AttemptSpec, ShardResult]], not_run: range = range(0)
    ) -> AttemptSpec:
        """`not_run`: the clips of shards that have no result."""
        commits = tuple(
            CommitRef(shard_uid=spec.shard_uid, attempt=spec.attempt, sha256=result.commit_sha256)
            for spec, result in results
        )
        finalize_spec = FinalizeSpec(
            plan_attempt=1,
            manifest_sha256=plan.manifest_sha256,
            total=plan.boundaries[-1],
            commits=commits,
            not_run=encode(not_run),
        )
        return self._spec("finalize", Stage.FINALIZE, 1, finalize=finalize_spec)

    def _spec(self, name: str, stage: Stage, attempt: int, **stage_spec: object) -> AttemptSpec:
        shard_uid = f"job-{self.number}-{name}"
        return attempt_spec(
            stage, shard_uid, self.contract, job=self.job, attempt=attempt, output_folder=self.folder, **stage_spec
        )
