"""Under which Mac's name this process has archived each chain last.

A machine whose MacAgent gets another name brings the same rows again. Until a statement counts them, only this tells
that they are in the archive. A process that begins to lead looks at all months first (restore.py).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from voxfleet_operator.ledger_archive import ArchiveBusy

KEPT = 5000
"""A Mac has one chain, and another one after it was set up anew."""


class ArchivedChains:
    def __init__(self) -> None:
        self._places: OrderedDict[tuple[str, str], tuple[str, str]] = OrderedDict()
        """(ledger key, chain id) -> (Mac, month)."""
        self._writing: set[tuple[str, str]] = set()

    def elsewhere(self, ledger_key: str, chain_id: str, mac: str) -> tuple[str, str] | None:
        """Another Mac's name and month, if rows of the chain went there. Raises ArchiveBusy while they are written."""
        key = ledger_key, chain_id
        if key in self._writing:
            raise ArchiveBusy
        place = self._places.get(key)
        return None if place is None or place[0] == mac else place

    @contextmanager
    def archiving(self, ledger_key: str, chain_id: str, mac: str, month: str) -> Iterator[None]:
        """Around the write. One that fails may have happened."""
        key = ledger_key, chain_id
        self._places[key] = mac, month
        self._places.move_to_end(key)
        while len(self._places) > KEPT:
            self._places.popitem(last=False)
        self._writing.add(key)
        try:
            yield
        finally:
            self._writing.discard(key)
