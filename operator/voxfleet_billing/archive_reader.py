"""Reads the ledger archive: the newest index of each Mac, and row by row what it names.

Whoever reads while the operator writes may find that an index or a segment was just replaced: it then has to read the
newest index again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from functools import cached_property

from pydantic import ValidationError
from pydantic_core import from_json

from voxfleet_api.digest import sha256_hex
from voxfleet_api.ledger import Activity, RowOwner
from voxfleet_billing.archive_access import ArchiveStore, ObjectDamaged, ObjectMissing
from voxfleet_billing.archive_format import (
    MonthIndex,
    SegmentEntry,
    SettlementRecord,
    TimeClass,
    index_folder,
    segment_path,
)
from voxfleet_billing.archived_row import ArchivedRow

SETTLEMENT = b'{"settlement"'
"""How the line of a settlement record begins. That of a row begins with its hash: the names are in order."""
MAX_KEPT_BYTES = 32 * 2**20
"""Segments of a Mac that are kept while its rows are read. Those of a larger month are read twice."""
_JOB = "AudioBatchJob"


@dataclass(frozen=True, slots=True)
class SettledWork:
    """What the last settlement record says of an attempt."""

    work: str
    estimated_milliseconds: int
    owner: RowOwner


@dataclass(frozen=True, slots=True)
class KnownIndex:
    """The newest index of a Mac's month, as it lies in the archive."""

    revision: int
    content: bytes

    @property
    def sha256(self) -> str:
        return sha256_hex(self.content)

    @property
    def index(self) -> MonthIndex:
        return MonthIndex.load_json(self.content)


def newest_index(store: ArchiveStore, month: str, mac: str) -> KnownIndex | None:
    """None if the archive has nothing of the Mac in that month. Raises ArchiveError."""
    folder = index_folder(month, mac)
    for last_try in (False, True):
        names = store.names(folder)
        if not names:
            return None
        path = f"{folder}/{names[-1]}"
        try:
            content = store.get(path)
            index = MonthIndex.load_json(content)
        except ObjectMissing:
            if last_try:
                raise
            continue  # a newer one has just replaced it
        except ValidationError as error:
            raise ObjectDamaged(
                f"{store.uri}/{path}: is no index of an archive ({error.error_count()} faults); restore it from a copy"
            ) from error
        if (index.month, index.mac) != (month, mac) or f"{index.revision:08d}.json" != names[-1]:
            raise ObjectDamaged(f"{store.uri}/{path}: is of another Mac, month or revision; restore it from a copy")
        return KnownIndex(index.revision, content)
    return None


def month_indexes(store: ArchiveStore, month: str) -> Iterator[MonthIndex]:
    """The newest index of each Mac, by its name. Raises ArchiveError."""
    for mac in store.names(month):
        known = newest_index(store, month, mac)
        if known is not None:
            yield known.index


def segment_lines(store: ArchiveStore, index: MonthIndex, entry: SegmentEntry) -> Iterator[bytes]:
    """Raises ArchiveError if the segment is missing, or is not what the index says."""
    yield from _content(store, index, entry).splitlines()


def read_rows(
    store: ArchiveStore, index: MonthIndex, settled: Mapping[tuple[str, int], SettledWork] | None = None
) -> Iterator[ArchivedRow]:
    """Each chain's rows in their order. `settled`: what is known of their attempts, if it is not in the same segments.

    Raises ArchiveError.
    """
    return MacMonth(store, index).rows(settled)


class MacMonth:
    """A Mac's month, whose segments are got and checked once if together they are small enough to be kept."""

    def __init__(self, store: ArchiveStore, index: MonthIndex) -> None:
        self.index = index
        self._store = store
        self._keeps = sum(entry.size_bytes for entry in index.segments) <= MAX_KEPT_BYTES
        self._kept: dict[str, list[bytes]] = {}

    @cached_property
    def settlements(self) -> Mapping[tuple[str, int], SettledWork]:
        """By shard uid and attempt. Raises ArchiveError."""
        found = _settlements(line for entry in self.index.segments for line in self._lines(entry))
        for record in self.index.estimates:
            for item in record.attempts:
                key, estimated = (record.shard_uid, item.attempt), item.estimated_milliseconds
                beside = found.get(key, SettledWork(item.work, 0, record.owner))
                found[key] = replace(beside, estimated_milliseconds=estimated)
        return found

    def rows(self, settled: Mapping[tuple[str, int], SettledWork] | None = None) -> Iterator[ArchivedRow]:
        """As `read_rows`."""
        index = self.index
        if settled is None:
            settled = self.settlements
        ours = index.control_planes
        for entry in sorted(index.segments, key=lambda entry: (entry.chain_id, entry.first_sequence)):
            for line in self._lines(entry):
                if not line.startswith(SETTLEMENT):
                    yield _row(line, ours, settled)

    def _lines(self, entry: SegmentEntry) -> Iterable[bytes]:
        if not self._keeps:
            return segment_lines(self._store, self.index, entry)
        found = self._kept.get(entry.name)
        if found is None:
            found = self._kept[entry.name] = list(segment_lines(self._store, self.index, entry))
        return found


def _content(store: ArchiveStore, index: MonthIndex, entry: SegmentEntry) -> bytes:
    path = segment_path(index.month, index.mac, entry.name)
    content = store.get(path)
    if sha256_hex(content) != entry.sha256:
        raise ObjectDamaged(
            f"{store.uri}/{path}: was changed, for its sha256 is not the one in the index; restore it from a copy"
        )
    return content


def _settlements(lines: Iterable[bytes]) -> dict[tuple[str, int], SettledWork]:
    found: dict[tuple[str, int], SettledWork] = {}
    times: dict[tuple[str, int], str] = {}
    for line in lines:
        if not line.startswith(SETTLEMENT):
            continue
        record = SettlementRecord.load(from_json(line)["settlement"])
        for item in record.attempts:
            key = (record.shard_uid, item.attempt)
            if record.settled_at >= times.get(key, ""):
                times[key] = record.settled_at
                found[key] = SettledWork(item.work, item.estimated_milliseconds, record.owner)
    return found


def _row(line: bytes, ours: Set[str], settled: Mapping[tuple[str, int], SettledWork]) -> ArchivedRow:
    signed = from_json(line, cache_strings="all")
    row = signed["row"]
    shard, attempt = row["shardUid"], row["attempt"]
    if row["controlPlane"] not in ours:
        time_class = TimeClass.FOREIGN.value
    elif row["activity"] != Activity.WORK.value:
        time_class = TimeClass.OVERHEAD.value
    else:
        work = settled.get((shard, attempt))
        time_class = TimeClass.ORPHANED.value if work is None else work.work
    owner = row.get("owner")
    if owner is None:  # of an older agent
        owner = {"kind": _JOB, "namespace": row["namespace"], "name": row["jobName"], "uid": row["jobUid"]}
    return ArchivedRow(
        line,
        row["chainId"],
        row["sequence"],
        signed["hash"],
        signed["signature"],
        owner["kind"],
        owner["namespace"],
        owner["name"],
        owner["uid"],
        shard,
        attempt,
        row["lane"],
        row["activity"],
        row.get("priceClass"),
        row.get("billingKey"),
        row["wallStart"],
        row["wallEnd"],
        row["monotonicMilliseconds"],
        row.get("audioMilliseconds", 0),
        row.get("clips", 0),
        row.get("pausedMilliseconds", 0),
        row["hardwareId"],
        row["bootId"],
        row["controlPlane"],
        time_class,
    )
