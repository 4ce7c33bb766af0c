"""Machine time of a job by Mac and class, as it was known at one moment."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from voxfleet_api.base import StatusModel, list_atomic
from voxfleet_api.results import SpentBudget

MAX_MACS = 64
"""The most Macs that are named; what the others used is one sum."""

Milliseconds = Annotated[int, Field(ge=0)]


class MacTime(StatusModel):
    """What the attempts of a job used on one Mac."""

    mac: Annotated[
        str | None,
        Field(max_length=253, description="The MacAgent. Absent: attempts that are summed up without their Mac."),
    ] = None
    productive_milliseconds: Annotated[Milliseconds, Field(description="Work that was committed.")]
    retry_milliseconds: Annotated[Milliseconds, Field(description="Work of attempts without a result.")]
    overhead_milliseconds: Annotated[Milliseconds, Field(description="Setup and cleanup.")]
    rows: Annotated[int, Field(ge=0, description="Verified ledger rows.")]

    @property
    def machine_milliseconds(self) -> int:
        return self.productive_milliseconds + self.retry_milliseconds + self.overhead_milliseconds


class MachineTime(StatusModel):
    """The verified rows of a job's attempts. It grows until no attempt is open."""

    macs: Annotated[
        tuple[MacTime, ...],
        Field(
            max_length=MAX_MACS + 1,
            json_schema_extra=list_atomic(),
            description="Those that used most, first; what the rest used is one entry without a Mac.",
        ),
    ]
    audio_milliseconds: Annotated[Milliseconds, Field(description="Audio of the processed clips.")]
    open_attempts: Annotated[int, Field(ge=0, description="Attempts of which rows are still expected.")]
    unverified_attempts: Annotated[
        int, Field(ge=0, description="Attempts of which rows may be missing, because their Macs stayed away.")
    ]
    spent_budget: Annotated[
        SpentBudget | None, Field(description="The most that was spent of one Mac's failureBudget, as agents said.")
    ] = None
