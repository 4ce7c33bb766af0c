"""A measurement as tables and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from voxfleet_accuracy.heard import Results
from voxfleet_accuracy.measurement import (
    BORDER_SECONDS,
    START_GOAL_SECONDS,
    WORST_POINTS,
    ErrorLine,
    Measurement,
)
from voxfleet_accuracy.takes import Take

_HOLDS = {True: "yes", False: "NO"}
_TEXT_CHARACTERS = 60


def show(console: Console, model: str, measured: Measurement) -> None:
    console.print(_error_table(model, measured))
    if measured.unspoken:
        console.print(_unspoken_table(measured))
    console.print(_times_table(measured))
    for line in measured.times:
        for fault in line.faults[:3]:
            console.print(f"  {line.path}: {fault}", markup=False)
    if measured.borders:
        console.print(_border_table(measured))
    if measured.borders_unknown:
        left_out = f"not compared: {len(measured.borders_unknown)} of {measured.cut_takes} takes: "
        console.print(left_out + "; ".join(measured.borders_unknown), markup=False)
    for what, names in (
        ("Quarantined", measured.false_quarantines),
        ("Warned of as text that nobody spoke", measured.false_warnings),
    ):
        counted = f"{what}: {len(names)} of {measured.spoken_takes} takes in which somebody speaks (goal: 0)"
        console.print(counted + (": " if names else "") + "; ".join(names), markup=False)
    if measured.foreign:
        told = f"In a language that the model does not know: {len(measured.foreign)} takes: "
        console.print(told + "; ".join(measured.foreign), markup=False)


def write(
    path: Path,
    model: str,
    measured: Measurement,
    takes: Sequence[Take],
    results: Results,
    facts: Mapping[str, object],
) -> None:
    """`facts`: what the figures depend on, such as versions. The file that was there stays until all is written."""
    content = {
        "model": model,
        "facts": dict(facts),
        "goals": {"worstPoints": WORST_POINTS, "startSeconds": START_GOAL_SECONDS, "borderSeconds": BORDER_SECONDS},
        "wordErrors": [_error_entry(line) for line in (*measured.lines, *measured.totals)],
        "nothingIsSaid": [{**asdict(line), "holds": line.holds} for line in measured.unspoken],
        "times": [{**asdict(line), "holds": line.holds} for line in measured.times],
        "borders": [{**asdict(line), "holds": line.holds} for line in measured.borders],
        "bordersUnknown": measured.borders_unknown,
        "cutTakes": measured.cut_takes,
        "spokenTakes": measured.spoken_takes,
        "falseQuarantines": measured.false_quarantines,
        "falseWarnings": measured.false_warnings,
        "foreign": measured.foreign,
        "takes": [
            {
                "name": take.name,
                "group": take.group,
                "condition": take.condition,
                "seconds": round(take.seconds, 3),
                "said": take.text,
                "mlxAudio": results[None, take.name].text,
                "product": {
                    str(given): {
                        "text": results[given, take.name].text,
                        "class": results[given, take.name].failure_class,
                        "warnings": results[given, take.name].warnings,
                        "conversions": results[given, take.name].conversions,
                    }
                    for given in take.paths
                },
            }
            for take in takes
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.new")
    aside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    aside.replace(path)


def _error_entry(line: ErrorLine) -> dict[str, object]:
    return {
        **asdict(line),
        "productPercent": round(line.product.percent, 3),
        "upstreamPercent": round(line.upstream.percent, 3),
        "differencePoints": round(line.difference_points, 3),
        "holds": line.holds if line.product.words else None,
    }


def _error_table(model: str, measured: Measurement) -> Table:
    table = _table(
        f"Word error rate of {model}, percent (goal of the totals: at most {WORST_POINTS:g} points above mlx-audio's)",
        "What",
        "Path",
        "Files",
        "Words",
        "Product",
        "mlx-audio",
        "Difference",
        "Holds",
        "Same text",
        "Without text",
    )
    for line in (*measured.lines, *measured.totals):
        known = line.product.words > 0
        table.add_row(
            line.group,
            line.path,
            str(line.takes),
            str(line.product.words) if known else "unknown",
            f"{line.product.percent:.2f}" if known else "",
            f"{line.upstream.percent:.2f}" if known else "",
            f"{line.difference_points:+.2f}" if known else "",
            _HOLDS[line.holds] if known else "",
            f"{line.equal_texts}/{line.takes}",
            ", ".join(f"{count} {name}" for name, count in line.failed.items()),
        )
    return table


def _unspoken_table(measured: Measurement) -> Table:
    table = _table(
        "Where nothing is said (goal: no text without a warning or a class)",
        "Sound",
        "Path",
        "Product's text",
        "It tells",
        "Holds",
        "mlx-audio's text",
    )
    for line in measured.unspoken:
        told = ", ".join(line.told)
        table.add_row(line.name, line.path, _short(line.product), told, _HOLDS[line.holds], _short(line.upstream))
    return table


def _times_table(measured: Measurement) -> Table:
    table = _table(
        "Times, seconds (goal: no fault, all timed,"
        f" p95 of word starts to the known ones, or else to mlx-audio's, at most {START_GOAL_SECONDS:g})",
        "What",
        "Path",
        "Faults",
        "Untimed",
        "Words",
        "p50",
        "p95",
        "Holds",
        "Known starts",
        "p95 of them",
        "mlx-audio's p95",
    )
    for line in measured.times:
        table.add_row(
            line.group,
            line.path,
            str(len(line.faults)),
            str(line.untimed),
            str(line.words),
            f"{line.p50:.3f}",
            f"{line.p95:.3f}",
            _HOLDS[line.holds],
            *(
                (str(line.known_starts), f"{line.p95_known_start:.3f}", f"{line.p95_upstream_known_start:.3f}")
                if line.known_starts
                else ("", "", "")
            ),
        )
    return table


def _border_table(measured: Measurement) -> Table:
    table = _table(
        f"Word errors within {BORDER_SECONDS:g} s of a window's end (goal: no more than mlx-audio's there)",
        "What",
        "Path",
        "Ends",
        "Product",
        "mlx-audio",
        "Holds",
    )
    for line in measured.borders:
        table.add_row(
            line.name, line.path, str(line.borders), str(line.product), str(line.upstream), _HOLDS[line.holds]
        )
    return table


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def _short(text: str) -> str:
    return text if len(text) <= _TEXT_CHARACTERS else f"{text[:_TEXT_CHARACTERS]}…"
