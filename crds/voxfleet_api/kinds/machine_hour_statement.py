"""MachineHourStatement: the settled machine time of one Mac in one calendar month. Written by the operator only."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from voxfleet_api.base import (
    OPEN_VALUE,
    Decimal3,
    Month,
    ObservedGeneration,
    Sha256Hex,
    SpecModel,
    StatusModel,
    Timestamp,
    Uid,
    cel,
    list_atomic,
    list_map,
    validations,
)
from voxfleet_api.conditions import Conditions
from voxfleet_api.kinds.resource import AGE_COLUMN, CrdFacts, FrozenSpec, PrinterColumn, Resource

MAX_CHAINS = 16
MAX_NAMESPACES = 32
MAX_TOTALS = 32
MAX_CORRECTED_MONTHS = 32
MAX_ENDPOINTS = 64


class MachineHourStatementSpec(SpecModel):
    """Whose time it is, and of which month. Immutable."""

    mac: Annotated[str, Field(min_length=1, max_length=253, description="Name of the MacAgent.")]
    month: Annotated[Month, Field(description="The month in UTC, by the time at which a row begins.")]


class ChainCursor(StatusModel):
    """How far one chain of ledger rows is settled."""

    chain_id: Annotated[str, Field(max_length=64, description="The Mac's chain of ledger rows.")]
    sequence: Annotated[int, Field(ge=0, description="Number of the newest row that is settled.")]
    hash: Annotated[Sha256Hex, Field(description="Hash of that row, which the row after it names.")]
    ledger_key: Annotated[str, Field(max_length=64, description="The key that signed it. The Mac that has it goes on.")]


class NamespaceUse(StatusModel):
    """What one namespace has used of the Mac lately."""

    namespace: Annotated[str, Field(max_length=63, description="The namespace.")]
    machine_seconds: Annotated[
        Decimal3, Field(description="Its machine time at `updatedAt`. Half of it counts twelve hours later.")
    ]


class StatementTotal(StatusModel):
    """Machine time of one namespace, billing key and class."""

    namespace: Annotated[str, Field(max_length=63, description="The owner's; empty: of all that have no entry.")]
    billing_key: Annotated[str | None, Field(max_length=63, description="The job's billing key; absent: none.")] = None
    time_class: Annotated[
        str,
        OPEN_VALUE,
        Field(
            alias="class",
            max_length=63,
            description="Productive, Retry, Overhead or Orphaned; Mixed: of several, for want of room.",
        ),
    ]
    machine_seconds: Annotated[Decimal3, Field(description="Lane time.")]
    audio_seconds: Annotated[Decimal3, Field(description="Audio of the processed clips.")] = "0.000"
    clips: Annotated[int, Field(ge=0, description="Clips that got their row meanwhile.")] = 0


class EndpointTime(StatusModel):
    """Machine time of one VoiceEndpoint's warm lanes."""

    uid: Annotated[Uid, Field(description="metadata.uid of the VoiceEndpoint.")]
    productive_seconds: Annotated[Decimal3, Field(description="While sessions were open, or had just been.")] = "0.000"
    overhead_seconds: Annotated[Decimal3, Field(description="While it was loaded, idle, or cleaned up.")] = "0.000"
    rows: Annotated[int, Field(ge=0, description="Signed rows.")] = 0


class StatementCorrection(StatusModel):
    """Rows of an earlier month that came when its statement was final."""

    month: Annotated[Month, Field(description="The month to which the time belongs.")]
    machine_seconds: Annotated[Decimal3, Field(description="Lane time, in no total of this or of that month.")]
    rows: Annotated[int, Field(ge=0, description="Signed rows.")]
    estimated_seconds: Annotated[
        Decimal3 | None, Field(description="What had been estimated of their attempts in that month; they replace it.")
    ] = None


class StatementArchive(StatusModel):
    """What of the ledger archive the totals are the sum of."""

    revision: Annotated[int, Field(ge=1, description="Revision of the Mac's index of this month.")]
    sha256: Annotated[Sha256Hex, Field(description="sha256 of that index, which names all segments with theirs.")]
    segments: Annotated[int, Field(ge=0, description="How many segments of rows it names.")]


_FROZEN = (
    "machineSeconds",
    "productiveSeconds",
    "retrySeconds",
    "overheadSeconds",
    "orphanedSeconds",
    "estimatedSeconds",
    "audioSeconds",
    "clips",
    "rows",
    "totals",
    "endpoints",
    "corrections",
)
_UNCHANGED = " && ".join(
    f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || self.{name} == oldSelf.{name})"
    for name in _FROZEN
)


