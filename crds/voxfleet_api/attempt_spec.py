"""What an attempt does: the digested part of its PUT. An agent that does not know a field refuses the attempt."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from pydantic import Field

from voxfleet_api.base import ChosenClips, Digest, Ranges, Sha256Hex, SpecModel, Uid
from voxfleet_api.kinds.audio_shard import JobRef, Stage
from voxfleet_api.kinds.contract_output import OutputFormat
from voxfleet_api.kinds.job_input import JobInput
from voxfleet_api.kinds.job_model import ModelSource
from voxfleet_api.kinds.job_source import SourceSelect
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.results import MAX_SHARDS


class AttemptKey(NamedTuple):
    """The identity of an attempt."""

    shard_uid: str
    attempt: int

    def __str__(self) -> str:
        return f"{self.shard_uid}.{self.attempt}"


class PlanSource(SpecModel):
    """An ended job, some clips of which run again. `index_sha256` verifies all that is read of it."""

    folder: Annotated[str, Field(max_length=2048)]
    """Its own output folder, without a slash at the end."""
    index_sha256: Sha256Hex
    plan_attempt: Annotated[int, Field(ge=1)]
    select: SourceSelect
    indexes: ChosenClips | None = None


class PlanSpec(SpecModel):
    """The work of Plan: list the input, check headers, resolve the model, write manifest.jsonl and plan.json."""

    input: JobInput | None = None
    model: ModelSource
    shard_audio_milliseconds: Annotated[int, Field(ge=1)]
    max_shards: Annotated[int, Field(ge=1)]
    min_shards: Annotated[int, Field(ge=1)] | None = None
    """Shards for this many lanes, though they hold less audio; None: as few as their audio asks for."""
    only: ChosenClips | None = None
    """The clips of `input` that are the job's; None: all."""
    source: PlanSource | None = None
    """Instead of `input`."""


class ProcessSpec(SpecModel):
    """The work of Process: transcribe or synthesize some clips.

    Process first verifies what Plan froze; a difference is PlanMismatch or ModelMismatch.
    """

    plan_attempt: Annotated[int, Field(ge=1)]
    manifest_sha256: Sha256Hex
    model: ModelSource
    """The resolved model: a hub model names a commit."""
    model_digest: Digest
    boundaries_digest: Digest
    """`digest_of` the list of boundaries."""
    ordinal: Annotated[int, Field(ge=0)]
    indexes: Ranges
    inherits: tuple[Uid, ...] = ()
    """For a part of a planned shard: the shards that it was split from, the nearest first. It takes over what they have
    delivered of its clips."""


class CommitRef(SpecModel):
    shard_uid: Uid
    attempt: Annotated[int, Field(ge=1)]
    sha256: Sha256Hex


class FinalizeSpec(SpecModel):
    """The work of Finalize: merge the named commits. The result depends on them alone, not on a clock or a host."""

    plan_attempt: Annotated[int, Field(ge=1)]
    manifest_sha256: Sha256Hex
    total: Annotated[int, Field(ge=0)]
    commits: tuple[CommitRef, ...]
    not_run: Annotated[str, Field(max_length=16 * MAX_SHARDS)] = ""
    """The clips without a commit, because the job failed or was cancelled."""


class AttemptSpec(SpecModel):
    """What an attempt does. Its digest is part of its identity; credentials, epoch and trace are not.

    A field that has its default is not sent. So a field that is new concerns neither an older agent nor the digest of
    an attempt that an older operator has assigned, as long as nobody uses it. A default must never change.
    """

    namespace: Annotated[str, Field(min_length=1, max_length=253)]
    job: JobRef
    shard_name: Annotated[str, Field(min_length=1, max_length=253)]
    shard_uid: Uid
    attempt: Annotated[int, Field(ge=1)]
    stage: Stage
    task: Task
    contract: VoiceContractSpec
    contract_digest: Digest
    output_folder: Annotated[str, Field(max_length=2048)]
    """The job's own folder, without a slash at the end."""
    billing_key: str | None = None
    transcription: Transcription = Transcription()
    synthesis: Synthesis | None = None
    formats: tuple[OutputFormat, ...] = (OutputFormat.JSONL,)
    plan: PlanSpec | None = None
    process: ProcessSpec | None = None
    finalize: FinalizeSpec | None = None

    def dump(self) -> dict[str, Any]:
        short = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
        return {**short, "contract": self.contract.dump()}
