"""Figures: what was measured, what it should be, and how both are shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Goal:
    comparison: Literal[">=", "<="]
    limit: float

    def __str__(self) -> str:
        return f"{self.comparison} {self.limit:g}"

    def holds(self, value: float) -> bool:
        return value >= self.limit if self.comparison == ">=" else value <= self.limit


@dataclass(frozen=True)
class Figure:
    """One measured number. `samples` are the repetitions that `value` is the median of; empty when there was one."""

    name: str
    value: float
    unit: str
    goal: Goal | None = None
    samples: tuple[float, ...] = ()

    @property
    def holds(self) -> bool | None:
        return None if self.goal is None else self.goal.holds(self.value)

    def entry(self, versions: Mapping[str, str]) -> dict[str, object]:
        return {
            "name": self.name,
            "value": round(self.value, 4),
            "unit": self.unit,
            "goal": None if self.goal is None else str(self.goal),
            "holds": self.holds,
            "versions": dict(versions),
        }


def write(path: Path, figures: Sequence[Figure], versions: Mapping[str, str]) -> None:
    """A JSON list with one entry a figure: name, value, unit, goal, holds, versions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([figure.entry(versions) for figure in figures], indent=2) + "\n", encoding="utf-8")


def show(console: Console, figures: Sequence[Figure], versions: Mapping[str, str]) -> None:
    table = Table(title="Benchmark")
    for heading in ("Figure", "Value", "Range", "Unit", "Goal", "Holds"):
        table.add_column(heading, no_wrap=heading != "Unit")
    for figure in figures:
        spread = f"{min(figure.samples):.4g} to {max(figure.samples):.4g}" if figure.samples else ""
        holds = {None: "", True: "yes", False: "NO"}[figure.holds]
        table.add_row(figure.name, f"{figure.value:.4g}", spread, figure.unit, str(figure.goal or ""), holds)
    console.print(table)
    console.print(", ".join(f"{name} {version}" for name, version in versions.items()))
