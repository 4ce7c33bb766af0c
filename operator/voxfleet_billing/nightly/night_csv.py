"""The text of a night's CSV: a line a signed row, cut into parts of bounded size. Pure.

It has no money: prices, minimums, commitments and fees are those of a month, and `bill export` has them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, time
from zoneinfo import ZoneInfo

from voxfleet_api.digest import sha256_hex
from voxfleet_api.quantities import seconds_text
from voxfleet_billing.archive_access import ArchiveStore
from voxfleet_billing.archived_row import ArchivedRow
from voxfleet_billing.exports.csv_text import csv_line, no_formula
from voxfleet_billing.instants import milliseconds_of, moment_of, month_bounds
from voxfleet_billing.nightly.night_rows import began
from voxfleet_billing.nightly.nightly_format import NightFile, NightManifest, csv_name
from voxfleet_billing.nights import NightClock

PART_BYTES = 16 * 2**20
"""So much is held in memory while a CSV is made."""
LATE = "Late"
COLUMNS = (
    "night",
    "late",
    "mac",
    "hardware_id",
    "start",
    "end",
    "machine_seconds",
    "time_class",
    "activity",
    "lane",
    "price_class",
    "owner_kind",
    "namespace",
    "owner_name",
    "owner_uid",
    "billing_key",
    "shard_uid",
    "attempt",
    "clips",
    "audio_seconds",
    "paused_seconds",
    "row",
    "row_sha256",
)

Done = Callable[[ArchiveStore, NightFile, bytes], None]
"""Takes a part of a CSV once it is complete."""


@dataclass(frozen=True, slots=True)
class NightFrame:
    """Which night a CSV is of."""

    night: str
    start: int
    end: int
    """Milliseconds since 1970, exclusive."""
    clock: NightClock

    @classmethod
    def of(cls, manifest: NightManifest) -> NightFrame:
        clock = NightClock(ZoneInfo(manifest.time_zone), time.fromisoformat(manifest.closes_at))
        return cls(manifest.night, milliseconds_of(manifest.first), milliseconds_of(manifest.until), clock)


def check_times(manifest: NightManifest) -> None:
    """Raises ValueError or LookupError for times that are none."""
    NightFrame.of(manifest)
    date.fromisoformat(manifest.night)
    for source in manifest.sources:
        milliseconds_of(source.since)
        month_bounds(source.month)


class NightCsv:
    """Holds one part, and hands each to `done` once it is complete."""

    def __init__(self, frame: NightFrame, done: Done) -> None:
        self.frame = frame
        self._done = done
        self._header = csv_line(COLUMNS).encode()
        self._lines: list[bytes] = []
        self._size_bytes = len(self._header)
        self._part = 1
        self.rows, self.late_rows, self.machine_milliseconds = 0, 0, 0

    def add(self, store: ArchiveStore, mac: str, row: ArchivedRow) -> None:
        """Raises what `done` raises."""
        moment = began(row)
        late = moment is None or moment < self.frame.start
        line = csv_line(_cells(mac, row, self._night(moment, late=late), late=late)).encode()
        if self._lines and self._size_bytes + len(line) > PART_BYTES:
            self._complete(store)
        self._lines.append(line)
        self._size_bytes += len(line)
        self.rows += 1
        self.late_rows += late
        self.machine_milliseconds += row.milliseconds

    def end(self, store: ArchiveStore) -> None:
        """A night without rows has a CSV with its header. Raises what `done` raises."""
        if self._lines or self._part == 1:
            self._complete(store)

    def _complete(self, store: ArchiveStore) -> None:
        content = b"".join((self._header, *self._lines))
        name = csv_name(self.frame.night, self._part)
        file = NightFile(name=name, sha256=sha256_hex(content), size_bytes=len(content), lines=len(self._lines))
        self._lines, self._size_bytes, self._part = [], len(self._header), self._part + 1
        self._done(store, file, content)

    def _night(self, moment: int | None, *, late: bool) -> str:
        if moment is None:
            return ""
        return self.frame.clock.night_of(moment_of(moment)).isoformat() if late else self.frame.night


def _cells(mac: str, row: ArchivedRow, night: str, *, late: bool) -> tuple[str, ...]:
    """In the order of COLUMNS. What an agent or a job's author named may look like a formula."""
    return (
        night,
        LATE if late else "",
        mac,
        no_formula(row.hardware_id),
        row.wall_start,
        row.wall_end,
        seconds_text(row.milliseconds),
        row.time_class,
        no_formula(row.activity),
        no_formula(row.lane),
        no_formula(row.price_class or ""),
        row.owner_kind,
        no_formula(row.owner_namespace),
        no_formula(row.owner_name),
        row.owner_uid,
        no_formula(row.billing_key or ""),
        row.shard_uid,
        str(row.attempt),
        str(row.clips),
        seconds_text(row.audio_milliseconds),
        seconds_text(row.paused_milliseconds),
        no_formula(f"{row.chain_id}#{row.sequence}"),
        row.hash,
    )
