"""Two finished runs side by side. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from voxfleet_agent.local.figures import Figures, figures
from voxfleet_agent.local.words import word_error_percent
from voxfleet_api.results import ResultRow


@dataclass(frozen=True, slots=True)
class Difference:
    """A clip of both runs with another outcome."""

    index: int
    """In the first run."""
    outcome_a: str
    """The row's status, with the failure class if there is one."""
    outcome_b: str
    word_error_percent: float | None
    """Between two transcripts; None when one of the runs has none."""
    text_a: str | None
    text_b: str | None


@dataclass(frozen=True, slots=True)
class Comparison:
    a: Figures
    b: Figures
    wall_a_milliseconds: int | None
    """None: it ran on a fleet, where nobody's watch says."""
    wall_b_milliseconds: int | None
    clips_of_both: int
    only_a: int
    only_b: int
    machines: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
    """Chip and package versions that the runs' rows name differently, by name: (of A, of B)."""
    differences: tuple[Difference, ...]

    @property
    def same(self) -> bool:
        """Whether both runs hold the same clips with the same outcomes."""
        return not (self.differences or self.only_a or self.only_b)


@dataclass(frozen=True, slots=True)
class Pair:
    """One clip, twice."""

    before: ResultRow
    after: ResultRow

    @property
    def same(self) -> bool:
        return _facts_of(self.before) == _facts_of(self.after)


def compare(
    a: Sequence[ResultRow],
    b: Sequence[ResultRow],
    wall_a_milliseconds: int | None = None,
    wall_b_milliseconds: int | None = None,
) -> Comparison:
    """Clips are matched by their id, which is the caller's own and the same whatever the order of the input."""
    rows_a, rows_b = ({row.custom_id: row for row in rows} for rows in (a, b))
    both = sorted(rows_a.keys() & rows_b.keys(), key=lambda name: rows_a[name].index)
    found = (_difference(rows_a[name], rows_b[name]) for name in both)
    return Comparison(
        a=figures(a),
        b=figures(b),
        wall_a_milliseconds=wall_a_milliseconds,
        wall_b_milliseconds=wall_b_milliseconds,
        clips_of_both=len(both),
        only_a=len(rows_a) - len(both),
        only_b=len(rows_b) - len(both),
        machines=_machines(a, b),
        differences=tuple(difference for difference in found if difference is not None),
    )


def _difference(a: ResultRow, b: ResultRow) -> Difference | None:
    if Pair(a, b).same:
        return None
    rate = None if a.text is None or b.text is None else word_error_percent(a.text, b.text)
    return Difference(a.index, outcome(a), outcome(b), rate, a.text, b.text)


def _facts_of(row: ResultRow) -> tuple[object, ...]:
    return outcome(row), row.text, None if row.audio is None else row.audio.sha256


def outcome(row: ResultRow) -> str:
    """Its status, with the failure class if there is one."""
    failure_class = None if row.error is None else row.error.failure_class
    return row.status.value if failure_class is None else f"{row.status.value} ({failure_class})"


def _machines(a: Iterable[ResultRow], b: Iterable[ResultRow]) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    facts_a, facts_b = _facts(a), _facts(b)
    pairs = {
        name: (tuple(sorted(facts_a.get(name, ()))), tuple(sorted(facts_b.get(name, ()))))
        for name in sorted(facts_a.keys() | facts_b.keys())
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _facts(rows: Iterable[ResultRow]) -> Mapping[str, set[str]]:
    facts: dict[str, set[str]] = {}
    for row in rows:
        if row.chip is not None:
            facts.setdefault("chip", set()).add(row.chip)
        for package, version in row.versions.items():
            facts.setdefault(package, set()).add(version)
    return facts
