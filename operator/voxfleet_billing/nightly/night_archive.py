"""The nights in a ledger archive: their manifests, their CSVs, and what these are made of.

Each function does as much as one call to the archive may: one Mac's month, or one night's objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from voxfleet_api.digest import canonical_json, sha256_hex
from voxfleet_billing.archive_access import ArchiveError, ArchiveStore, ObjectDamaged, ObjectMissing
from voxfleet_billing.archive_format import MonthIndex
from voxfleet_billing.archive_reader import newest_index
from voxfleet_billing.archived_row import ArchivedRow
from voxfleet_billing.instants import text_of
from voxfleet_billing.nightly.night_csv import NightCsv, check_times
from voxfleet_billing.nightly.night_rows import night_rows
from voxfleet_billing.nightly.nightly_format import (
    FOLDER,
    NightFile,
    NightManifest,
    NightSource,
    left_out,
    manifest_name,
    night_source,
    path_of,
)

_MANIFEST_END = ".json"
MAX_PROBLEM = 1000
UNREADABLE = (ValueError, LookupError, TypeError)
"""What is raised while content is parsed that VoxFleet did not write."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredNight:
    """A night's manifest as it lies in the archive, and which of its files are missing."""

    manifest: NightManifest
    sha256: str
    missing: tuple[NightFile, ...]


def newest_night(store: ArchiveStore) -> StoredNight | None:
    """None if no night was ever closed. Raises ArchiveError."""
    names = store.names(FOLDER)
    nights = [name.removesuffix(_MANIFEST_END) for name in names if name.endswith(_MANIFEST_END)]
    return read_night(store, nights[-1]) if nights else None


def read_night(store: ArchiveStore, night: str) -> StoredNight | None:
    """None if it was not closed. Raises ArchiveError."""
    path = path_of(manifest_name(night))
    try:
        content = store.get(path)
    except ObjectMissing:
        return None
    try:
        manifest = NightManifest.load_json(content)
        check_times(manifest)
    except UNREADABLE as error:
        raise ObjectDamaged(f"{store.uri}/{path}: is no manifest of a night; restore it from a copy") from error
    there = frozenset(store.names(FOLDER))
    missing = tuple(file for file in manifest.files if file.name not in there)
    return StoredNight(manifest, sha256_hex(content), missing)


def create_night(store: ArchiveStore, manifest: NightManifest) -> StoredNight:
    """Closes a night, unless somebody else has done so meanwhile: then that one's word counts. Raises ArchiveError."""
    content = canonical_json(manifest.dump())
    if store.create(path_of(manifest_name(manifest.night)), content):
        return StoredNight(manifest, sha256_hex(content), manifest.files)
    found = read_night(store, manifest.night)
    if found is None:
        raise ArchiveError(f"{store.uri}/{path_of(manifest_name(manifest.night))}: exists, and cannot be read")
    return found


def read_source(
    store: ArchiveStore, mac: str, month: str, csv: NightCsv, before: NightSource | None, *, is_first_night: bool
) -> NightSource | None:
    """Adds what a Mac's month has of the night to the CSV. None if there is no such month.

    What the archive has and cannot be used holds up no other Mac: it is left out, and the source says why. Raises
    ArchiveError if the archive does not answer.
    """
    first = text_of(csv.frame.start)

    def read(index: MonthIndex) -> tuple[NightSource, list[ArchivedRow]]:
        source = night_source(index, before, first, is_first_night=is_first_night)
        return source, list(night_rows(store, index, source, csv.frame.end))

    try:
        found = _of_newest(store, mac, month, read)
    except (ObjectDamaged, ObjectMissing) as error:
        return left_out(mac, month, before, first, str(error))
    except UNREADABLE as error:
        return left_out(mac, month, before, first, _unreadable(store, mac, month, error))
    if found is None:
        return None
    source, rows = found
    for row in rows:
        csv.add(store, mac, row)
    return source.model_copy(update={"rows": len(rows)})


def add_source(store: ArchiveStore, source: NightSource, csv: NightCsv) -> None:
    """Adds the rows that a manifest names. Raises ArchiveError, and what the CSV raises."""
    if source.rows == 0:
        return
    try:
        rows = _of_newest(
            store, source.mac, source.month, lambda index: list(night_rows(store, index, source, csv.frame.end))
        )
    except UNREADABLE as error:
        raise ObjectDamaged(_unreadable(store, source.mac, source.month, error)) from error
    for row in rows or ():
        csv.add(store, source.mac, row)


def _unreadable(store: ArchiveStore, mac: str, month: str, error: Exception) -> str:
    return f"{store.uri}/{month}/{mac}: cannot be read, {error!r}"[:MAX_PROBLEM] + "; restore it from a copy"


def _of_newest(store: ArchiveStore, mac: str, month: str, read: Callable[[MonthIndex], T]) -> T | None:
    """What is read of the newest index, again if a newer one has just replaced it. None if there is none."""
    known = newest_index(store, month, mac)
    if known is None:
        return None
    try:
        return read(known.index)
    except ObjectMissing:
        newer = newest_index(store, month, mac)
        if newer is None or newer.revision == known.revision:
            raise
        return read(newer.index)


def differing(found: NightFile, expected: Sequence[NightFile]) -> str | None:
    """Why a part that was made anew is not what the manifest says; None if it is."""
    if found in expected:
        return None
    return f"{found.name}: the archived rows give other bytes than when the night was closed; run voxfleet bill verify"
