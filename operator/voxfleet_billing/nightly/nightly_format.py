"""The CSV of a night: what lies in the ledger archive, and under which names. Pure.

    <archive>/nightly/<night>.json     the manifest: from when until when, and up to which row of each chain
    <archive>/nightly/<night>.csv      what follows from the manifest and the archived rows; its parts go on as .2.csv

The manifest is created first, and never overwritten: of two writers one finds the other's and goes by it. So a CSV that
is missing, because its writer died, is made anew with the same bytes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from voxfleet_api.base import OPEN_VALUE, Sha256Hex, StatusModel, Timestamp, open_enum
from voxfleet_billing.archive_format import ArchivedHead, MonthIndex

FOLDER = "nightly"
NONE_BEFORE = -1
MAX_AWAITED = 64
_DAY_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"


class Closed(StrEnum):
    """Why a night was closed when it was."""

    ALL_ROWS_ARCHIVED = "AllRowsArchived"
    DEADLINE = "Deadline"  # rows were still expected; they are in the CSV of a later night


class ChainPart(StatusModel):
    """How far a chain was archived when the night before was closed, and when this one was."""

    chain_id: Annotated[str, Field(max_length=64)]
    after: Annotated[int, Field(ge=NONE_BEFORE)]
    through: Annotated[int, Field(ge=0)]
    hash: Annotated[Sha256Hex, Field(description="Of row `through`, which fixes all rows before it.")]


class NightSource(StatusModel):
    """What the archive had of one Mac's month when the night was closed."""

    mac: Annotated[str, Field(max_length=253)]
    month: Annotated[str, Field(max_length=7)]
    since: Annotated[
        Timestamp, Field(description="Rows that began earlier count only if they lie behind `after`: others were told.")
    ]
    final: Annotated[bool, Field(description="Nothing is added to this month any more.")]
    chains: tuple[ChainPart, ...]
    rows: Annotated[int, Field(ge=0, description="Its lines in the CSV.")] = 0
    problem: Annotated[
        str | None, Field(description="Why its rows are left out; they are in the CSV of a later night.")
    ] = None

    @property
    def key(self) -> tuple[str, str]:
        return self.mac, self.month


class NightFile(StatusModel):
    name: Annotated[str, Field(max_length=64, description="Below the folder of nights.")]
    sha256: Sha256Hex
    size_bytes: Annotated[int, Field(ge=0)]
    lines: Annotated[int, Field(ge=0, description="Without the header.")]


class EarlierNight(StatusModel):
    night: Annotated[str, Field(pattern=_DAY_PATTERN)]
    sha256: Annotated[Sha256Hex, Field(description="Of its manifest.")]


class NightManifest(StatusModel):
    """What a night's CSV is made of, and what came of it."""

    format: Literal["voxfleet.dev/nightly/v1"] = "voxfleet.dev/nightly/v1"
    night: Annotated[str, Field(pattern=_DAY_PATTERN, description="The date of its evening.")]
    first: Annotated[Timestamp, Field(alias="from", description="The end of the night before.")]
    until: Timestamp
    time_zone: Annotated[str, Field(max_length=64)]
    closes_at: Annotated[str, Field(max_length=5)]
    closed: Annotated[str, OPEN_VALUE, open_enum(Closed)]
    awaited: Annotated[
        tuple[str, ...], Field(max_length=MAX_AWAITED, description="Macs of which rows were still expected.")
    ] = ()
    previous: Annotated[EarlierNight | None, Field(description="Absent: this is the first night.")] = None
    sources: tuple[NightSource, ...]
    files: tuple[NightFile, ...]
    rows: Annotated[int, Field(ge=0)]
    late_rows: Annotated[int, Field(ge=0, description="Of these, rows of earlier nights.")]
    machine_milliseconds: Annotated[int, Field(ge=0)]


def is_of_night(moment: int | None, sequence: int, chain: ChainPart, since: int, until: int) -> bool:
    """Whether the row that began then is one of a night's CSV. `moment`: None if its Mac's clock was broken.

    Each row is in one CSV: in that of its night if it was archived by then, else in the next one. `since` is the
    source's, `until` the night's end; both, as the moment, are in milliseconds since 1970.
    """
    if sequence > chain.through or (moment is not None and moment >= until):
        return False
    return sequence > chain.after or (moment is not None and moment >= since)


def night_source(index: MonthIndex, before: NightSource | None, first: str, *, is_first_night: bool) -> NightSource:
    """`before`: the same Mac's month in the manifest of the night before. `first`: when this night begins.

    Rows from before the first night are in no CSV.
    """
    known = {} if before is None else {chain.chain_id: chain.through for chain in before.chains}
    heads: dict[str, ArchivedHead] = {}
    for head in index.heads:
        if head.chain_id not in heads or heads[head.chain_id].sequence < head.sequence:
            heads[head.chain_id] = head
    return NightSource(
        mac=index.mac,
        month=index.month,
        since=first if before is None or before.problem is None else before.since,
        final=index.final,
        chains=tuple(
            ChainPart(
                chain_id=chain_id,
                after=head.sequence if is_first_night else known.get(chain_id, NONE_BEFORE),
                through=head.sequence,
                hash=head.hash,
            )
            for chain_id, head in sorted(heads.items())
        ),
    )


def left_out(mac: str, month: str, before: NightSource | None, first: str, problem: str) -> NightSource:
    """Of a Mac's month that cannot be read: the next night goes on where the one before ended."""
    if before is None:
        return NightSource(mac=mac, month=month, since=first, final=False, chains=(), problem=problem)
    since = first if before.problem is None else before.since
    return before.model_copy(update={"since": since, "final": False, "rows": 0, "problem": problem})


def nothing_new(before: NightSource) -> NightSource:
    """Of a Mac's month to which nothing is added any more."""
    chains = tuple(chain.model_copy(update={"after": chain.through}) for chain in before.chains)
    return before.model_copy(update={"chains": chains, "rows": 0})


def path_of(name: str) -> str:
    return f"{FOLDER}/{name}"


def manifest_name(night: str) -> str:
    return f"{night}.json"


def csv_name(night: str, part: int) -> str:
    return f"{night}.csv" if part == 1 else f"{night}.{part}.csv"
