"""Two lists of bill lines, of which each may have a million, compared key by key in bounded memory.

Both are kept in a temporary SQLite database, which spills to disk and is gone with its process. Lines of one key are
added up. Amounts are integers: milliseconds, and billionths of a currency unit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import islice
from types import TracebackType
from typing import Self

from voxfleet_billing.compared_line import ComparedLine, Difference, DifferenceKind, Tolerance

_CACHE_KIBIBYTES = 32 * 1024
_BATCH_LINES = 5_000
_BILLION = Decimal(10**9)
_MAX_AMOUNT = Decimal(9 * 10**9)

_INSERT = """
    INSERT INTO {side} VALUES (?, ?, ?, ?, ?, ?, 1) ON CONFLICT (key) DO UPDATE SET
    time = time + excluded.time, cost = cost + excluded.cost, lines = lines + 1,
    currency = iif(currency = excluded.currency, currency, 'several')
"""


class TooLarge(ValueError):
    """An amount beyond nine billions."""


class LineComparison:
    """Add both sides, then ask for the differences; close it, or use it as a context manager."""

    def __init__(self, *, once: bool, tolerance: Tolerance) -> None:
        """`once`: whether a key that theirs has more often than ours is a fault of its own."""
        self._once = once
        self._tolerance = tolerance
        self._database = sqlite3.connect("")  # an empty name: on disk, in the folder for temporary files
        self._database.executescript(
            f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{_CACHE_KIBIBYTES};"
            + "".join(
                f"CREATE TABLE {side} (key TEXT PRIMARY KEY, time INTEGER, cost INTEGER, currency TEXT, line INTEGER,"
                " sku TEXT, lines INTEGER) WITHOUT ROWID;"
                for side in ("ours", "theirs")
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    def add_ours(self, lines: Iterable[ComparedLine]) -> int:
        """Returns how many. Raises TooLarge."""
        return self._add("ours", lines)

    def add_theirs(self, lines: Iterable[ComparedLine]) -> int:
        """Returns how many. Raises TooLarge."""
        return self._add("theirs", lines)

    def differences(self) -> Iterator[Difference]:
        """Ordered by key."""
        rows = self._database.execute(
            "SELECT o.key, o.time, t.time, o.cost, t.cost, o.currency, t.currency, o.sku, t.sku,"
            " t.line, t.lines, o.lines"
            " FROM ours o LEFT JOIN theirs t ON t.key = o.key"
            " WHERE t.key IS NULL OR t.lines > o.lines OR o.time IS NOT t.time OR o.cost IS NOT t.cost"
            " OR o.currency IS NOT t.currency OR o.sku <> t.sku"
            " UNION ALL SELECT t.key, NULL, t.time, NULL, t.cost, NULL, t.currency, NULL, t.sku, t.line, t.lines, 0"
            " FROM theirs t LEFT JOIN ours o ON o.key = t.key WHERE o.key IS NULL"
            " ORDER BY 1"
        )
        for row in rows:
            found = self._judge(*row)
            if found is not None:
                yield found

    def _judge(
        self,
        key: str,
        our_time: int | None,
        their_time: int | None,
        our_cost: int | None,
        their_cost: int | None,
        our_currency: str | None,
        their_currency: str | None,
        our_sku: str | None,
        their_sku: str | None,
        line: int | None,
        lines: int | None,
        our_lines: int,
    ) -> Difference | None:
        kind: DifferenceKind | None = None
        if lines is None:
            kind = DifferenceKind.MISSING
        elif our_currency is None:
            kind = DifferenceKind.UNKNOWN
        elif self._once and lines > our_lines:
            kind = DifferenceKind.TWICE
        elif _differ(our_time, their_time, self._tolerance.milliseconds):
            kind = DifferenceKind.TIME
        elif our_currency and their_currency and our_currency != their_currency:
            kind = DifferenceKind.CURRENCY
        elif _differ(our_cost, their_cost, _billionths(self._tolerance.cost)):
            kind = DifferenceKind.COST
        elif our_sku is not None and their_sku is not None and our_sku != their_sku:
            kind = DifferenceKind.SKU
        if kind is None:
            return None
        return Difference(
            kind,
            key,
            our_time,
            their_time,
            _amount(our_cost),
            _amount(their_cost),
            _both(our_currency, their_currency),
            line or 0,
            _both(our_sku, their_sku),
        )

    def _add(self, side: str, lines: Iterable[ComparedLine]) -> int:
        statement = _INSERT.format(side=side)
        count, rest = 0, iter(lines)
        while batch := [
            (
                line.key,
                line.milliseconds,
                None if line.cost is None else _billionths(line.cost),
                line.currency,
                line.number,
                line.sku,
            )
            for line in islice(rest, _BATCH_LINES)
        ]:
            self._database.executemany(statement, batch)
            count += len(batch)
        return count


def _differ(ours: int | None, theirs: int | None, tolerance: int) -> bool:
    """Whether both say something, and not the same."""
    return ours is not None and theirs is not None and abs(ours - theirs) > tolerance


def _both(ours: str | None, theirs: str | None) -> str:
    return f"{ours} / {theirs}" if ours and theirs and ours != theirs else ours or theirs or ""


def _billionths(amount: Decimal) -> int:
    if abs(amount) > _MAX_AMOUNT:
        raise TooLarge(f"{amount} is beyond what a line may cost")
    return int((amount * _BILLION).to_integral_value(ROUND_HALF_EVEN))


def _amount(billionths: int | None) -> Decimal | None:
    return None if billionths is None else (Decimal(billionths) / _BILLION).normalize() + Decimal(0)
