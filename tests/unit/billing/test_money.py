"""Money is decimal, and exact until a lessor's rule rounds it."""

from __future__ import annotations

import ast
import decimal
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mypy import api as mypy_api

import voxfleet_billing
from voxfleet_billing.money import (
    EXACT,
    MILLISECONDS_AN_HOUR,
    Amount,
    MixedCurrencies,
    RoundingMode,
    added,
    hours_of,
    plain,
    rounded,
    shares,
)

AMOUNTS = st.decimals(min_value=0, max_value=10**6, places=4)


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        (RoundingMode.HALF_UP, "2.345", "2.35"),
        (RoundingMode.HALF_EVEN, "2.345", "2.34"),
        (RoundingMode.HALF_EVEN, "2.355", "2.36"),
        (RoundingMode.UP, "2.341", "2.35"),
        (RoundingMode.UP, "2.34", "2.34"),
    ],
)
def test_each_mode_rounds_as_it_says(mode: RoundingMode, value: str, expected: str) -> None:
    assert rounded(Decimal(value), Decimal("0.01"), mode) == Decimal(expected)


def test_a_unit_is_any_step() -> None:
    assert rounded(Decimal("7.33"), Decimal("0.05"), RoundingMode.HALF_UP) == Decimal("7.35")


@given(AMOUNTS, st.lists(st.integers(0, 10**12), min_size=1, max_size=30).filter(any))
def test_shares_sum_to_the_total(total: Decimal, weights: list[int]) -> None:
    parts = shares(total, weights, Decimal("0.01"))
    assert added(parts) == total
    assert all(part >= 0 for part in parts)
    assert all(part == 0 for part, weight in zip(parts, weights, strict=True) if weight == 0)


@given(AMOUNTS, st.lists(st.integers(1, 10**6), min_size=2, max_size=9))
def test_nobody_pays_a_cent_more_than_the_share(total: Decimal, weights: list[int]) -> None:
    parts = shares(total, weights, Decimal("0.0001"))
    with decimal.localcontext(prec=50):
        for part, weight in zip(parts, weights, strict=True):
            assert abs(part - total * weight / sum(weights)) <= Decimal("0.0001")


@given(st.integers(0, 10**12))
def test_hours_tell_each_millisecond_from_the_next(milliseconds: int) -> None:
    with decimal.localcontext(prec=50):
        assert round(hours_of(milliseconds) * MILLISECONDS_AN_HOUR) == milliseconds


def test_currencies_do_not_mix() -> None:
    assert Amount("EUR", Decimal("1.10")) + Amount("EUR", Decimal("2.20")) == Amount("EUR", Decimal("3.30"))
    with pytest.raises(MixedCurrencies, match=r"1\.1 EUR and 2 USD"):
        Amount("EUR", Decimal("1.10")) + Amount("USD", Decimal(2))


@pytest.mark.parametrize(
    ("value", "text"),
    [("1.50", "1.5"), ("100", "100"), ("0E-12", "0"), ("-0.00", "0"), ("1E+3", "1000"), ("-2.5", "-2.5")],
)
def test_numbers_are_plain(value: str, text: str) -> None:
    assert plain(Decimal(value)) == text


def test_a_float_is_refused_where_it_would_be_computed_with() -> None:
    with pytest.raises(decimal.FloatOperation):
        EXACT.create_decimal(0.1)
    with pytest.raises(decimal.Inexact):
        EXACT.multiply(Decimal("1" * 40), Decimal("1" * 40))


MONEY_PATH = (
    *("charge", "charges", "compared_line", "fees", "idle", "instants", "mac_charges", "minimums", "money"),
    *("month_sums", "price_book", "pricing"),
    *("exports/focus", "exports/lessor", "exports/manifest", "exports/request", "exports/tally"),
)


@pytest.mark.parametrize("module", MONEY_PATH)
def test_no_module_on_the_way_of_money_has_a_float(module: str) -> None:
    """The type checker refuses a float where Decimal stands; this refuses one that would never meet a Decimal."""
    tree = ast.parse((Path(voxfleet_billing.__file__).parent / f"{module}.py").read_text())
    assert [ast.unparse(node) for node in ast.walk(tree) if _makes_a_float(node)] == []


def _makes_a_float(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=float()) | ast.BinOp(op=ast.Div()) | ast.Name(id="float"):
            return True
    return False


def test_the_type_checker_refuses_a_float_for_money(tmp_path: Path) -> None:
    """Each line is refused by itself, and the same lines with decimals are not."""
    refused = (
        "hours: Decimal = 0.5",
        "Amount('EUR', 1.5)",
        "rounded(2.345, Decimal(1), RoundingMode.UP)",
        "added([0.1])",
    )
    taken = [
        *("hours: Decimal = Decimal('0.5')", "Amount('EUR', Decimal('1.5'))"),
        *("rounded(Decimal('2.345'), Decimal(1), RoundingMode.UP)", "added([Decimal('0.1')])"),
    ]
    head = "from decimal import Decimal\nfrom voxfleet_billing.money import Amount, RoundingMode, added, rounded\n"
    for name, body in (("refused", refused), ("taken", taken)):
        (tmp_path / f"{name}.py").write_text(head + "\n".join(body) + "\n")
    stdout, _, _ = mypy_api.run([str(tmp_path / "refused.py"), str(tmp_path / "taken.py"), "--no-error-summary"])
    lines = [line.rpartition("/")[2].split(": ")[0] for line in stdout.splitlines() if ": error:" in line]
    assert lines == [f"refused.py:{number}" for number in range(3, 3 + len(refused))], stdout
