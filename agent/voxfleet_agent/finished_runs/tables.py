"""Comparisons and reruns as tables for people and JSON for scripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.table import Table

from voxfleet_agent.finished_runs.comparison import (
    Comparison,
    OutcomeDifference,
    RowPair,
    outcome,
    texts_differ,
    what_differs,
)
from voxfleet_agent.finished_runs.repro_check import ReproCheck
from voxfleet_agent.finished_runs.row_statistics import LATENCY, OWN, TIMINGS, RowStatistics, timing
from voxfleet_api.rows import ResultRow

_ABSENT = "-"
_SHOWN = ("fetch", "decode", "wait", "infer")


def comparison_json(comparison: Comparison, *, show_text: bool) -> dict[str, object]:
    return {
        "same": comparison.same,
        "a": _timed_json(comparison.a, comparison.wall_a_milliseconds),
        "b": _timed_json(comparison.b, comparison.wall_b_milliseconds),
        "clips": {"both": comparison.clips_of_both, "onlyA": comparison.only_a, "onlyB": comparison.only_b},
        "settings": {name: {"a": a, "b": b} for name, (a, b) in comparison.settings.items()},
        "machines": {name: {"a": list(a), "b": list(b)} for name, (a, b) in comparison.machines.items()},
        "failedOnly": {"a": comparison.failed_only_a, "b": comparison.failed_only_b},
        "differences": [_difference_json(difference, show_text) for difference in comparison.differences],
    }


def _timed_json(statistics: RowStatistics, wall_milliseconds: int | None) -> dict[str, object]:
    if wall_milliseconds is None:
        return statistics_json(statistics)
    rate = _rate(statistics, wall_milliseconds)
    return {
        **statistics_json(statistics),
        "wallSeconds": wall_milliseconds / 1000,
        "audioSecondsPerSecond": _rounded(rate),
    }


def _rate(statistics: RowStatistics, wall_milliseconds: int | None) -> float | None:
    return statistics.audio_milliseconds / wall_milliseconds if wall_milliseconds else None


def _difference_json(difference: OutcomeDifference, show_text: bool) -> dict[str, object]:
    shown: dict[str, object] = {
        "index": difference.index,
        "id": difference.custom_id,
        "a": difference.outcome_a,
        "b": difference.outcome_b,
        "what": difference.what,
    }
    if difference.word_error_percent is not None:
        shown["wordErrorPercent"] = round(difference.word_error_percent, 2)
    if show_text:
        shown |= {"textA": difference.text_a, "textB": difference.text_b}
    return shown


def statistics_json(statistics: RowStatistics) -> dict[str, object]:
    return {
        "counts": statistics.counts.model_dump(by_alias=True),
        "classes": statistics.classes,
        "warnings": statistics.warnings,
        "audioSeconds": statistics.audio_milliseconds / 1000,
        "inferSeconds": statistics.infer_milliseconds / 1000,
        "audioSecondsPerInferSecond": _rounded(statistics.audio_seconds_per_infer_second),
        "realTimeFactor": _rounded(statistics.real_time_factor, 5),
        "milliseconds": {name: spread.dump() for name, spread in statistics.spreads.items()},
    }


def comparison_tables(comparison: Comparison, *, show_text: bool) -> list[Table]:
    tables = [_statistics_table(comparison)]
    if comparison.settings:
        settings = Table("Field", "A", "B", title="What the runs were told differently")
        for name, values in comparison.settings.items():
            settings.add_row(name, *(_ABSENT if value is None else value for value in values))
        tables.append(settings)
    if comparison.machines:
        machines = Table("", "A", "B", title="Machines that differ")
        for name, (a, b) in comparison.machines.items():
            machines.add_row(name, ", ".join(a) or _ABSENT, ", ".join(b) or _ABSENT)
        tables.append(machines)
    if comparison.differences:
        headings = ["Index", "Id", "A", "B", "Word errors", "What differs"] + (
            ["Text of A", "Text of B"] if show_text else []
        )
        differences = Table(*headings, title="Clips with another outcome")
        for difference in comparison.differences:
            rate = difference.word_error_percent
            cells = [str(difference.index), difference.custom_id, difference.outcome_a, difference.outcome_b]
            cells += [_ABSENT if rate is None else f"{rate:.1f} %", difference.what]
            differences.add_row(*cells, *([difference.text_a or "", difference.text_b or ""] if show_text else []))
        tables.append(differences)
    return tables


def failed_only_lines(comparison: Comparison) -> list[str]:
    """Says which failures only one of the runs had."""
    sides = (("A", "B", comparison.failed_only_a), ("B", "A", comparison.failed_only_b))
    return [
        f"without a result in {name} alone, {other} has one: "
        + ", ".join(f"{count} {failure}" for failure, count in classes.items())
        for name, other, classes in sides
        if classes
    ]


def _statistics_table(comparison: Comparison) -> Table:
    table = Table("", "A", "B", "B / A", title="Two runs")
    for column in table.columns[1:]:
        column.justify = "right"

    def add(name: str, a: float | None, b: float | None, digits: int = 0) -> None:
        ratio = f"{b / a:.2f}" if a and b is not None else _ABSENT
        table.add_row(name, *(_ABSENT if value is None else f"{value:.{digits}f}" for value in (a, b)), ratio)

    def add_of(name: str, read: Callable[[RowStatistics], float | None], digits: int = 0) -> None:
        add(name, read(comparison.a), read(comparison.b), digits)

    walls = (comparison.wall_a_milliseconds, comparison.wall_b_milliseconds)
    add_of("clips with a result", lambda run: run.counts.succeeded)
    add_of("quarantined", lambda run: run.counts.quarantined)
    add_of("failed", lambda run: run.counts.failed)
    add_of("not run", lambda run: run.counts.not_run)
    add_of("audio seconds", lambda run: run.audio_milliseconds / 1000, 1)
    seconds_a, seconds_b = (None if wall is None else wall / 1000 for wall in walls)
    add("wall seconds", seconds_a, seconds_b, 1)
    add("audio seconds per second", _rate(comparison.a, walls[0]), _rate(comparison.b, walls[1]), 1)
    add_of("audio seconds per second of inference", lambda run: run.audio_seconds_per_infer_second, 1)
    add_of("real-time factor", lambda run: run.real_time_factor, 5)
    for name in (OWN, LATENCY, *TIMINGS):
        for part in ("p50", "p95"):
            add(f"{name} {part} ms", _of(comparison.a, name, part), _of(comparison.b, name, part))
    return table


def _of(run: RowStatistics, name: str, part: str) -> float | None:
    spread = run.spreads.get(name)
    return None if spread is None else float(getattr(spread, part))


def _rounded(value: float | None, digits: int = 2) -> float | None:
    return None if value is None else round(value, digits)


def pairs_json(pairs: Sequence[RowPair], *, show_text: bool) -> list[dict[str, object]]:
    return [_pair_json(pair, show_text) for pair in pairs]


def _pair_json(pair: RowPair, show_text: bool) -> dict[str, object]:
    shown: dict[str, object] = {
        "index": pair.before.index,
        "id": pair.before.custom_id,
        "same": pair.same,
        "class": pair.failure_class,
        "audioSeconds": pair.before.audio_milliseconds / 1000,
        "before": _row_json(pair.before, show_text),
        "after": _row_json(pair.after, show_text),
    }
    texts = texts_differ(pair.before, pair.after)
    if texts is not None and texts.word_error_percent is not None:
        shown["wordErrorPercent"] = round(texts.word_error_percent, 2)
    if not pair.same:
        shown["what"] = what_differs(pair.before, pair.after, texts)
    return shown


def _row_json(row: ResultRow, show_text: bool) -> dict[str, object]:
    shown: dict[str, object] = {"outcome": outcome(row), "batchSize": row.batch_size}
    if row.timings is not None:
        shown["milliseconds"] = {name: timing(row.timings, name) for name in (*TIMINGS, OWN, LATENCY)}
    return shown | ({"text": row.text} if show_text else {})


def pairs_table(pairs: Sequence[RowPair], *, show_text: bool) -> Table:
    table = Table("Index", "Id", title="Clips that ran again: milliseconds then > now")
    for heading in ("Audio s", *(name.capitalize() for name in _SHOWN), "Batch"):
        table.add_column(heading, justify="right")
    for heading in ("Same", *(("Text then", "Text now") if show_text else ())):
        table.add_column(heading)
    for pair in pairs:
        before, after = pair.before, pair.after
        cells = [str(before.index), before.custom_id, f"{before.audio_milliseconds / 1000:.1f}"]
        cells += [f"{_timing(before, name)} > {_timing(after, name)}" for name in _SHOWN]
        cells += [f"{before.batch_size or _ABSENT} > {after.batch_size or _ABSENT}", _outcome_cell(pair)]
        table.add_row(*cells, *([before.text or "", after.text or ""] if show_text else []))
    return table


def _timing(row: ResultRow, name: str) -> str:
    return _ABSENT if row.timings is None else str(timing(row.timings, name))


def _outcome_cell(pair: RowPair) -> str:
    if pair.same:
        return "yes"
    if pair.after.error is not None or pair.before.error is not None:
        return f"{outcome(pair.before)} -> {outcome(pair.after)}"
    return f"{pair.failure_class}: {what_differs(pair.before, pair.after, texts_differ(pair.before, pair.after))}"


def verification_json(check: ReproCheck, *, show_text: bool) -> dict[str, object]:
    return {
        "same": check.same,
        "files": list(check.files),
        "model": list(check.model),
        "versions": [
            {"name": difference.name, "there": list(difference.there), "here": difference.here}
            for difference in check.versions
        ],
        "notVerified": check.not_verified,
        "clips": pairs_json(check.pairs, show_text=show_text),
    }


def verification_tables(check: ReproCheck, *, show_text: bool) -> list[Table | str]:
    shown: list[Table | str] = [f"error: {problem}" for problem in check.files]
    shown += [f"error: model: {problem}" for problem in check.model]
    shown += [
        f"warning: {difference.name} is {difference.here} here, {', '.join(difference.there) or 'missing'} there"
        for difference in check.versions
    ]
    if check.pairs:
        shown.append(pairs_table(check.pairs, show_text=show_text))
    differing = sum(not pair.same for pair in check.pairs)
    verdict = "same" if check.same else "DIFFERENT"
    if check.same and check.not_verified is not None:
        verdict = "NOT VERIFIED"
    shown.append(
        f"{verdict}: {_count(len(check.files), 'file')} and {_count(len(check.model), 'model file')} differ,"
        f" {_count(len(check.pairs), 'clip')} run again, {differing} differ{'s' * (differing == 1)}"
    )
    if check.not_verified is not None:
        shown.append(check.not_verified)
    return shown


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
