"""What payers have used in a month, and which thresholds people are told of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from tests.rig.price_books import book

from voxfleet_api.kinds import MachineHourStatement
from voxfleet_api.kinds.machine_hour_statement import MAX_TOTALS, MachineHourStatementStatus
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_billing.archive_format import TimeClass
from voxfleet_billing.budget_use import Payer
from voxfleet_billing.price_book import PriceBook
from voxfleet_operator.cache import Cache
from voxfleet_operator.metering.budget_accounts import BudgetAccounts
from voxfleet_operator.metering.month_use import JobUse, counted_milliseconds, month_use
from voxfleet_operator.reconcile.statement.totals import OTHERS, CountedRow, with_rows
from voxfleet_operator.reconcile.stored_statements import StoredStatements

NOW = datetime(2026, 11, 20, 22, tzinfo=UTC)
HOUR = 3_600_000
SPEECH = Payer("team", "speech")


def a_statement(month: str, *totals: dict[str, str]) -> MachineHourStatement:
    return MachineHourStatement.load(
        {"metadata": {"name": "s"}, "spec": {"mac": "m", "month": month}, "status": {"totals": list(totals)}}
    )


def a_row(namespace: str, billing_key: str | None, milliseconds: int) -> CountedRow:
    return CountedRow("2026-11", namespace, billing_key, TimeClass.PRODUCTIVE, milliseconds, 0, 0)


def test_statements_of_the_month_count_and_no_others() -> None:
    own = {"namespace": "team", "billingKey": "speech", "class": "Productive", "machineSeconds": "1.001"}
    keyless = {"namespace": "team", "class": "Retry", "machineSeconds": "5.000"}
    statements = [a_statement("2026-11", own, keyless), a_statement("2026-11", own), a_statement("2026-10", own)]
    assert counted_milliseconds(statements, "2026-11") == {SPEECH: 2002, Payer("team"): 5000}


def test_what_is_not_counted_yet_and_lanes_that_are_held_are_used_too() -> None:
    job = JobUse(SPEECH, 7_000, 2, ("2026-11-20T21:00:00Z", "2026-10-01T00:00:00Z"))
    since_month = int((NOW - datetime(2026, 11, 1, tzinfo=UTC)).total_seconds() * 1000)
    assert month_use({SPEECH: 1}, [job], NOW) == {SPEECH: 1 + 7_000 + HOUR + since_month}


def test_a_new_month_begins_with_next_to_nothing() -> None:
    """Rows of the night before its first day are not counted yet, and lanes are held since then."""
    first = datetime(2026, 12, 1, 0, 0, 1, tzinfo=UTC)
    job = JobUse(SPEECH, 500 * HOUR, 3, ("2026-11-30T20:00:00Z",))
    assert month_use({}, [job], first) == {SPEECH: 3_000 + 1_000}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 90 * 24 * HOUR), st.integers(0, 5)), max_size=5))
def test_no_job_uses_less_than_nothing_or_more_than_its_attempts_could(jobs: list[tuple[str, int, int]]) -> None:
    used = month_use({}, [JobUse(Payer(name), time, attempts) for name, time, attempts in jobs], NOW)
    age = 20 * 24 * HOUR - 2 * HOUR  # of the month
    for name in "abc":
        own = [(time, attempts) for other, time, attempts in jobs if other == name]
        assert used.get(Payer(name), 0) == sum(min(time, attempts * age) for time, attempts in own)


ROWS = st.lists(st.tuples(st.integers(0, 40), st.sampled_from([None, "k", "l"]), st.integers(0, 10**6)), max_size=120)


@given(ROWS, ROWS)
def test_totals_lose_no_time_and_stay_bounded(
    first: list[tuple[int, str | None, int]], second: list[tuple[int, str | None, int]]
) -> None:
    status = MachineHourStatementStatus()
    for rows in (first, second):
        status = with_rows(status, "2026-11", (a_row(f"ns-{number}", key, time) for number, key, time in rows))
    assert len(status.totals) <= MAX_TOTALS
    total = sum(seconds_milliseconds(item.machine_seconds) for item in status.totals)
    assert total == sum(time for _, _, time in (*first, *second))
    payers = [(item.namespace, item.billing_key) for item in status.totals]
    assert len(set(payers)) == len(payers) and OTHERS not in [name for name, _ in payers[:-1]]


BUDGET = {"billingKey": "speech", "machineHoursPerMonth": 10, "policy": "Hold"}


def test_each_threshold_is_told_once_a_month() -> None:
    accounts = BudgetAccounts(lambda: book(budgets=[BUDGET]))
    told = []
    for month, used in [
        ("2026-11", 1), ("2026-11", 5), ("2026-11", 5), ("2026-11", 10), ("2026-11", 12), ("2026-12", 0),
        ("2026-12", 6),
    ]:  # fmt: skip
        accounts.found({SPEECH: used * HOUR}, {}, month)
        told.append([(item.use.month, item.percent) for item in accounts.take_reached()])
    assert told == [
        [], [("2026-11", 50)], [], [("2026-11", 80), ("2026-11", 100)], [], [], [("2026-12", 50)],
    ]  # fmt: skip


def test_a_new_process_tells_again_only_what_no_statement_counts_yet() -> None:
    accounts = BudgetAccounts(lambda: book(budgets=[BUDGET]))
    accounts.found({SPEECH: 9 * HOUR}, {SPEECH: 6 * HOUR}, "2026-11")
    assert [item.percent for item in accounts.take_reached()] == [80]


def test_a_book_that_is_read_late_does_not_make_a_new_process_tell_all_again() -> None:
    books: list[PriceBook | None] = [None]
    accounts = BudgetAccounts(lambda: books[0])
    assert accounts.found({SPEECH: 9 * HOUR}, {SPEECH: 9 * HOUR}, "2026-11") == ()
    books[0] = book(budgets=[BUDGET])
    accounts.found({SPEECH: 9 * HOUR}, {SPEECH: 9 * HOUR}, "2026-11")
    assert accounts.take_reached() == []


def test_a_budget_that_comes_later_is_told_of() -> None:
    budgets = [BUDGET]
    accounts = BudgetAccounts(lambda: book(budgets=budgets))
    accounts.found({SPEECH: HOUR}, {SPEECH: HOUR}, "2026-11")
    budgets.append({"namespace": "team", "machineHoursPerMonth": 1})
    accounts.found({SPEECH: HOUR}, {SPEECH: HOUR}, "2026-11")
    assert [(item.use.name, item.percent) for item in accounts.take_reached()] == [
        ("namespace team", 50), ("namespace team", 80), ("namespace team", 100),
    ]  # fmt: skip


def test_what_is_remembered_does_not_grow_with_the_months() -> None:
    accounts = BudgetAccounts(lambda: book(budgets=[BUDGET]))
    for months in range(60):
        day = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=31 * months)
        accounts.found({SPEECH: 20 * HOUR}, {}, f"{day:%Y-%m}")
        accounts.take_reached()
    assert accounts._told is not None and len(accounts._told) == 3


def test_what_statements_count_is_read_again_when_one_changes_and_when_the_month_does() -> None:
    cache = Cache()
    stored = StoredStatements(cache)
    assert stored.milliseconds_of("2026-11") == {}
    for version, seconds in enumerate(("1.000", "2.500"), start=1):
        body = a_statement(
            "2026-11", {"namespace": "team", "billingKey": "speech", "class": "Productive", "machineSeconds": seconds}
        ).dump()
        body["metadata"] |= {"uid": "u", "resourceVersion": str(version)}
        cache.put(MachineHourStatement.load(body))
        assert stored.milliseconds_of("2026-11") == {SPEECH: seconds_milliseconds(seconds)}
        assert stored.milliseconds_of("2026-12") == {}
