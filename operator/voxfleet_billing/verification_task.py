"""Verifies one Mac out of an archive. What a process of its own runs, so it imports little."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_billing.archive_format import MonthIndex, SegmentEntry, segment_path
from voxfleet_billing.archive_store import ArchiveStore, ObjectMissing, opened
from voxfleet_billing.chain_links import SettledUpTo
from voxfleet_billing.mac_verification import MacReport, verify_mac


@dataclass(frozen=True, slots=True)
class Task:
    """One Mac. Passed to another process."""

    uri: str
    indexes: tuple[MonthIndex, ...]
    pinned_keys: frozenset[str] | None
    settled: tuple[SettledUpTo, ...]


def run_task(task: Task) -> MacReport:
    """Raises ArchiveError."""
    store = opened(task.uri)
    return verify_mac(
        task.indexes,
        lambda index, entry: segment_bytes(store, index, entry),
        pinned_keys=task.pinned_keys,
        statements=task.settled,
    )


def segment_bytes(store: ArchiveStore, index: MonthIndex, entry: SegmentEntry) -> bytes | None:
    """As they lie there, whatever the index says of them; None if there is no such object. Raises ArchiveError."""
    try:
        return store.get(segment_path(index.month, index.mac, entry.name))
    except ObjectMissing:
        return None
