"""The one HTML file of `bench mac`: no script, nothing fetched from elsewhere, no text or name of a clip. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from voxfleet_agent.finished_runs.row_statistics import row_statistics
from voxfleet_agent.ladder import estimates, knees
from voxfleet_agent.mac_benchmark.measured_model import MeasuredModel, compared_with_upstream
from voxfleet_api.ladder_table import LadderTable

_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:.6em 0}td,th{border:1px solid #bbb;padding:.25em .6em;text-align:left}"
    ".fail{color:#a00;font-weight:bold}.warn{color:#850}"
)


def html_report(
    machine: Mapping[str, str],
    findings: Sequence[tuple[str, str, str, str]],
    models: Sequence[MeasuredModel],
    home: str,
) -> str:
    """`findings`: (health, check, found, mend) of each of the doctor's. `home`: a path that is shown as ~."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><title>voxfleet-agent bench mac</title>',
        f"<style>{_STYLE}</style></head><body>",
        "<h1>voxfleet-agent bench mac</h1>",
        _table((), machine.items()),
        "<h2>Doctor</h2>",
        _table(("", "Check", "Found", "Mend"), findings),
        *(part for model in models for part in _model(model)),
        "</body></html>",
    ]
    report = "\n".join(parts) + "\n"
    return report.replace(escape(home), "~") if len(home) > 1 else report


def _model(model: MeasuredModel) -> list[str]:
    shown = _last_part(model.name)
    parts = [f"<h2>Model {escape(shown)}</h2>"]
    if model.digest is not None:
        parts.append(f"<p>{escape(model.digest)}</p>")
    parts += [f'<p class="warn">{escape(note.replace(model.name, shown))}</p>' for note in model.notes]
    for table in model.ladders:
        parts += ["<h3>Ladder</h3>", _ladder(table), f"<p>{escape(knees.explain(table))}.</p>"]
    if model.rows:
        parts += ["<h3>The agent's run</h3>", _table((), _run(model))]
    if model.upstream.clips:
        parts += ["<h3>Beside mlx-audio's own loop</h3>", _table((), _comparison(model))]
    return parts


def _last_part(model: str) -> str:
    """Of a path or an address; its folders and its server are the owner's."""
    return model.rstrip("/").rpartition("/")[2] or model


def _ladder(table: LadderTable) -> str:
    rows = [(*estimates.figures(tier), "used" if tier.batch_size == table.chosen else "") for tier in table.tiers]
    return _table((*estimates.FIGURE_HEADINGS, ""), rows)


def _run(model: MeasuredModel) -> list[tuple[str, str]]:
    figures = row_statistics(model.rows)
    rows = [
        ("clips", f"{figures.counts.succeeded} of {model.clips} with a result"),
        ("failures", ", ".join(f"{count} {name}" for name, count in figures.classes.items()) or "none"),
        ("warnings", ", ".join(f"{count} {name}" for name, count in figures.warnings.items()) or "none"),
        ("audio seconds", f"{figures.audio_milliseconds / 1000:.1f}"),
        ("audio seconds per second of inference", _number(figures.audio_seconds_per_infer_second)),
        ("wall seconds, of these for the ladder", f"{_number(model.wall_seconds)}, {_number(model.ladder_seconds)}"),
    ]
    rows += [
        (f"{name} p50 and p95, ms", f"{spread.p50:.0f}, {spread.p95:.0f}") for name, spread in figures.spreads.items()
    ]
    return rows


def _comparison(model: MeasuredModel) -> list[tuple[str, str]]:
    loaded = model.upstream.loaded
    found = compared_with_upstream(model.rows, model.upstream.clips)
    errors = f"{100 * found.word_errors / found.words:.2f} %" if found.words else "-"
    return [
        ("clips with a text from both", f"{found.clips}, {found.equal_texts} of them the same words"),
        ("words that differ", f"{found.word_errors} of {found.words}: {errors}"),
        ("a text from the agent alone, from upstream alone", f"{found.only_agent}, {found.only_upstream}"),
        ("audio seconds", f"{found.audio_seconds:.1f}"),
        (
            "seconds of the agent's process without the ladder: start, loading, decoding, inference, writing",
            _number(model.agent_seconds),
        ),
        (
            "seconds of the loop's process: start, loading, decoding, inference",
            _number(model.upstream_process_seconds),
        ),
        ("the loop's process / the agent's; only where both have a text of every clip", _number(model.times_faster)),
        ("both compute in", "-" if loaded is None else "float32" if loaded.widened else "the model's own type"),
        ("seconds: the agent's inference, without decoding", f"{found.agent_infer_seconds:.2f}"),
        ("seconds: generate of the loop, with decoding", f"{found.upstream_generate_seconds:.2f}"),
        ("seconds: the loop's loading", _number(None if loaded is None else loaded.load_seconds)),
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>\n" for row in rows)
    return f"<table>{f'<tr>{head}</tr>' if headings else ''}\n{body}</table>"


def _cell(text: str) -> str:
    style = f' class="{text}"' if text in ("warn", "fail") else ""
    return f"<td{style}>{escape(text)}</td>"
