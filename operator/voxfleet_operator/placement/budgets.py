"""What the budgets of the price book leave for the shards that wait."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from datetime import datetime

from voxfleet_billing.budget_use import Payer, hold_reason, month_of, next_month
from voxfleet_operator.metering.budget_accounts import BudgetAccounts
from voxfleet_operator.metering.month_use import JobUse, month_use
from voxfleet_operator.placement.job_works import JobWorks
from voxfleet_operator.placement.snapshot import PendingShard
from voxfleet_operator.reconcile.stored_statements import StoredStatements

SPARE_SECONDS = 1.0
"""A timer may be early."""


class BudgetGatherer:
    def __init__(self, accounts: BudgetAccounts, statements: StoredStatements) -> None:
        self._accounts = accounts
        self._statements = statements

    def over_budget(self, pending: Iterable[PendingShard], works: JobWorks, now: datetime) -> Mapping[str, str]:
        """By job UID: why no shard of it gets a new lane. Keeps what was found for those who ask after budgets."""
        if not self._accounts.budgets:
            self._accounts.found({}, {}, month_of(now))
            return {}
        pending, month = tuple(pending), month_of(now)
        counted = self._statements.milliseconds_of(month)
        lost = {shard.uid for shard in pending if shard.replaces_lost}
        used = month_use(counted, self._job_uses(works, lost), now)
        uses = self._accounts.found(used, counted, month)
        if not any(use.holds for use in uses):
            return {}
        found: dict[str, str] = {}
        for job in {id(shard.job): shard.job for shard in pending if shard.needs_lane}.values():
            reason = hold_reason(uses, Payer(job.namespace, job.billing_key or ""))
            if reason is not None:
                found[job.uid] = reason
        return found

    def _job_uses(self, works: JobWorks, lost: Set[str]) -> Iterator[JobUse]:
        """`lost`: shards whose Mac is lost: it holds no lane once another may take over."""
        uncounted = works.uncounted.milliseconds(self._statements.heads)
        for uid in uncounted.keys() | works.lanes.keys():
            work = works.as_of_look(uid)
            if work is None:
                continue
            billing_key = "" if work.common is None else work.common.billing_key or ""
            yield JobUse(
                Payer(work.lanes.namespace, billing_key),
                uncounted.get(uid, 0),
                works.uncounted.attempts(uid),
                tuple(since for shard, since in work.lanes.held_since.items() if shard not in lost),
            )


def seconds_left(now: datetime) -> float:
    """Until a moment after the month's end."""
    return (next_month(month_of(now)) - now).total_seconds() + SPARE_SECONDS
