"""A lessor's CSV: what a template may say, and what it makes of lines."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.rig.archived_month import ArchivedMonth, facts, one_mac, row
from tests.rig.price_books import book, lessor, rate, sku

from voxfleet_billing.exports.lessor import NoMoney, TemplateError, lessor_header, lessor_lines, load_template
from voxfleet_billing.price_book import PriceBook

EXAMPLE = (Path(__file__).resolve().parents[3] / "examples/lessor-columns.yaml").read_text()
RENTED = facts(since="2026-11-20T22:00:00Z", until="2026-11-20T23:30:00Z")


def template(value: str, **fields: object) -> str:
    return yaml.safe_dump({"columns": [{"header": "It", "value": value}], **fields})


def lines(text: str, month: ArchivedMonth, prices: PriceBook | None) -> list[str]:
    return list(lessor_lines(load_template(text), month.charges(prices)))


def test_the_example() -> None:
    assert (
        lessor_header(load_template(EXAMPLE))
        == "Account;Machine;From;To;Kind;Hours;Price;Amount;Currency;Reference\r\n"
    )
    mac = "ACME-4711;mac-01 (hardware-1)"
    assert lines(EXAMPLE, one_mac(row(seconds=3600.25), facts=(RENTED,)), book()) == [
        f"{mac};20.11.2026 22:00:00;20.11.2026 23:00:00;Usage;1,000069;2;2,0000;EUR;chain-1#0\r\n",
        f"{mac};20.11.2026 23:00:00;20.11.2026 23:30:00;Idle;0,499931;0,5;0,2500;EUR;\r\n",
    ]


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("{hours:.2}", "1.00"),
        ("{hours}", "1"),
        ("{start}", "2026-11-20T22:00:00.000Z"),
        ("{{{lane}}}", "{offline/0}"),
        ("{attempt}/{clips}", "1/12"),
        ("-{lane}", "'-offline/0"),
        ("=1+1", "'=1+1"),
        ("100 %", "100 %"),
    ],
)
def test_what_a_value_becomes(value: str, cell: str) -> None:
    month = one_mac(row(), facts=(facts(until="2026-11-01T00:00:00Z"),))
    assert lines(template(value, kinds=["Usage"]), month, book()) == [f"{cell}\r\n"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{cost}", "column It: there is no field 'cost'; there are activity, "),
        ("{mac.__class__}", "there is no field 'mac.__class__'"),
        ("{0}", "there is no field '0'"),
        ("{mac!r}", "write it without !r"),
        ("{mac:>9}", "mac is a text; write {mac}"),
        ("{hours:e}", "a number's format is :.N"),
        ("{hours:.19}", "a number's format is :.N for N decimals, at most 18"),
        ("{start:%c}", "a time's format has %Y"),
        ("{mac", "write each brace that is no field twice"),
    ],
)
def test_a_template_reaches_nothing_else(value: str, message: str) -> None:
    with pytest.raises(TemplateError) as refused:
        load_template(template(value))
    assert message in str(refused.value)


def test_a_large_amount_has_as_many_decimals_as_are_asked_for() -> None:
    prices = book(lessor(skus=[sku(rates=[rate("2026-01-01", listHourly="999999999999.999999")])]))
    (line,) = lines(template("{list_cost:.18}", kinds=["Usage"]), one_mac(row(seconds=36_000), facts=(RENTED,)), prices)
    assert line == "9999999999999.999990000000000000\r\n"


def test_a_template_that_is_no_yaml_says_so() -> None:
    with pytest.raises(TemplateError, match="no YAML: day is out of range"):
        load_template("columns: [{header: 2026-11-31, value: a}]")


def test_money_that_is_not_there_is_refused_by_name() -> None:
    month = one_mac(row(), facts=(RENTED,))
    assert lines(template("{mac}"), month, None)[0] == "mac-01\r\n"
    with pytest.raises(NoMoney, match=r"chain-1#0 has none: no price book was given"):
        lines(template("{billed_cost}"), month, None)
