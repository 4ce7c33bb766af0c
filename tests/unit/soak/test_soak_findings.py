"""The soak sees what it looks for: each finding is provoked once."""

from __future__ import annotations

import pytest
from tests.rig.ledger_row import ledger_row
from tests.soak.findings import count_repeated, count_rows, double_billed_seconds

from voxfleet_api.ledger import LedgerRow
from voxfleet_api.rows import ClipStatus, ResultRow


def row(index: int, text: str = "one") -> ResultRow:
    return ResultRow(index=index, custom_id=f"c{index}", status=ClipStatus.SUCCEEDED, text=text)


@pytest.mark.parametrize(
    ("indexes", "lost", "duplicated"), [([0, 1, 2], 0, 0), ([0, 2], 1, 0), ([0, 1, 1, 2], 0, 1), ([0, 1, 2, 3], 0, 1)]
)
def test_rows_are_counted_against_the_clips(indexes: list[int], lost: int, duplicated: int) -> None:
    assert count_rows([row(index) for index in indexes], 3) == (lost, duplicated)


def test_a_recorded_row_that_comes_out_otherwise_was_worked_on_again() -> None:
    recorded = {0: row(0).line(), 1: row(1).line()}
    assert count_repeated(recorded, [row(0), row(1), row(2)]) == 0
    assert count_repeated(recorded, [row(0), row(1, "two")]) == 1
    assert count_repeated(recorded, [row(0)]) == 1


def bill(start: int, end: int, milliseconds: int, lane: str = "offline-0") -> LedgerRow:
    return ledger_row(
        lane=lane,
        wall_start=f"2026-11-20T22:00:{start:02d}.000Z",
        wall_end=f"2026-11-20T22:00:{end:02d}.000Z",
        monotonic_milliseconds=milliseconds,
    )


def test_a_second_that_two_rows_of_a_lane_bill_is_seen() -> None:
    assert double_billed_seconds([bill(0, 10, 10_000), bill(10, 20, 10_000)]) == 0
    assert double_billed_seconds([bill(0, 10, 10_000), bill(8, 18, 10_000)]) > 2 - 0.1
    assert double_billed_seconds([bill(0, 10, 10_000), bill(8, 18, 10_000, "offline-1")]) == 0
    assert double_billed_seconds([bill(0, 10, 12_000)]) == pytest.approx(1.995)
