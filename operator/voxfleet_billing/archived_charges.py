"""The lines of a month's bill, out of a ledger archive. Each segment is read once, one Mac after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial

from voxfleet_billing.archive_format import MonthIndex
from voxfleet_billing.archive_reader import MacMonth, month_indexes
from voxfleet_billing.archive_store import ArchiveStore
from voxfleet_billing.charge import Charge
from voxfleet_billing.charges import charges
from voxfleet_billing.price_book import PriceBook


def archived_charges(
    store: ArchiveStore,
    month: str,
    book: PriceBook | None,
    until: int,
    passed: Callable[[Iterable[MonthIndex]], Iterable[MonthIndex]] = iter,
) -> Iterator[Charge]:
    """`until` (milliseconds since 1970): later time is not idle yet. `passed`: sees each Mac go by.

    Raises Unbillable, ArchiveError.
    """
    read = lru_cache(maxsize=1)(partial(MacMonth, store))
    return charges(
        month,
        passed(month_indexes(store, month)),
        lambda index: read(index).rows(),
        lambda index: read(index).settlements,
        book,
        until=until,
    )
