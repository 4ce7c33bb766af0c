"""The lines of a month's bill, out of a ledger archive. Each segment is read once, one Mac after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache, partial

from voxfleet_billing.archive_format import MonthIndex
from voxfleet_billing.archive_reader import MacMonth
from voxfleet_billing.archive_store import ArchiveStore
from voxfleet_billing.charge import Charge
from voxfleet_billing.charges import charges
from voxfleet_billing.price_book import PriceBook


def archived_charges(
    store: ArchiveStore,
    month: str,
    indexes: Iterable[MonthIndex],
    book: PriceBook | None,
    *,
    until: int | None = None,
) -> Iterator[Charge]:
    """As `charges`. Raises Unbillable, ArchiveError, and what `indexes` raises."""
    read = lru_cache(maxsize=1)(partial(MacMonth, store))
    return charges(
        month,
        indexes,
        lambda index: read(index).rows(),
        lambda index: read(index).settlements,
        book,
        until=until,
    )
