"""Bill lines against those of a CSV: what differs is found, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxfleet_billing.compared_line import ComparedLine, DifferenceKind, Tolerance
from voxfleet_billing.csv_mapping import CsvMapping, MappingError, load_mapping, their_lines
from voxfleet_billing.line_comparison import LineComparison, TooLarge

COUNT = 20_000


def lines(count: int = COUNT) -> Iterator[ComparedLine]:
    for number in range(count):
        yield ComparedLine(
            f"chain-{number % 50}#{number}", 1000 + number, Decimal(number) / 100, "EUR", number + 2, "m4"
        )


def compared(
    ours: Iterator[ComparedLine],
    theirs: Iterator[ComparedLine],
    tolerance: Tolerance | None = None,
    *,
    once: bool = True,
) -> list[tuple[DifferenceKind, str]]:
    with LineComparison(once=once, tolerance=tolerance or Tolerance()) as comparison:
        comparison.add_ours(ours)
        comparison.add_theirs(theirs)
        return [(difference.kind, difference.key) for difference in comparison.differences()]


def test_equal_lists_have_no_differences_whatever_their_order() -> None:
    shuffled = list(lines())
    random.Random(14).shuffle(shuffled)  # noqa: S311 # an order, no secret
    assert compared(lines(), iter(shuffled)) == []


def test_twenty_planted_differences_are_found_and_nothing_else() -> None:
    theirs = list(lines())
    planted: set[tuple[DifferenceKind, str]] = set()
    for place in range(0, 20 * 997, 997):
        line = theirs[place]
        match place % 6:
            case 0:
                theirs[place] = ComparedLine(line.key, (line.milliseconds or 0) + 1, line.cost, "EUR", line.number)
                planted.add((DifferenceKind.TIME, line.key))
            case 1:
                theirs[place] = ComparedLine(line.key, line.milliseconds, Decimal("0.000000001"), "EUR", line.number)
                planted.add((DifferenceKind.COST, line.key))
            case 2:
                theirs[place] = ComparedLine(f"{line.key}0000", line.milliseconds, line.cost, "EUR", line.number)
                planted |= {(DifferenceKind.MISSING, line.key), (DifferenceKind.UNKNOWN, f"{line.key}0000")}
            case 3:
                theirs.append(line)
                planted.add((DifferenceKind.TWICE, line.key))
            case 4:
                theirs[place] = ComparedLine(line.key, line.milliseconds, line.cost, "USD", line.number)
                planted.add((DifferenceKind.CURRENCY, line.key))
            case 5:
                theirs[place] = ComparedLine(line.key, line.milliseconds, line.cost, "EUR", line.number, "m5")
                planted.add((DifferenceKind.SKU, line.key))
    found = compared(lines(), iter(theirs))
    assert set(found) == planted and len(found) == len(planted) == 23


def test_lines_of_one_key_are_added_up_where_keys_are_sums() -> None:
    ours = [ComparedLine("mac-01 2026-11-20", 1000, Decimal("1.10"), "EUR")] * 3
    theirs = [ComparedLine("mac-01 2026-11-20", 1500, Decimal("1.65"), "EUR")] * 2
    assert compared(iter(ours), iter(theirs), once=False) == []


def test_what_lies_within_the_tolerance_is_no_difference() -> None:
    ours = [ComparedLine("a", 1000, Decimal("1.00"), "EUR"), ComparedLine("b", 1000, Decimal("1.00"), "EUR")]
    theirs = [ComparedLine("a", 1499, Decimal("1.005"), "EUR"), ComparedLine("b", 1501, Decimal("1.00"), "EUR")]
    assert compared(iter(ours), iter(theirs), Tolerance(500, Decimal("0.005"))) == [(DifferenceKind.TIME, "b")]


def test_a_side_that_says_nothing_of_cost_is_not_compared_by_it() -> None:
    ours, theirs = [ComparedLine("a", 1000, None)], [ComparedLine("a", 1000, Decimal("1.00"), "EUR")]
    assert compared(iter(ours), iter(theirs)) == []


def test_an_amount_beyond_all_bills_is_refused() -> None:
    with LineComparison(once=True, tolerance=Tolerance()) as comparison, pytest.raises(TooLarge):
        comparison.add_ours([ComparedLine("a", 1, Decimal("1E12"), "EUR")])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), max_size=12), st.data())
def test_differences_are_those_of_plain_sums(ours: list[tuple[int, int]], data: st.DataObject) -> None:
    theirs = (
        data.draw(st.permutations(ours))
        if data.draw(st.booleans())
        else data.draw(st.lists(st.sampled_from(ours or [(0, 0)])))
    )

    def sums(lines: list[tuple[int, int]]) -> dict[str, int]:
        found: dict[str, int] = {}
        for key, time in lines:
            found[str(key)] = found.get(str(key), 0) + time
        return found

    def made(lines: list[tuple[int, int]]) -> Iterator[ComparedLine]:
        return (ComparedLine(str(key), time, None) for key, time in lines)

    told = {key for _, key in compared(made(ours), made(theirs), once=False)}
    left, right = sums(ours), sums(theirs)
    assert told == {key for key in left.keys() | right.keys() if left.get(key) != right.get(key)}


def test_lines_of_one_key_may_be_in_several_currencies() -> None:
    """In any order, and however many they are."""

    def made(*currencies: str) -> Iterator[ComparedLine]:
        return (ComparedLine("mac-01", 1, Decimal(1), currency) for currency in currencies)

    assert compared(made("EUR", "USD"), made("USD", "EUR"), once=False) == []
    assert compared(made("EUR", "EUR"), made("USD", "EUR"), once=False) == [(DifferenceKind.CURRENCY, "mac-01")]
    with LineComparison(once=False, tolerance=Tolerance()) as comparison:
        comparison.add_theirs(made(*("EUR", "USD") * 500))
        (difference,) = comparison.differences()
    assert difference.currency == "several"


MAPPING = """
columns: {row: Beleg, hours: Stunden, cost: Betrag, currency: Waehrung}
delimiter: ";"
decimalComma: true
tolerance: {milliseconds: 500, cost: "0.01"}
"""


def read(text: str, mapping: CsvMapping) -> list[ComparedLine]:
    return list(their_lines(text.splitlines(keepends=True), mapping))


def test_a_csv_with_other_names_and_a_decimal_comma() -> None:
    text = "Nr;Beleg;Stunden;Betrag;Waehrung\n1;c#1;1,5;1.003,60;EUR\n2;c#2;;0;EUR\n"
    assert read(text, load_mapping(MAPPING)) == [
        ComparedLine("c#1", 5_400_000, Decimal("1003.60"), "EUR", 2),
        ComparedLine("c#2", 0, Decimal(0), "EUR", 3),
    ]


def test_a_csv_by_mac_and_day() -> None:
    mapping = load_mapping(
        "columns: {mac: Host, start: From, seconds: Secs, kind: Kind}\nkey: [mac, day]\ntimeFormat: '%d.%m.%Y %H:%M'\n"
    )
    assert not mapping.once
    text = "Host,From,Secs,Kind\nmac-01,20.11.2026 22:00,60,Usage\nmac-01,20.11.2026 22:00,60,Fixed\n"
    assert read(text, mapping) == [ComparedLine("mac-01 2026-11-20", 60_000, None, "", 2)]


@pytest.mark.parametrize(("key", "sku"), [("row", "m5"), ("mac", None)])
def test_a_sku_is_read_where_lines_are_rows(key: str, sku: str | None) -> None:
    """Lines that are added up may be of several. A line without cells is none; one that is cut short has empty ones."""
    mapping = load_mapping(f"columns: {{row: Row, mac: Mac, seconds: Secs, sku: Sku}}\nkey: [{key}]\n")
    text = "Row,Mac,Secs,Sku\n\na,a,60,m5\na,a\n"
    assert read(text, mapping) == [
        ComparedLine("a", 60_000, None, "", 3, sku),
        ComparedLine("a", 0, None, "", 4, None if sku is None else ""),
    ]


@pytest.mark.parametrize(
    ("mapping", "told"),
    [
        ("columns: {row: A}", "neither a time"),
        ("columns: {row: A, hours: B, seconds: C}", "seconds and hours"),
        ("columns: {hours: B}", "key names row"),
        ("columns: {row: A, hours: B}\nkeys: [row]", "keys"),
        ("columns: {row: A, hours: B}\nkey: [shoe]", "key"),
        ("columns: [", "no YAML"),
        ("columns: {row: 2026-02-30}", "no YAML: day is out of range"),
        ('columns: {row: A, cost: B}\ntolerance: {cost: "x"}', "tolerance.cost"),
    ],
)
def test_a_mapping_that_cannot_be_used_says_why(mapping: str, told: str) -> None:
    with pytest.raises(MappingError, match=told):
        load_mapping(mapping)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Nr;Beleg\n", "has no column Stunden, Betrag, Waehrung; its header is Nr, Beleg"),
        ("Beleg;Stunden;Betrag;Waehrung\nc#1;viel;1;EUR\n", "line 2: 'viel' is no number"),
        ("Beleg;Stunden;Betrag;Waehrung\nc#1;1;NaN;EUR\n", "line 2: 'NaN' is no number"),
        ("Beleg;Stunden;Betrag;Waehrung\nc#1;1E99999;1;EUR\n", "line 2: '1E99999' is more time than a line can have"),
        ("", "has no column"),
    ],
)
def test_a_csv_that_cannot_be_read_says_where(text: str, told: str) -> None:
    with pytest.raises(MappingError, match=told):
        read(text, load_mapping(MAPPING))
