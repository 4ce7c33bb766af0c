"""Reads the price book again as it changes, and tells people of it and of the budgets' thresholds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from voxfleet_operator.event_reasons import Announced, EventReason
from voxfleet_operator.metering.budget_accounts import BudgetAccounts
from voxfleet_operator.price_book_file import PriceBookFile

POLL_SECONDS = 10.0

log = structlog.get_logger(__name__)


class Publish(Protocol):
    def __call__(self, about: Mapping[str, str], reason: Announced, note: str) -> None: ...


class PriceBookWatch:
    """Its events regard the Lease: neither a price book nor a budget is an object of the API server."""

    def __init__(
        self,
        file: PriceBookFile,
        accounts: BudgetAccounts,
        publish: Publish,
        lease: Callable[[], Mapping[str, str]],
        on_change: Callable[[], None],
    ) -> None:
        self._file = file
        self._accounts = accounts
        self._publish = publish
        self._lease = lease
        self._on_change = on_change
        self._told_problem: str | None = None

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(POLL_SECONDS)

    async def look(self) -> None:
        if await self._file.refresh():
            self._on_change()
        problem = self._file.problem
        if problem is not None and problem != self._told_problem:
            self._publish(self._lease(), EventReason.PRICE_BOOK_REFUSED, problem)
        self._told_problem = problem
        for reached in self._accounts.take_reached():
            use = reached.use
            note = f"budget of {use.name} reached {reached.percent} %: {use.text}"
            reason = EventReason.BUDGET_EXHAUSTED if reached.percent >= 100 else EventReason.BUDGET_THRESHOLD_REACHED
            if use.holds and reached.percent >= 100:
                note = f"{note}; its new shards wait"
            log.warning("budget threshold", budget=use.name, month=use.month, percent=reached.percent)
            self._publish(self._lease(), reason, note)
