"""The price book, and what is used of its budgets."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from voxfleet_operator import metric_list
from voxfleet_operator.metering.budget_accounts import BudgetAccounts
from voxfleet_operator.price_book_file import PriceBookFile


class BudgetCollector(Collector):
    def __init__(self, file: PriceBookFile | None, accounts: BudgetAccounts) -> None:
        """`file`: None where the operator has no price book; the metrics have no values then."""
        self._file = file
        self._accounts = accounts

    def collect(self) -> Iterator[Metric]:
        usable = metric_list.PRICE_BOOK_USABLE.gauge_family()
        if self._file is not None:
            usable.add_metric([], float(self._file.problem is None))
        yield usable
        used, limit = metric_list.BUDGET_USED.gauge_family(), metric_list.BUDGET_LIMIT.gauge_family()
        ratio, holds = metric_list.BUDGET_RATIO.gauge_family(), metric_list.BUDGET_HOLDS.gauge_family()
        for use in self._accounts.uses:
            labels = [use.budget.billing_key or "", use.budget.namespace or ""]
            used.add_metric(labels, use.used_milliseconds / 1000)
            limit.add_metric(labels, use.limit_milliseconds / 1000)
            ratio.add_metric(labels, use.used_milliseconds / max(1, use.limit_milliseconds))
            holds.add_metric(labels, float(use.holds))
        yield from (used, limit, ratio, holds)
