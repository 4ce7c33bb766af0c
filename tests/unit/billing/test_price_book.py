"""The price book: what it refuses, with which words, and which price applies."""

from __future__ import annotations

import inspect
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from tests.rig.price_books import book, lessor, rate, sku

from voxfleet_billing.price_book import PriceBookError, load_price_book

REPOSITORY = Path(__file__).resolve().parents[3]
EXAMPLE = (REPOSITORY / "examples/price-book.yaml").read_text()


def test_the_example_is_one() -> None:
    found = load_price_book(EXAMPLE)
    assert [entry.name for entry in found.lessors] == ["acme", "own"]
    assert found.night is not None and found.night.time_zone == "Europe/Berlin"
    assert found.budgets[0].machine_hours_per_month == 2000


def test_the_digest_is_of_what_it_says_and_not_of_how_it_is_written() -> None:
    found = load_price_book(EXAMPLE)
    assert found.digest.startswith("sha256:")
    assert load_price_book(EXAMPLE + "\n# a comment\n").digest == found.digest
    assert load_price_book(yaml.safe_dump(yaml.safe_load(EXAMPLE))).digest == found.digest
    assert load_price_book(EXAMPLE.replace('"1.95"', '"1.94"')).digest != found.digest


REFUSED = {
    "a float": (
        lessor(skus=[sku(rates=[{"from": "2026-01-01", "listHourly": 2.4}])]),
        r'lessors\[0\]\.skus\[0\]\.rates\[0\]\.listHourly: write the decimal in quotes, such as "2\.4"',
    ),
    "no number": (lessor(skus=[sku(rates=[rate("2026-01-01", listHourly="2,40")])]), "'2,40' is no amount"),
    "a negative price": (lessor(skus=[sku(rates=[rate("2026-01-01", listHourly="-1")])]), "'-1' is no amount"),
    "an unknown field": (lessor(discount="1"), r"lessors\[0\]\.discount: Extra inputs"),
    "a currency's sign": (lessor(currency="€"), r"lessors\[0\]\.currency"),
    "no rates": (lessor(skus=[sku(rates=[])]), r"skus\[0\]\.rates"),
    "rates that overlap": (
        lessor(skus=[sku(rates=[rate("2026-01-01"), rate("2026-06-01")])]),
        "rates of SKU m4pro-48: the entry from 2026-01-01 overlaps with the one from 2026-06-01; write until",
    ),
    "a gap between rates": (
        lessor(skus=[sku(rates=[rate("2026-01-01", until="2026-05-01"), rate("2026-06-01")])]),
        "rates of SKU m4pro-48: none applies from 2026-05-01 to 2026-06-01",
    ),
    "a rate that ends before it starts": (
        lessor(skus=[sku(rates=[rate("2026-06-01", until="2026-01-01")])]),
        "until 2026-01-01 is not after from 2026-06-01",
    ),
    "no such day": (lessor(skus=[sku(rates=[rate("2026-02-30")])]), "day is out of range"),
    "a SKU twice": (lessor(skus=[sku(), sku()]), "SKU m4pro-48 stands there twice"),
    "a commitment to an unknown SKU": (
        lessor(commitments=[{"sku": "m9", "hoursPerMonth": 1, "hourly": "1", "from": "2026-01-01"}]),
        "unknown SKU m9; there are m4pro-48",
    ),
    "a commitment from the middle of a month": (
        lessor(commitments=[{"hoursPerMonth": 1, "hourly": "1", "from": "2026-01-15"}]),
        "write the first day of one instead of 2026-01-15",
    ),
    "a fee twice at a time": (
        lessor(monthlyFees=[{"name": "rack", "amount": "1", "from": "2026-01-01"}] * 2),
        "fee rack: the entry from 2026-01-01 overlaps",
    ),
    "a minimum of two kinds": (
        lessor(minimumCharge={"per": "Day", "amount": "1", "hours": 1}),
        "write either amount or hours",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_named(case: str) -> None:
    entry, message = REFUSED[case]
    with pytest.raises(PriceBookError, match=message):
        book(entry)


def test_one_mistake_is_told_once() -> None:
    with pytest.raises(PriceBookError) as refused:
        book(lessor(skus=[sku(rates=[{"from": "2026-01-01", "listHourly": 2.4}])]))
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lessors: [", "is no YAML"),
        ("lessors: [{from: 2026-02-30}]", "is no YAML: day is out of range for month"),
        ("? [lessors]\n: []", "is no YAML: found unhashable key in line 1"),
        ("lessors: !!bool acme", "is no YAML: a value is not of the kind that its tag names"),
        ("lessors: {{ .Values.lessors }}", "is no YAML: .*found unhashable key"),
        ("lessors: [{skus: [{rates: [{from: 2026-11-31}]}]}]", "is no YAML: day is out of range"),
        ("lessors: []\nlessors: []", "lessors stands there twice"),
        ("- 1", "valid dictionary"),
        ("budgets: [{machineHoursPerMonth: 5}]", "either billingKey or namespace"),
        (
            "budgets: [{namespace: a, machineHoursPerMonth: 5, thresholdsPercent: [80, 50]}]",
            "write each once, the smallest first",
        ),
        ("night: {timeZone: Berlin, closesAt: '08:00'}", "night.timeZone: the time zone database has no Berlin"),
        ("teams: [{name: a}, {name: a}]", "team a stands there twice"),
    ],
)
def test_other_texts_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(PriceBookError, match=f"(?s){message}"):
        load_price_book(text)


def test_a_text_that_is_nested_too_deeply_is_refused() -> None:
    before = sys.getrecursionlimit()  # other tests may have raised it
    sys.setrecursionlimit(len(inspect.stack()) + 200)
    try:
        with pytest.raises(PriceBookError, match="is no YAML: it is nested too deeply"):
            load_price_book("[" * 200)
    finally:
        sys.setrecursionlimit(before)


def test_two_lessors_of_one_name_are_refused() -> None:
    with pytest.raises(PriceBookError, match="lessor acme stands there twice"):
        book(lessor(), lessor())


def test_two_commitments_of_one_name_are_refused() -> None:
    """What is left of each is known by its name."""
    to_any = {"hoursPerMonth": 50, "hourly": "1", "from": "2026-11-01"}
    with pytest.raises(PriceBookError, match="commitment acme/any/2026-11-01 stands there twice"):
        book(lessor(skus=[sku(name="any")], commitments=[{"sku": "any", **to_any}, to_any]))


def test_an_unknown_lessor_is_named() -> None:
    with pytest.raises(PriceBookError, match="unknown lessor other: the price book has acme"):
        book().lessor("other")


def test_the_rate_of_a_day() -> None:
    found = load_price_book(EXAMPLE).lessor("acme")
    offline, interactive = found.sku_for("m4pro-48", "Offline"), found.sku_for("m4pro-48", "Interactive")
    assert offline is not None and interactive is not None
    days = [date(2025, 12, 31), date(2026, 1, 1), date(2026, 11, 14), date(2026, 11, 15), date(2030, 1, 1)]
    rates = [offline.rate_on(day) for day in days]
    assert [None if rate is None else rate.hourly for rate in rates] == [
        *(None, Decimal("2.10"), Decimal("2.10"), Decimal("1.95"), Decimal("1.95"))
    ]
    assert interactive.rates[0].hourly == Decimal("2.90")
    assert found.sku_for("m9", None) is None


def test_a_charge_belongs_to_the_first_team() -> None:
    found = load_price_book(EXAMPLE)
    assert found.team("team-speech", "calls") == "speech"
    assert found.team("", "calls") == "support"
    assert found.team("", "other") == ""
