"""A month as the ledger archive has it, in memory: Macs, their facts, their rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from voxfleet_api.ledger import RowOwner
from voxfleet_billing.archive_format import MacFacts, MonthIndex
from voxfleet_billing.archived_row import ArchivedRow
from voxfleet_billing.charge import Charge
from voxfleet_billing.charges import charges
from voxfleet_billing.instants import milliseconds_of, month_bounds, text_of
from voxfleet_billing.mac_charges import Settlements
from voxfleet_billing.price_book import PriceBook

MONTH = "2026-11"
ROW = ArchivedRow(
    signed_json=b"",
    chain_id="chain-1",
    sequence=0,
    hash="ab" * 32,
    signature="c2lnbmF0dXJl",
    owner_kind="AudioBatchJob",
    owner_namespace="speech",
    owner_name="nightly",
    owner_uid="job-uid",
    shard_uid="shard-1",
    attempt=1,
    lane="offline/0",
    activity="Work",
    price_class="Offline",
    billing_key="team-speech",
    wall_start="2026-11-20T22:00:00.000Z",
    wall_end="2026-11-20T23:00:00.000Z",
    milliseconds=3_600_000,
    audio_milliseconds=7_200_000,
    clips=12,
    paused_milliseconds=0,
    hardware_id="hardware-1",
    boot_id="boot-1",
    control_plane="cluster-1",
    time_class="Productive",
)


def row(start: str = ROW.wall_start, seconds: float = 3600, **fields: object) -> ArchivedRow:
    """`seconds`: of wall time and of lane time."""
    begin, length = milliseconds_of(start), round(seconds * 1000)
    times = {"wall_start": text_of(begin), "wall_end": text_of(begin + length), "milliseconds": length}
    return replace(ROW, **(times | fields))  # type: ignore[arg-type] # names of its fields


def facts(**fields: object) -> MacFacts:
    content: dict[str, object] = {
        "since": "2026-10-01T00:00:00Z",
        "hardware_id": "hardware-1",
        "chip": "Apple M4 Pro",
        "memory_bytes": 48 * 2**30,
        "lessor": "acme",
        "sku": "m4pro-48",
        "billing_key": "ACME-4711",
    }
    return MacFacts.model_validate(content | fields)


@dataclass
class Estimate:
    estimated_milliseconds: int
    owner: RowOwner = field(
        default_factory=lambda: RowOwner(kind="AudioBatchJob", namespace="speech", name="nightly", uid="job-uid")
    )


@dataclass
class ArchivedMac:
    rows: list[ArchivedRow] = field(default_factory=list)
    facts: tuple[MacFacts, ...] = ()
    settlements: Settlements = field(default_factory=dict)


@dataclass
class ArchivedMonth:
    macs: Mapping[str, ArchivedMac]
    month: str = MONTH

    def indexes(self) -> Iterator[MonthIndex]:
        for mac in sorted(self.macs):
            yield MonthIndex(
                control_plane="cluster-1", mac=mac, month=self.month, revision=1, facts=self.macs[mac].facts, final=True
            )

    def rows_of(self, index: MonthIndex) -> Iterable[ArchivedRow]:
        return sorted(self.macs[index.mac].rows, key=lambda row: (row.chain_id, row.sequence))

    def settlements_of(self, index: MonthIndex) -> Settlements:
        return self.macs[index.mac].settlements

    def charges(self, book: PriceBook | None, until: int | None = None) -> list[Charge]:
        return list(charges(self.month, self.indexes(), self.rows_of, self.settlements_of, book, until=until))


def one_mac(
    *rows: ArchivedRow, facts: tuple[MacFacts, ...] = (), settlements: Settlements | None = None
) -> ArchivedMonth:
    """The rows are numbered in their order."""
    numbered = [replace(found, sequence=place) for place, found in enumerate(rows)]
    return ArchivedMonth({"mac-01": ArchivedMac(numbered, facts, settlements or {})})


MONTH_START, MONTH_END = month_bounds(MONTH)
