"""The files of a job's output folder, `<output.uri>/<job>-<uid8>/`, and their rows.

    contract.json                          the contract as accepted
    plan/<n>/manifest.jsonl                one ManifestRow a clip
    plan/<n>/plan.json                     PlanFile; its sha256 is the Plan shard's commit
    parts/<shardUID>/<n>/base.json         Base: what attempt n inherits, frozen before its first clip
    parts/<shardUID>/<n>/part-<k>-<sha256>.jsonl   ResultRows
    parts/<shardUID>/<n>/commit.json       Commit; its sha256 is the Process shard's commit
    results.jsonl errors.jsonl             ResultRows in the order of their index
    index.json                             Index, written last; its sha256 is the Finalize shard's commit

Rows use snake_case (data people read them), the other files camelCase.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from voxfleet_api.base import Decimal3, Digest, Ranges, Sha256Hex, SpecModel, StatusModel, Uid, list_atomic
from voxfleet_api.failures import FailureClass


class Row(BaseModel):
    """One line of a JSON Lines file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def line(self) -> bytes:
        """The row as one line, absent fields left out; the same row always gives the same bytes."""
        return self.model_dump_json(exclude_none=True).encode() + b"\n"


class RowError(BaseModel):
    """Why a clip has no result."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True, validate_by_name=True)

    failure_class: FailureClass | None = Field(alias="class", default=None)
    """Absent only for `not_run`."""
    reason: Annotated[str, Field(max_length=256)]


class ManifestRow(Row):
    """A clip as Plan saw it."""

    index: int
    custom_id: str
    uri: str
    size_bytes: int | None = None
    etag: str | None = None
    """The object's version; Process reads this version or reports InputChanged."""
    sha256: str | None = None
    """Expected digest, when the input names one."""
    audio_milliseconds: int = 0
    """What the header announces; 0 when it could not be read."""
    refusal: RowError | None = None
    """A violation that the header shows; such a clip is not fetched again."""


class ClipStatus(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    NOT_RUN = "not_run"


class Timings(BaseModel):
    """A clip's latency, from the start of its fetch to its row being durable, in milliseconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fetch_milliseconds: int = 0
    decode_milliseconds: int = 0
    wait_milliseconds: int = 0
    infer_milliseconds: int = 0


class Attestation(BaseModel):
    """What the file was and what was done to it before inference."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    container: str
    encoding: str
    sample_rate_hz: int
    channels: int
    conversions: tuple[str, ...] = ()
    """For example `resample:22050->16000:soxr_vhq`, `downmix:2->1:Mean`; empty: none."""
    decoder: str
    """Name and version."""


class ResultRow(Row):
    """The one row of one clip."""

    index: int
    custom_id: str
    status: ClipStatus
    text: str | None = None
    error: RowError | None = None
    audio_milliseconds: int = 0
    sha256: str | None = None
    etag: str | None = None
    timings: Timings | None = None
    attestation: Attestation | None = None
    batch_size: int | None = None
    attempt: int | None = None
    chip: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)


class PlanResult(StatusModel):
    """What Plan found; copied into AudioShard.status and then into the job's."""

    manifest_sha256: Annotated[Sha256Hex, Field(description="Of manifest.jsonl.")]
    model_digest: Annotated[Digest, Field(description="Over the model's files.")]
    model_revision: Annotated[str | None, Field(max_length=64, description="The hub's commit.")] = None
    boundaries: Annotated[
        tuple[int, ...],
        Field(
            max_length=5001,
            json_schema_extra=list_atomic(),
            description="Shard k holds the clips from boundaries[k] up to, without, boundaries[k+1].",
        ),
    ]
    audio_seconds: Annotated[Decimal3, Field(description="Audio that the clips' headers announce.")]


class PlanFile(SpecModel):
    """plan.json."""

    manifest_sha256: Sha256Hex
    model_digest: Digest
    model_revision: str | None = None
    boundaries: tuple[int, ...]
    audio_seconds: Decimal3
    contract_digest: Digest


class PartRef(SpecModel):
    """One part file, named relative to the job's output folder."""

    path: str
    sha256: Sha256Hex
    indexes: Ranges


class Base(SpecModel):
    """base.json: the parts that an attempt inherits. Frozen once, before its first clip."""

    shard_uid: Uid
    attempt: int
    parts: tuple[PartRef, ...]


class Counts(SpecModel):
    succeeded: int = 0
    failed: int = 0
    quarantined: int = 0
    not_run: int = 0


class Commit(SpecModel):
    """commit.json: everything that an attempt delivers, inherited parts first."""

    shard_uid: Uid
    attempt: int
    indexes: Ranges
    parts: tuple[PartRef, ...]
    counts: Counts


class FileRef(SpecModel):
    path: str
    sha256: Sha256Hex
    size_bytes: int


class Index(SpecModel):
    """index.json: all result files. What it does not name is not a result."""

    job_uid: Uid
    manifest_sha256: Sha256Hex
    total: int
    counts: Counts
    files: tuple[FileRef, ...]


def plan_folder(attempt: int) -> str:
    return f"plan/{attempt}"


def attempt_folder(shard_uid: str, attempt: int) -> str:
    return f"parts/{shard_uid}/{attempt}"


def part_name(number: int, sha256: str) -> str:
    return f"part-{number:06d}-{sha256}.jsonl"


def job_folder(output_uri: str, job_name: str, job_uid: str) -> str:
    """The job's own folder below the output prefix, without a slash at the end."""
    return f"{output_uri.rstrip('/')}/{job_name}-{job_uid[:8]}"
