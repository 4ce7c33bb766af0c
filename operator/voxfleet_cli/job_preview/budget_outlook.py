"""When the budgets of the price book would hold a job. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_api.quantities import hours_text
from voxfleet_billing.budget_use import BudgetUse, next_month
from voxfleet_billing.price_book import BudgetPolicy
from voxfleet_cli.explainers.explanation import Plain

STATEMENTS_LAG = "machine time that no statement counts yet, about that of the last hour, in what budgets have used"


@dataclass(frozen=True, slots=True)
class BudgetOutlook:
    use: BudgetUse
    machine_milliseconds: int | None
    """What the job is expected to take; None: unknown."""

    @property
    def line(self) -> Plain:
        return {"name": self.use.name, "used": self.use.text, "policy": self.use.budget.policy.value, "then": self.then}

    @property
    def then(self) -> str:
        """What becomes of the job."""
        use, needed = self.use, self.machine_milliseconds
        left = use.limit_milliseconds - use.used_milliseconds
        freed = f"{next_month(use.month):%Y-%m-%d}"
        if use.holds:
            return f"it waits until {freed}, or until the price book has more"
        if needed is None:
            return f"{hours_text(max(0, left))} machine-hours are left; what the job takes is unknown"
        if needed <= left:
            return f"it fits: {hours_text(needed)} of the {hours_text(left)} machine-hours that are left"
        beyond = f"the job takes {hours_text(needed)} machine-hours, and {hours_text(max(0, left))} are left"
        if use.budget.policy is BudgetPolicy.HOLD:
            return f"{beyond}: then its shards wait until {freed}, or until the price book has more"
        return f"{beyond}: it goes on beyond the budget"
