"""Statements that the archive knows and the API server lacks: made anew by each new leader, once, Mac by Mac."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime

import structlog

from voxfleet_api.kinds import MacAgent, MachineHourStatement
from voxfleet_api.kinds.machine_hour_statement import MachineHourStatementStatus
from voxfleet_billing.archive_access import ObjectDamaged, ObjectMissing
from voxfleet_billing.archive_format import MonthIndex
from voxfleet_billing.archive_reader import KnownIndex
from voxfleet_operator.cache import Cache
from voxfleet_operator.metering.statements import statement_name
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.statement.archive_calls import ArchiveCalls
from voxfleet_operator.reconcile.statement.archiving import without_mac
from voxfleet_operator.reconcile.statement.estimates import says_estimates

MONTHS = 24
"""So far back it looks."""

TakeUp = Callable[[str, str, KnownIndex], Awaitable[bool]]

log = structlog.get_logger(__name__)


def parts(cache: Cache, mac: str, month: str) -> tuple[MachineHourStatement, ...]:
    """The statements of a Mac's month."""
    found: list[MachineHourStatement] = []
    while (item := cache.get(MachineHourStatement, "", statement_name(mac, month, len(found) + 1))) is not None:
        found.append(item)
    return tuple(found)


def behind(index: MonthIndex, statements: Iterable[MachineHourStatement]) -> bool:
    """Whether the archive has rows or estimates that the month's statements do not count."""
    statements = tuple(statements)
    if not says_estimates(statements[0].status if statements else MachineHourStatementStatus(), index):
        return True
    counted = {
        (cursor.ledger_key, cursor.chain_id): cursor.sequence
        for statement in statements
        for cursor in statement.status.cursors
    }
    return any(counted.get((head.ledger_key, head.chain_id), -1) < head.sequence for head in index.heads)


def months_back(now: datetime, count: int = MONTHS) -> list[str]:
    """From this month on, the newest first."""
    first = now.year * 12 + now.month - 1
    return [f"{number // 12:04d}-{number % 12 + 1:02d}" for number in range(first, first - count, -1)]


class Restore:
    """One month of one Mac in each step, so that no worker is held for long.

    One that cannot be read keeps no other Mac waiting. Its own rows wait in the meantime, since they go to that index.
    """

    def __init__(self, context: Context, archive: ArchiveCalls, take_up: TakeUp) -> None:
        self._context = context
        self._archive = archive
        self._take_up = take_up
        self._months: list[str] | None = None
        self._macs: list[str] | None = None
        self.is_done = False
        self.unread: set[tuple[str, str]] = set()
        """Macs and months of which an object is damaged or missing."""
        self._asked = False
        """Whether the archive was asked about the last Mac."""

    async def step(self) -> bool:
        """Returns whether all is done. Raises ArchiveError and ArchiveBusy."""
        now = self._context.now()
        if self._months is None:
            self._months = months_back(now)
        while self._months:
            if self._macs is None:
                self._macs = await self._archive.macs(self._months[0])
            while self._macs:
                if not await self._restored_or_unread(self._macs[0], self._months[0], now):
                    return False
                self._macs.pop(0)
                if self._asked:
                    return False
            self._months.pop(0)
            self._macs = None
        self.is_done = True
        log.info("all months of the archive were looked at")
        return True

    async def look_again(self) -> None:
        """At what could not be read: somebody may have restored it from a copy. Raises as `step` does."""
        for mac, month in sorted(self.unread):
            await self._restored_or_unread(mac, month, self._context.now())

    async def _restored_or_unread(self, mac: str, month: str, now: datetime) -> bool:
        """False if it has to be done again."""
        try:
            done = await self._restored(mac, month, now)
        except (ObjectDamaged, ObjectMissing) as error:
            log.error("a Mac's month cannot be read from the archive", mac=mac, month=month, error=str(error))
            self.unread.add((mac, month))
            return True
        if done:
            self.unread.discard((mac, month))
        return done

    async def _restored(self, mac: str, month: str, now: datetime) -> bool:
        """False if it has to be done again."""
        cache, gone = self._context.cache, self._context.cache.get(MacAgent, "", mac) is None
        known_parts = parts(cache, mac, month)
        # One that was created, and whose totals were not written before its process died, says nothing of the archive.
        taken = known_parts and all(part.status.archive is not None for part in known_parts)
        self._asked = gone or not taken
        if not self._asked:
            return True
        known = await self._archive.newest(mac, month)
        if known is None:
            return True
        if behind(known.index, parts(cache, mac, month)) and not await self._take_up(mac, month, known):
            return False
        if gone and _is_open(known.index, now):
            await self._archive.revise(mac, month, without_mac(self._context.timestamp()))
        return True


def _is_open(index: MonthIndex, now: datetime) -> bool:
    """Whether a Mac was deleted while nobody led: its last month says still that it is there."""
    return index.month == now.strftime("%Y-%m") and bool(index.facts) and index.facts[-1].until is None
