"""The columns of a FOCUS file: their names are the published ones, and lines say what the specification asks."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from tests.rig.archived_month import MONTH, ArchivedMonth, Estimate, facts, one_mac, row
from tests.rig.price_books import book, lessor
from tests.unit.billing.ledgers import books, months

from voxfleet_billing.exports import focus
from voxfleet_billing.exports.csv_text import csv_line
from voxfleet_billing.exports.focus import FocusVersion, Unpriced, columns, focus_header, focus_lines
from voxfleet_billing.price_book import PriceBook

PUBLISHED = Path(__file__).with_name("published")
RICH = book(
    lessor(
        minimumCharge={"per": "Day", "hours": 30},
        commitments=[{"hoursPerMonth": 3, "hourly": "1.1", "from": "2026-11-01"}],
        monthlyFees=[{"name": "rack", "amount": "10.01", "from": "2026-01-01"}],
        rounding={"unit": "0.05", "mode": "Up", "at": "Invoice"},
    )
)


def published(version: FocusVersion) -> dict[str, bool]:
    """Each column, and whether it is mandatory."""
    lines = (PUBLISHED / f"focus-{version}-columns.txt").read_text().splitlines()
    return {line.removesuffix("*"): line.endswith("*") for line in lines if not line.startswith("#")}


def records(month: ArchivedMonth, prices: PriceBook, version: FocusVersion = FocusVersion.V1_2) -> list[dict[str, str]]:
    text = focus_header(version) + "".join(focus_lines(version, MONTH, month.charges(prices), prices))
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("version", FocusVersion)
def test_names_are_the_published_ones_and_ours_come_last(version: FocusVersion) -> None:
    names = [column.name for column in columns(version)]
    known = published(version)
    ours = [name for name in names if name.startswith("x_")]
    assert names[-len(ours) :] == ours
    theirs = names[: -len(ours)]
    assert set(theirs) <= set(known) and theirs == sorted(theirs)
    assert {name for name, mandatory in known.items() if mandatory} <= set(theirs)
    assert len(set(names)) == len(names)


def test_1_4_has_other_providers_than_1_2() -> None:
    old, new = ({column.name for column in columns(version)} for version in FocusVersion)
    assert old - new == {"ProviderName", "PublisherName"}
    assert new - old == {"HostProviderName", "ServiceProviderName"}


def test_a_line_says_what_its_row_says() -> None:
    line = records(one_mac(row(seconds=1800.5), facts=(facts(),)), book())[0]
    assert (line["ConsumedQuantity"], line["ConsumedUnit"]) == ("1800.500", "Seconds")
    assert (line["PricingQuantity"], line["PricingUnit"]) == ("0.500138888889", "Hours")
    assert (line["ListUnitPrice"], line["ContractedUnitPrice"]) == ("2.4", "2.0")
    assert (line["ChargePeriodStart"], line["ChargePeriodEnd"]) == ("2026-11-20T22:00:00Z", "2026-11-20T22:30:01Z")
    assert (line["x_WallStart"], line["x_WallEnd"]) == ("2026-11-20T22:00:00.000Z", "2026-11-20T22:30:00.500Z")
    assert line["Tags"] == '{"billingKey":"team-speech"}'
    assert line["x_RowId"] == "chain-1#0" and line["x_PriceBookDigest"] == book().digest
    assert (line["BillingPeriodStart"], line["BillingPeriodEnd"]) == ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z")


def test_each_kind_of_line_has_its_category() -> None:
    month = one_mac(row(), row("2026-10-02T00:00:00Z"), facts=(facts(),), settlements={("shard-9", 1): Estimate(5)})
    found = {(line["x_Kind"], line["ChargeCategory"], line["ChargeClass"]) for line in records(month, RICH)}
    assert found == {
        ("Usage", "Usage", ""),
        ("Usage", "Usage", "Correction"),
        ("Idle", "Usage", ""),
        ("Estimated", "Adjustment", ""),
        ("Minimum", "Adjustment", ""),
        ("Commitment", "Purchase", ""),
        ("Commitment", "Usage", ""),
        ("Fixed", "Adjustment", ""),
        ("Rounding", "Adjustment", ""),
    }


def test_a_line_without_a_price_is_refused_by_name() -> None:
    with pytest.raises(Unpriced, match=r"chain-1#0 \(Mac mac-01\) has none: no price: the Mac had no lessor"):
        records(one_mac(row(), facts=(facts(lessor=None),)), book())


@pytest.mark.parametrize("version", FocusVersion)
def test_what_varies_is_in_the_order_of_its_columns(version: FocusVersion) -> None:
    assert tuple(column.name for column in columns(version) if column.value is None) == focus.VARYING


@settings(max_examples=25)
@given(months(), books())
def test_what_is_rendered_once_is_what_each_line_says(month: ArchivedMonth, prices: PriceBook) -> None:
    """Column by column, without what lines have alike."""
    lines = month.charges(prices)
    named = {lessor.name: lessor for lessor in prices.lessors}
    bill = focus._Bill(MONTH, "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z", prices.digest, named)
    for cells, charge in zip(records(month, prices, FocusVersion.V1_4), lines, strict=True):
        line = focus._line(charge, bill)
        for column in columns(FocusVersion.V1_4):
            if column.value is not None:
                assert cells[column.name] == column.value(line), column.name
        assert charge.money is not None
        assert Decimal(cells["BilledCost"]) == charge.money.billed_cost
        assert Decimal(cells["EffectiveCost"]) == charge.money.effective_cost
        assert Decimal(cells["ContractedCost"]) == charge.money.contracted_cost
        assert Decimal(cells["ListCost"]) == charge.money.list_cost
        assert cells["x_RowId"] == charge.row_name and cells["x_OwnerName"] == charge.owner_name
        assert Decimal(cells["x_MachineSeconds"] or 0) * 1000 == charge.milliseconds


def test_odd_texts_of_a_row_stay_in_their_cells() -> None:
    odd = row(shard_uid='a,"b"', lane="offline/0,1", signature="x\r\ny", owner_name="100 % sure, %s")
    line = records(one_mac(odd, facts=(facts(),)), book())[0]
    assert (line["x_ShardId"], line["x_Lane"], line["x_RowSignature"]) == ('a,"b"', "offline/0,1", "x\r\ny")
    assert line["x_OwnerName"] == "100 % sure, %s" and line["x_PriceBookDigest"] == book().digest


@pytest.mark.parametrize("cell", ["plain", 'a "quote"', "a, comma", "two\r\nlines", "", "a;b|c\td"])
def test_cells_are_read_back(cell: str) -> None:
    for delimiter in ",;|\t":
        (read,) = csv.reader(io.StringIO(csv_line([cell, "next"], delimiter), newline=""), delimiter=delimiter)
        assert read == [cell, "next"]


FORMULA = '=HYPERLINK("http://example.net","bill")'


def test_what_a_spreadsheet_would_take_for_a_formula_is_text() -> None:
    """A job's author writes the billing key, and whoever holds a Mac what its rows say."""
    prices = book(lessor(minimumCharge={"per": "Row", "hours": 30}))
    odd = row(billing_key=FORMULA, owner_name=f"{FORMULA},x", owner_namespace="@a", lane="-1", chain_id="+c")
    usage, minimum = records(one_mac(odd, facts=(facts(until="2026-11-01T00:00:00Z"),)), prices)
    for line in (usage, minimum):
        assert (line["x_BillingKey"], line["x_OwnerName"]) == (f"'{FORMULA}", f"'{FORMULA},x")
        assert (line["SubAccountId"], line["x_Lane"], line["x_RowId"]) == ("'@a", "'-1", "'+c#0")
        assert line["x_RowSignature"] == odd.signature
