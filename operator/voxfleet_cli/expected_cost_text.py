"""How an expected cost is told. Pure."""

from __future__ import annotations

from voxfleet_api.kinds.job_status import ExpectedCost


def cost_text(cost: ExpectedCost) -> str:
    limit = "" if cost.limit is None else f"; its maxMachineSeconds would cost {cost.limit}"
    return f"at most {cost.amount} {cost.currency} (at {cost.hourly} an hour{limit})"
