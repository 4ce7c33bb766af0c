"""What .bench/results.json holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console
from tests.bench.report import Figure, Goal, show, write

VERSIONS = {"python": "3.11.9", "mlx": "0.32.4"}


def test_an_entry_per_figure(tmp_path: Path) -> None:
    figures = [
        Figure("speed", 151.23456, "audio seconds a second", samples=(140.0, 151.23456, 160.0)),
        Figure("ratio", 19.5, "ratio of medians", Goal(">=", 20)),
    ]
    write(tmp_path / "new" / "results.json", figures, VERSIONS)
    assert json.loads((tmp_path / "new" / "results.json").read_text()) == [
        {
            "name": "speed",
            "value": 151.2346,
            "unit": "audio seconds a second",
            "goal": None,
            "holds": None,
            "versions": VERSIONS,
        },
        {
            "name": "ratio",
            "value": 19.5,
            "unit": "ratio of medians",
            "goal": ">= 20",
            "holds": False,
            "versions": VERSIONS,
        },
    ]


@pytest.mark.parametrize(
    ("goal", "value", "holds"),
    [
        (Goal(">=", 20), 20.0, True),
        (Goal(">=", 20), 19.99, False),
        (Goal("<=", 0.05), 0.05, True),
        (Goal("<=", 0.05), 0.051, False),
    ],
)
def test_a_goal_includes_its_limit(goal: Goal, value: float, holds: bool) -> None:
    assert Figure("figure", value, "unit", goal).holds is holds


def test_the_table_shows_spread_and_a_missed_goal() -> None:
    console = Console(width=200, record=True, quiet=False)
    show(console, [Figure("ratio", 0.5, "ratio", Goal(">=", 1), samples=(0.4, 0.5, 0.7))], VERSIONS)
    text = console.export_text()
    assert "0.4 to 0.7" in text and ">= 1" in text and "NO" in text and "mlx 0.32.4" in text
