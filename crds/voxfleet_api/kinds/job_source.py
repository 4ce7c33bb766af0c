"""AudioBatchJob: clips of an ended job that run again. A rerun is a new job."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from voxfleet_api.base import ChosenClips, Sha256Hex, SpecModel, StatusModel, Uid, cel, validations
from voxfleet_api.kinds.resource import LocalRef


class SourceSelect(StrEnum):
    """Which clips of an ended job run again."""

    FAILED = "Failed"
    QUARANTINED = "Quarantined"
    NOT_RUN = "NotRun"
    INDEXES = "Indexes"


class JobSource(
    SpecModel,
    json_schema_extra=validations(
        cel(
            "self.select != 'Indexes' || has(self.indexes)",
            "select Indexes needs indexes; write for example indexes: 3,7-9",
            field_path=".indexes",
        ),
    ),
):
    """The clips of an earlier job that are to run again, in the very versions that its plan names."""

    job_ref: Annotated[
        LocalRef,
        Field(description="The earlier job, in the same namespace. The rerun waits until it is Complete or Failed."),
    ]
    select: Annotated[
        SourceSelect,
        Field(
            description="Failed, Quarantined or NotRun: the clips that have such a row in its errors.jsonl. Writing"
            " Quarantined releases them. Indexes: the clips of `indexes`, whatever became of them."
        ),
    ]
    indexes: Annotated[
        ChosenClips | None,
        Field(
            description="Clips by their index in the earlier job, such as `3,7-9`. With another select than Indexes:"
            " only these, each of which must be of that kind."
        ),
    ] = None


class AcceptedSource(StatusModel):
    """The earlier job at the time when the rerun was accepted. Its results are verified against it."""

    uid: Annotated[Uid, Field(description="UID of the earlier job.")]
    folder: Annotated[str, Field(max_length=1152, description="Its output folder.")]
    index_sha256: Annotated[Sha256Hex, Field(description="sha256 of its index.json.")]
    plan_attempt: Annotated[int, Field(ge=1, description="The attempt of its Plan shard whose manifest counts.")]
