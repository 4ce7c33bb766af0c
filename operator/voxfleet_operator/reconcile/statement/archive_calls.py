"""The calls of settlement to the ledger archive, one Mac's month each."""

from __future__ import annotations

from collections.abc import Callable

from voxfleet_billing.archive_access import ArchiveStore, ObjectDamaged, ObjectMissing
from voxfleet_billing.archive_format import MonthIndex
from voxfleet_billing.archive_reader import KnownIndex, newest_index
from voxfleet_billing.archive_writer import Change, revise
from voxfleet_operator.ledger_archive import LedgerArchive
from voxfleet_operator.reconcile.statement.archiving import ArchivedMonth, archived_month, by_control_plane
from voxfleet_operator.reconcile.statement.known_indexes import KnownIndexes
from voxfleet_shared import crash_points


class ArchiveCalls:
    """All raise ArchiveError and ArchiveBusy."""

    def __init__(self, archive: LedgerArchive, control_plane: str) -> None:
        self._archive = archive
        self._control_plane = control_plane
        self._known = KnownIndexes()

    @property
    def again_seconds(self) -> float:
        return self._archive.again_seconds

    async def newest(self, mac: str, month: str) -> KnownIndex | None:
        """As this process knows it, or else as the archive has it."""
        known = self._known.get(mac, month)
        return known if known is not None else await self.reread(mac, month)

    async def reread(self, mac: str, month: str) -> KnownIndex | None:
        found = await self._archive.call(lambda store: newest_index(store, month, mac))
        if found is None:
            self._known.drop(mac, month)
        else:
            self._known.put(mac, month, found)
        return found

    async def revise(self, mac: str, month: str, change: Change) -> KnownIndex:
        first = MonthIndex(control_plane=self._control_plane, mac=mac, month=month, revision=0)
        known = self._known.get(mac, month)
        self._known.drop(mac, month)  # in case this does not come to an end

        def work(store: ArchiveStore) -> KnownIndex:
            return revise(store, first, known, by_control_plane(self._control_plane, change), _step)

        revised = await self._archive.call(work)
        self._known.put(mac, month, revised)
        return revised

    async def read(self, known: KnownIndex) -> ArchivedMonth:
        try:
            return await self._archive.call(lambda store: archived_month(store, known))
        except (ObjectDamaged, ObjectMissing):
            self._known.drop(known.index.mac, known.index.month)  # it may be an old one, or be restored from a copy
            raise

    async def macs(self, month: str) -> list[str]:
        return await self._archive.call(lambda store: store.names(month))


_STEPS: dict[str, Callable[[], None]] = {
    "segments-archived": lambda: crash_points.point("segments-archived"),
    "index-archived": lambda: crash_points.point("index-archived"),
}


def _step(name: str) -> None:
    _STEPS[name]()
