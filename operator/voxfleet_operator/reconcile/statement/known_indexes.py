"""The newest index of each Mac's last months, as this process has read or written it.

Another leader may know a newer one; the archive refuses what builds on an old one.
"""

from __future__ import annotations

from collections import OrderedDict

from voxfleet_billing.archive_reader import KnownIndex

KEPT = 1200
"""An index has some 10 kB. So many Macs have two months at the turn of a month."""


class KnownIndexes:
    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], KnownIndex] = OrderedDict()

    def get(self, mac: str, month: str) -> KnownIndex | None:
        return self._known.get((mac, month))

    def put(self, mac: str, month: str, known: KnownIndex) -> None:
        key = (mac, month)
        self._known[key] = known
        self._known.move_to_end(key)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)

    def drop(self, mac: str, month: str) -> None:
        self._known.pop((mac, month), None)
