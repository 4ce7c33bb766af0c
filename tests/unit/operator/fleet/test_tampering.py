"""Whoever changes, drops, repeats, reorders or cuts off rows is found, and the message names the row."""

from __future__ import annotations

from tests.unit.operator.fleet.tampering import KINDS, trial

TRIALS = 300


def test_each_change_is_found_and_its_row_named() -> None:
    results = [trial(seed) for seed in range(TRIALS)]
    assert [result for result in results if result[1] is not None] == []
    assert {kind for kind, _ in results} == {kind.__name__ for kind in KINDS}
