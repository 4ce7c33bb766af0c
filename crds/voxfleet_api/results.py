"""The files of a job's output folder: what Plan, Process and Finalize write, and how they name it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from voxfleet_api.base import Decimal3, Digest, Ranges, Sha256Hex, SpecModel, StatusModel, Uid, list_atomic
from voxfleet_api.clip_warnings import WarningCounts
from voxfleet_api.input_selection import InputSelection

RESULTS_NAME = "results.jsonl"
ERRORS_NAME = "errors.jsonl"
INDEX_NAME = "index.json"
REPORT_NAME = "report.html"
REPORT_DATA_NAME = "report.json"
"""What report.html says, for programs, and for `voxfleet report`."""
SKIPPED_NAME = "skipped.jsonl"
MAX_SHARDS = 5000
"""The most shards into which Plan divides a job's clips."""


class PlanResult(StatusModel):
    """The result of Plan, which is copied into AudioShard.status and from there into the job's status."""

    manifest_sha256: Annotated[Sha256Hex, Field(description="sha256 of plan/<attempt>/manifest.jsonl.")]
    model_digest: Annotated[Digest, Field(description="Digest of the model's files.")]
    model_revision: Annotated[str | None, Field(max_length=64, description="The hub's commit.")] = None
    model_bytes: Annotated[
        int | None, Field(ge=0, description="The least memory that its weights take; absent if the agent did not say.")
    ] = None
    boundaries: Annotated[
        tuple[int, ...],
        Field(
            max_length=MAX_SHARDS + 1,
            json_schema_extra=list_atomic(),
            description="Shard k holds the clips from boundaries[k] up to but not including boundaries[k+1].",
        ),
    ]
    audio_seconds: Annotated[Decimal3, Field(description="Audio that the clips' headers announce.")]
    selection: Annotated[
        InputSelection | None, Field(description="What input.prefix, only or source left out; absent without them.")
    ] = None


class PlanFile(SpecModel):
    """plan.json."""

    manifest_sha256: Sha256Hex
    model_digest: Digest
    model_revision: str | None = None
    boundaries: tuple[int, ...]
    audio_seconds: Decimal3
    contract_digest: Digest
    selection: InputSelection | None = None


class FileRef(SpecModel):
    path: str
    sha256: Sha256Hex
    size_bytes: int


class PartRef(SpecModel):
    """One part file, named relative to the job's output folder."""

    path: str
    sha256: Sha256Hex
    indexes: Ranges


class AttemptBase(SpecModel):
    """base.json: the parts that an attempt inherits. It is frozen before the attempt's first clip."""

    shard_uid: Uid
    attempt: int
    plan_attempt: int | None = None
    """The Plan whose clips the parts hold; None: an older agent froze the base and did not say."""
    model_digest: Digest | None = None
    """The model that gave all rows of the parts: an attempt with another one inherits none of them. None: an older
    agent froze the base, with the model of its Plan."""
    parts: tuple[PartRef, ...]


class Counts(StatusModel):
    succeeded: int = 0
    failed: int = 0
    quarantined: int = 0
    not_run: int = 0

    @property
    def total(self) -> int:
        return self.succeeded + self.failed + self.quarantined + self.not_run


class SpentBudget(StatusModel):
    """The most that a job has spent of one Mac's failureBudget."""

    retries_in_an_hour: Annotated[int, Field(description="The most retries within one hour on one Mac.")] = 0
    quarantined_audio_milliseconds: Annotated[int, Field(description="The most audio quarantined on one Mac.")] = 0


class MeasuredResults(StatusModel):
    """What the rows of a job's results come to, for the contract's limits."""

    infer_p95_milliseconds: Annotated[
        int | None,
        Field(description="The p95 of a clip's inference, of clips with a result; absent: none was timed."),
    ] = None
    retries: Annotated[int, Field(description="Fetches and inferences of clips beyond the first.")] = 0
    quarantined_audio_milliseconds: Annotated[int, Field(description="Audio of the quarantined clips.")] = 0
    spent_budget: Annotated[
        SpentBudget | None, Field(description="Of one Mac's failureBudget, as the agents said; absent: none did.")
    ] = None


class Commit(SpecModel):
    """commit.json: everything that an attempt delivers, inherited parts first."""

    shard_uid: Uid
    attempt: int
    indexes: Ranges
    parts: tuple[PartRef, ...]
    counts: Counts
    warnings: WarningCounts = ()
    runs: tuple[FileRef, ...] = ()
    """The run.json of each attempt whose inferred rows the commit delivers; an attempt that was killed has none."""


class ResultIndex(SpecModel):
    """index.json: all result files. A file that it does not name is not a result."""

    job_uid: Uid
    manifest_sha256: Sha256Hex
    total: int
    counts: Counts
    warnings: WarningCounts = ()
    files: tuple[FileRef, ...]


def plan_folder(attempt: int) -> str:
    return f"plan/{attempt}"


def attempt_folder(shard_uid: str, attempt: int) -> str:
    return f"parts/{shard_uid}/{attempt}"


def part_name(number: int, sha256: str) -> str:
    return f"part-{number:06d}-{sha256}.jsonl"


def job_folder(output_uri: str, job_name: str, job_uid: str) -> str:
    """Returns the job's own folder below the output prefix, without a slash at the end."""
    return f"{output_uri.rstrip('/')}/{job_name}-{job_uid[:8]}"
