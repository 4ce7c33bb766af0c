"""Who used the machine time of a statement. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from voxfleet_api.kinds.machine_hour_statement import MAX_TOTALS, StatementTotal
from voxfleet_api.quantities import seconds_milliseconds, seconds_text
from voxfleet_billing.budget_use import Payer
from voxfleet_operator.fleet.verified_row import VerifiedRow

LONGEST_KEY = 63
OTHERS = Payer("")


def with_rows(before: Iterable[StatementTotal], rows: Iterable[VerifiedRow]) -> tuple[StatementTotal, ...]:
    """`before` and the rows' time. If there are more payers than it lists, those that used least become one entry."""
    used: Counter[Payer] = Counter()
    for total in before:
        used[Payer(total.namespace, total.billing_key or "")] += seconds_milliseconds(total.machine_seconds)
    for row in rows:
        used[Payer(row.namespace, (row.billing_key or "")[:LONGEST_KEY])] += row.machine_milliseconds
    if len(used) > MAX_TOTALS:
        others = used.pop(OTHERS, 0)
        by_use = sorted(used.items(), key=lambda item: (-item[1], item[0]))
        used = Counter(dict(by_use[: MAX_TOTALS - 1]))
        used[OTHERS] = others + sum(milliseconds for _, milliseconds in by_use[MAX_TOTALS - 1 :])
    return tuple(
        StatementTotal(
            namespace=payer.namespace, billing_key=payer.billing_key or None, machine_seconds=seconds_text(milliseconds)
        )
        for payer, milliseconds in sorted(used.items(), key=lambda item: (item[0] == OTHERS, item[0]))
        if milliseconds > 0
    )