class MachineHourStatementStatus(
    StatusModel,
    json_schema_extra=validations(
        cel(
            "!has(oldSelf.conditions) || !oldSelf.conditions.exists(c, c.type == 'Final' && c.status == 'True')"
            " || (has(self.conditions) && self.conditions.exists(c, c.type == 'Final' && c.status == 'True')"
            f" && {_UNCHANGED})",
            "a final statement never changes; late rows are corrections of the month in which they come",
        ),
        cel(
            "!has(oldSelf.cursors) || (has(self.cursors) && oldSelf.cursors.all(old, self.cursors.exists(new,"
            " new.chainId == old.chainId && new.sequence >= old.sequence && new.ledgerKey == old.ledgerKey)))",
            "a cursor never falls and keeps its key, or rows would count twice",
        ),
    ),
):
    """Cursors and totals are one write, so no row counts twice and none is left out."""

    observed_generation: ObservedGeneration = -1
    cursors: Annotated[
        tuple[ChainCursor, ...],
        Field(
            max_length=MAX_CHAINS,
            json_schema_extra=list_map("chainId"),
            description="Rows up to these are settled. Those of this month are in the totals.",
        ),
    ] = ()
    machine_hours: Annotated[str, Field(max_length=32, description="machineSeconds in hours, for people.")] = "0.0000"
    machine_seconds: Annotated[Decimal3, Field(description="Lane time: the sum of the four classes.")] = "0.000"
    productive_seconds: Annotated[Decimal3, Field(description="Seconds of work that was committed.")] = "0.000"
    retry_seconds: Annotated[Decimal3, Field(description="Seconds of work of attempts without a result.")] = "0.000"
    overhead_seconds: Annotated[Decimal3, Field(description="Seconds of setup and cleanup.")] = "0.000"
    orphaned_seconds: Annotated[
        Decimal3, Field(description="Seconds of work of jobs that were deleted before their attempts were settled.")
    ] = "0.000"
    audio_seconds: Annotated[Decimal3, Field(description="Audio of the processed clips.")] = "0.000"
    clips: Annotated[int, Field(description="Clips that got their row meanwhile.")] = 0
    estimated_seconds: Annotated[
        Decimal3,
        Field(description="Seconds of lost attempts that no signed row proves, as their Mac is gone; in no other sum."),
    ] = "0.000"
    rows: Annotated[int, Field(description="Signed rows in the totals.")] = 0
    totals: Annotated[
        tuple[StatementTotal, ...],
        Field(
            max_length=MAX_TOTALS,
            json_schema_extra=list_atomic(),
            description=(
                "The same by namespace, billing key and class. Where room ends, the smaller pairs have one entry each,"
                " and the smallest are added up by class."
            ),
        ),
    ] = ()
    endpoints: Annotated[
        tuple[EndpointTime, ...],
        Field(
            max_length=MAX_ENDPOINTS,
            json_schema_extra=list_atomic(),
            description="What of it VoiceEndpoints took. Where room ends, those without new rows that took least are"
            " left out; their time stays in the totals.",
        ),
    ] = ()
    corrections: Annotated[
        tuple[StatementCorrection, ...],
        Field(
            max_length=MAX_CORRECTED_MONTHS,
            json_schema_extra=list_atomic(),
            description="Time of earlier months whose statements were final before its rows came.",
        ),
    ] = ()
    archive: Annotated[
        StatementArchive | None, Field(description="Where the rows are; absent while there is no archive.")
    ] = None
    conditions: Conditions = ()
    recent_use: Annotated[
        tuple[NamespaceUse, ...],
        Field(
            max_length=MAX_NAMESPACES,
            json_schema_extra=list_map("namespace"),
            description="The namespaces that used most of it lately. Who used less gets the next lanes.",
        ),
    ] = ()
    updated_at: Annotated[Timestamp | None, Field(description="When rows were last added.")] = None


class MachineHourStatement(Resource):
    """The settled machine time of one Mac in one calendar month. Written by the operator only."""

    crd: ClassVar[CrdFacts] = CrdFacts(
        kind="MachineHourStatement",
        plural="machinehourstatements",
        singular="machinehourstatement",
        short_names=("mhs",),
        everyday_name="statement",
        scope="Cluster",
        columns=(
            PrinterColumn("Mac", "string", ".spec.mac", "The Mac"),
            PrinterColumn("Month", "string", ".spec.month", "The month in UTC"),
            PrinterColumn("Machine-Hours", "string", ".status.machineHours", "Lane time in hours"),
            PrinterColumn("Rows", "integer", ".status.rows", "Signed rows in the totals"),
            PrinterColumn("Final", "string", '.status.conditions[?(@.type=="Final")].status', "Does nothing change?"),
            PrinterColumn("Updated", "date", ".status.updatedAt", "Since rows were last added"),
            PrinterColumn("Productive", "string", ".status.productiveSeconds", "Seconds of committed work", priority=1),
            PrinterColumn("Retry", "string", ".status.retrySeconds", "Seconds of work without a result", priority=1),
            PrinterColumn("Overhead", "string", ".status.overheadSeconds", "Seconds of setup and cleanup", priority=1),
            PrinterColumn(
                "Archived", "string", '.status.conditions[?(@.type=="Archived")].reason', "In the archive?", priority=1
            ),
            AGE_COLUMN,
        ),
        frozen_spec=FrozenSpec("it belongs to the operator"),
    )

    spec: MachineHourStatementSpec
    status: MachineHourStatementStatus = MachineHourStatementStatus()
