"""What a MacAgent says of its acceptance: the job that tries the Mac, and what came of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from voxfleet_api.base import Sha256Hex, SpecModel, Uid, cel, list_map, validations

ACCEPTS_MAC = "voxfleet.dev/accepts-mac"
"""The annotation of a job that tries a Mac, with the Mac's name: it runs nowhere else."""


class AcceptanceCheck(StrEnum):
    """The lines of an acceptance, in their order."""

    MACHINE_HOURS = "MachineHours"
    DISK_QUOTA = "DiskQuota"
    REALTIME_SLO = "RealtimeSlo"
    FAILURE_BUDGET = "FailureBudget"
    REPRO_BUNDLE = "ReproBundle"


class AcceptanceLine(SpecModel):
    """One line of an acceptance."""

    name: Annotated[AcceptanceCheck, Field(description="What was checked.")]
    passed: Annotated[bool, Field(description="Whether the value keeps to the limit.")]
    value: Annotated[str, Field(max_length=256, description="What was measured, with its unit.")]
    limit: Annotated[str, Field(max_length=256, description="What was allowed, with its unit, and where it is from.")]


AcceptanceTime = Annotated[
    str,
    Field(
        max_length=20,
        pattern=r"^2[0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$",
        json_schema_extra={"format": "date-time"},
    ),
]
AcceptanceLines = Annotated[
    tuple[AcceptanceLine, ...],
    Field(
        min_length=len(AcceptanceCheck),
        max_length=len(AcceptanceCheck),
        json_schema_extra=list_map("name"),
        description="One line for each check.",
    ),
]


class MacAcceptance(
    SpecModel,
    json_schema_extra=validations(
        cel(
            "self.passed == self.lines.all(line, line.passed)",
            "write passed: true exactly where every line has passed: true",
            field_path=".passed",
        ),
    ),
):
    """What `voxfleet accept` found. It counts for one machine and one ledger key."""

    record_sha256: Annotated[Sha256Hex, Field(description="sha256 of the signed record.")]
    hardware_id: Annotated[str, Field(min_length=1, max_length=128, description="The machine that was tried.")]
    ledger_public_key: Annotated[
        str,
        Field(
            min_length=44,
            max_length=44,
            pattern=r"^[A-Za-z0-9+/]{43}=$",
            description="The key that signed its machine-hours.",
        ),
    ]
    accepted_at: Annotated[AcceptanceTime, Field(description="When the record was made.")]
    passed: Annotated[bool, Field(description="Whether every line passed.")]
    lines: AcceptanceLines


class AcceptanceJob(SpecModel):
    """The job that tries a Mac. Only whoever may change the MacAgent names it."""

    namespace: Annotated[str, Field(min_length=1, max_length=63, description="The job's namespace.")]
    name: Annotated[str, Field(min_length=1, max_length=253, description="The job's name.")]
    uid: Annotated[Uid, Field(description="The job's UID: another job of that name is not meant.")]
