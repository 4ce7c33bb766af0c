"""The ledger archive: what lies in it, and under which names. Pure.

    <archive>/<month>/<mac>/index/<revision>.json     the month of one Mac; the highest revision counts
    <archive>/<month>/<mac>/rows/<day>-<chain>-<first>-<last>-<sha256>.jsonl     a segment, never changed

A segment is JSON Lines. Each line is a signed ledger row as the agent served it (`row`, `hash`, `signature`), or a
settlement record (`settlement`). An index is created and never overwritten, so that of two writers one fails.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field

from voxfleet_api.base import OPEN_VALUE, Month, Sha256Hex, StatusModel, Timestamp, Uid, open_enum
from voxfleet_api.kinds.mac_availability import OpeningHours
from voxfleet_api.ledger import RowOwner


class TimeClass(StrEnum):
    """What machine time was good for."""

    PRODUCTIVE = "Productive"  # work that was committed; sessions of an endpoint
    RETRY = "Retry"  # work of an attempt without a result
    OVERHEAD = "Overhead"  # setup and cleanup; an endpoint's lane that nobody uses
    ORPHANED = "Orphaned"  # work of a job that was deleted before the attempt was settled
    FOREIGN = "Foreign"  # of another control plane; counted there


class SettledAttempt(StatusModel):
    attempt: Annotated[int, Field(ge=1)]
    hardware_id: Annotated[str | None, Field(max_length=128, description="The machine; absent if it never said.")] = (
        None
    )
    work: Annotated[str, OPEN_VALUE, open_enum(TimeClass), Field(description="The class of its work.")]
    estimated_milliseconds: Annotated[
        int, Field(ge=0, description="Machine time that no signed row proves, because the Mac is gone.")
    ] = 0
    proven_chain_id: Annotated[
        str | None, Field(max_length=64, description="The chain of its rows that the estimate is beside; absent: none.")
    ] = None
    proven_sequence: Annotated[int, Field(ge=-1, description="The newest of those rows. A later one replaces it.")] = -1


class SettlementRecord(StatusModel):
    """How the attempts of a shard were settled. Of several records, each attempt's last one counts.

    One that comes with rows lies beside them in a segment, one that estimates is in the index.
    """

    owner: RowOwner
    shard_uid: Uid
    billing_key: str | None = None
    settled_at: Timestamp
    attempts: tuple[SettledAttempt, ...]


class ReplacedEstimate(StatusModel):
    """An estimate in the index of another month, which never changes, and which signed rows have replaced."""

    shard_uid: Uid
    attempt: Annotated[int, Field(ge=1)]
    month: Month
    milliseconds: Annotated[int, Field(ge=0)]


class SegmentEntry(StatusModel):
    """One segment, as the index names it."""

    name: Annotated[str, Field(max_length=512, description="Below the Mac's folder of the month.")]
    day: Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="UTC, by the rows' wall start.")]
    chain_id: Annotated[str, Field(max_length=64)]
    first_sequence: Annotated[int, Field(ge=0)]
    last_sequence: Annotated[int, Field(ge=0)]
    rows: Annotated[int, Field(ge=0)]
    sha256: Sha256Hex
    size_bytes: Annotated[int, Field(ge=0)]


class ArchivedHead(StatusModel):
    """How far a chain is archived, and the key that signed it."""

    chain_id: Annotated[str, Field(max_length=64)]
    ledger_key: Annotated[str, Field(max_length=64)]
    first_previous_hash: Annotated[Sha256Hex, Field(description="Of the month's first row, to start verifying at.")]
    sequence: Annotated[int, Field(ge=0)]
    hash: Sha256Hex


class MacFacts(StatusModel):
    """What was true of the Mac from `since` on. Bills need it when the MacAgent is long gone."""

    since: Timestamp
    until: Annotated[Timestamp | None, Field(description="When the MacAgent was deleted.")] = None
    hardware_id: Annotated[str, Field(max_length=128)]
    chip: Annotated[str, Field(max_length=128)] = ""
    memory_bytes: Annotated[int, Field(ge=0)] = 0
    os: Annotated[str, Field(max_length=128)] = ""
    lanes: Annotated[int, Field(ge=0)] = 1
    lessor: Annotated[str | None, Field(max_length=63)] = None
    sku: Annotated[str | None, Field(max_length=63)] = None
    billing_key: Annotated[str | None, Field(max_length=63, description="The lessor's.")] = None
    availability: OpeningHours | None = None


class MonthIndex(StatusModel):
    """All that the archive has of one Mac in one month."""

    control_plane: Annotated[str, Field(max_length=64)]
    later_control_planes: Annotated[
        tuple[Annotated[str, Field(max_length=64)], ...],
        Field(description="Clusters that were built anew and went on with this archive; their rows count, too."),
    ] = ()
    mac: Annotated[str, Field(max_length=253)]
    month: Month
    revision: Annotated[int, Field(ge=0, description="0: not in the archive yet.")]
    segments: tuple[SegmentEntry, ...] = ()
    heads: tuple[ArchivedHead, ...] = ()
    facts: tuple[MacFacts, ...] = ()
    estimates: Annotated[
        tuple[SettlementRecord, ...],
        Field(description="Of attempts that have no rows, as their Macs are gone. Rows that come later replace them."),
    ] = ()
    replaced_estimates: Annotated[
        tuple[ReplacedEstimate, ...],
        Field(description="Estimates of earlier, final months whose attempts have rows in this one."),
    ] = ()
    replaced: Annotated[
        tuple[str, ...], Field(description="Segments of the revision before that this one has no more. Soon deleted.")
    ] = ()
    final: Annotated[bool, Field(description="Nothing is added any more; late rows go to the month they came in.")] = (
        False
    )

    def next(self, **changes: object) -> Self:
        """The revision that follows, with these fields replaced."""
        return self.model_copy(update={"revision": self.revision + 1, "replaced": (), **changes})

    def head(self, chain_id: str, ledger_key: str) -> ArchivedHead | None:
        return next((item for item in self.heads if (item.chain_id, item.ledger_key) == (chain_id, ledger_key)), None)

    @property
    def control_planes(self) -> frozenset[str]:
        """Those whose rows count here."""
        return frozenset((self.control_plane, *self.later_control_planes))

    @property
    def estimated_milliseconds(self) -> int:
        return sum(item.estimated_milliseconds for record in self.estimates for item in record.attempts)


def index_path(month: str, mac: str, revision: int) -> str:
    return f"{month}/{mac}/index/{revision:08d}.json"


def index_folder(month: str, mac: str) -> str:
    return f"{month}/{mac}/index"


def segment_path(month: str, mac: str, name: str) -> str:
    return f"{month}/{mac}/{name}"


def segment_name(day: str, chain_id: str, first_sequence: int, last_sequence: int, sha256: str) -> str:
    return f"rows/{day}-{chain_id}-{first_sequence:010d}-{last_sequence:010d}-{sha256[:16]}.jsonl"
