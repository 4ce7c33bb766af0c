"""What is used of budgets, and what follows from it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_billing.budget_use import BudgetUse, Payer, budget_uses, hold_reason, month_of, month_start, next_month
from voxfleet_billing.price_book import Budget

HOUR = 3_600_000
SPEECH = {"billingKey": "team-speech", "machineHoursPerMonth": "120", "policy": "Hold"}


def a_budget(**fields: object) -> Budget:
    return Budget.load({**SPEECH, **fields})


def a_use(milliseconds: int, **fields: object) -> BudgetUse:
    return BudgetUse(a_budget(**fields), "2026-11", milliseconds)


@pytest.mark.parametrize(
    ("used", "percent", "reached", "holds"),
    [
        (0, 0, (), False),
        (60 * HOUR - 1, 49, (), False),
        (60 * HOUR, 50, (50,), False),
        (96 * HOUR, 80, (50, 80), False),
        (120 * HOUR - 1, 99, (50, 80), False),
        (120 * HOUR, 100, (50, 80, 100), True),
        (300 * HOUR, 250, (50, 80, 100), True),
    ],
)
def test_thresholds_are_reached_to_the_millisecond(
    used: int, percent: int, reached: tuple[int, ...], holds: bool
) -> None:
    use = a_use(used)
    assert (use.percent, use.reached_percent, use.holds) == (percent, reached, holds)
    assert not a_use(used, policy="Warn").holds


def test_a_budget_of_a_fraction_is_exact() -> None:
    assert a_use(0, machineHoursPerMonth="0.000001").limit_milliseconds == 3
    assert a_use(0, machineHoursPerMonth="0.1").limit_milliseconds == 360_000


def test_without_a_threshold_of_100_percent_it_still_holds_there() -> None:
    assert a_use(120 * HOUR, thresholdsPercent=[80, 150]).holds
    assert a_use(120 * HOUR, thresholdsPercent=[80, 150]).reached_percent == (80,)


def test_the_reason_names_the_budget_what_is_used_and_what_ends_it() -> None:
    assert a_use(120 * HOUR + 179_999).hold_reason == (
        "budget of billing key team-speech: 120.0 of 120 machine-hours used in 2026-11; raise it in the price book, or"
        " wait until 2026-12-01"
    )
    namespace = Budget.load({"namespace": "night", "machineHoursPerMonth": "0.5", "policy": "Hold"})
    assert BudgetUse(namespace, "2026-12", HOUR).hold_reason == (
        "budget of namespace night: 1.0 of 0.5 machine-hours used in 2026-12; raise it in the price book, or wait until"
        " 2027-01-01"
    )


@pytest.mark.parametrize(
    ("payer", "held"),
    [
        (Payer("night", "team-speech"), "billing key team-speech"),
        (Payer("night"), "namespace night"),
        (Payer("night", "other"), "namespace night"),
        (Payer("day", "team-speech"), "billing key team-speech"),
        (Payer("day"), None),
        (Payer("team-speech", "night"), None),
    ],
)
def test_a_shard_waits_for_each_budget_that_names_its_key_or_its_namespace(payer: Payer, held: str | None) -> None:
    namespace = Budget.load({"namespace": "night", "machineHoursPerMonth": "1", "policy": "Hold"})
    uses = [BudgetUse(a_budget(), "2026-11", 120 * HOUR), BudgetUse(namespace, "2026-11", HOUR)]
    reason = hold_reason(uses, payer)
    assert reason is None if held is None else reason is not None and reason.startswith(f"budget of {held}:")


PAYERS = st.builds(Payer, st.sampled_from(["a", "b", ""]), st.sampled_from(["", "k", "l"]))
USED = st.dictionaries(PAYERS, st.integers(0, 10**10))


@given(USED, PAYERS, st.integers(0, 10**9))
def test_more_use_never_frees_a_budget(used: dict[Payer, int], payer: Payer, more: int) -> None:
    budgets = [
        Budget.load({"billingKey": "k", "machineHoursPerMonth": "700", "policy": "Hold"}),
        Budget.load({"namespace": "a", "machineHoursPerMonth": "900", "policy": "Hold"}),
        Budget.load({"namespace": "b", "machineHoursPerMonth": "1"}),
    ]
    before = budget_uses(budgets, used, "2026-11")
    after = budget_uses(budgets, {**used, payer: used.get(payer, 0) + more}, "2026-11")
    for old, new in zip(before, after, strict=True):
        grown = more if new.concerns(payer) else 0
        assert new.used_milliseconds == old.used_milliseconds + grown
        assert set(old.reached_percent) <= set(new.reached_percent) and old.holds <= new.holds
        assert new.holds == (new.used_milliseconds >= new.limit_milliseconds and new.budget.policy == "Hold")
    for namespace in ("a", "b", "c"):
        for key in ("", "k", "l"):
            held = hold_reason(after, Payer(namespace, key))
            assert (held is not None) == any(use.holds and use.concerns(Payer(namespace, key)) for use in after)


@given(st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_each_moment_lies_in_its_month(now: datetime) -> None:
    month = month_of(now)
    assert month_start(month) <= now < next_month(month)
    assert month_of(next_month(month) - timedelta(milliseconds=1)) == month
    assert month_start(month_of(next_month(month))) == next_month(month)
