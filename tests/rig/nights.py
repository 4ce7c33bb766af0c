"""Macs whose rows come into a ledger archive bit by bit, and the writer of nights that closes them meanwhile."""

from __future__ import annotations

import csv
import io
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TypeVar

from tests.rig.memory_archive import MemoryArchive
from tests.rig.signed_mac import CONTROL_PLANE, SignedMac

from voxfleet_api.digest import canonical_json
from voxfleet_api.ledger import SignedRow
from voxfleet_billing.archive_access import ArchiveStore
from voxfleet_billing.archive_format import MonthIndex
from voxfleet_billing.archive_writer import Addition, NewRow, revise, with_rows
from voxfleet_billing.nightly.night_archive import add_source, read_night
from voxfleet_billing.nightly.night_csv import NightCsv, NightFrame
from voxfleet_billing.nights import UTC_DAYS, NightClock
from voxfleet_operator.cache import Cache
from voxfleet_operator.event_reasons import Announced
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.ledger_archive import LedgerArchive
from voxfleet_operator.metrics import NightlyMetrics
from voxfleet_operator.nightly.writer import NightlyEnvironment, NightlyWriter

T = TypeVar("T")
LEASE = {"kind": "Lease", "name": "voxfleet-operator", "uid": "u"}


class Leader:
    lease: Mapping[str, str] = LEASE

    def check(self) -> None:
        return


@dataclass
class NightlyWorld:
    store: MemoryArchive = field(default_factory=MemoryArchive)
    now: datetime = datetime(2026, 11, 20, 12, tzinfo=UTC)
    clock: NightClock | None = UTC_DAYS
    views: list[MacView] = field(default_factory=list)
    events: list[tuple[Announced, str]] = field(default_factory=list)
    metrics: NightlyMetrics = field(default_factory=NightlyMetrics)
    archived: dict[str, int] = field(default_factory=dict)
    """How many rows of each Mac are in the archive."""

    def twin(self) -> NightlyWorld:
        """Another one with the same archive, which goes its own way from now on."""
        found = NightlyWorld(now=self.now, clock=self.clock, archived=dict(self.archived))
        found.store.objects.update(self.store.objects)
        return found

    def writer(self) -> NightlyWriter:
        """Of a new process."""
        return NightlyWriter(
            NightlyEnvironment(
                archive=LedgerArchive(self.store, clock=lambda: self.now.timestamp(), run=at_once),
                cache=Cache(),
                views=lambda: self.views,
                leader=Leader(),
                night_clock=lambda: self.clock,
                publish=self._publish,
                synced=lambda: True,
                now=lambda: self.now,
                metrics=self.metrics,
                sleep=_no_sleep,
            )
        )

    def archive(self, mac: SignedMac, count: int | None = None) -> None:
        """Settles the next rows of a Mac, and archives them month by month, as the operator does."""
        done = self.archived.get(mac.name, 0)
        rows = mac.rows[done:] if count is None else mac.rows[done : done + count]
        for month, of_month in groupby(rows, key=lambda item: item.row.wall_start[:7]):
            signed = list(of_month)
            shards = {item.row.shard_uid for item in signed}
            settled = tuple(record for record in mac.settlements if record.shard_uid in shards)
            addition = Addition(mac.chain_id, mac.ledger_key, tuple(map(_new, signed)), settled)
            first = MonthIndex(control_plane=CONTROL_PLANE, mac=mac.name, month=month, revision=0)
            revise(self.store, first, None, with_rows(addition))
        self.archived[mac.name] = done + len(rows)

    def nights(self) -> list[str]:
        return [name.removesuffix(".json") for name in self.store.names("nightly") if name.endswith(".json")]

    def lines(self, night: str) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.store.objects[f"nightly/{night}.csv"].decode())))

    def _publish(self, about: Mapping[str, str], reason: Announced, note: str) -> None:
        assert about is LEASE
        self.events.append((reason, note))


def made_anew(store: ArchiveStore, night: str) -> dict[str, bytes]:
    """The parts of a night's CSV by their paths, out of its manifest and the archived rows."""
    found = read_night(store, night)
    assert found is not None
    parts: dict[str, bytes] = {}
    csv_of_night = NightCsv(
        NightFrame.of(found.manifest), lambda _, file, content: parts.update({f"nightly/{file.name}": content})
    )
    for source in found.manifest.sources:
        add_source(store, source, csv_of_night)
    csv_of_night.end(store)
    return parts


def attempts(mac: SignedMac, starts: Iterator[datetime] | list[datetime], minutes: int = 10) -> None:
    """An attempt at each of these times, three rows each."""
    for number, start in enumerate(starts):
        mac.clock = start
        mac.attempt(f"shard-{mac.name}-{number}-{start:%d%H%M}", seconds=(2, 60 * minutes, 1))


def hours(*numbers: float, day: int = 20) -> list[datetime]:
    """In November 2026."""
    return [datetime(2026, 11, day, tzinfo=UTC) + timedelta(hours=number) for number in numbers]


async def at_once(work: Callable[[], T]) -> T:
    return work()


def _no_sleep(_: float) -> Awaitable[None]:
    return at_once(lambda: None)


def _new(signed: SignedRow) -> NewRow:
    row = signed.row
    return NewRow(
        row.sequence, signed.hash, row.previous_hash, row.wall_start, row.shard_uid, canonical_json(signed.dump())
    )
