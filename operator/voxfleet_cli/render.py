"""Prints plain data as text for people, JSON or YAML."""

from __future__ import annotations

import json
import re
from enum import StrEnum

import yaml
from rich.console import Console
from rich.text import Text

from voxfleet_api.conditions import Reason
from voxfleet_cli.columns import table
from voxfleet_cli.explainers.explanation import UNSEEN_STATE, Plain
from voxfleet_cli.job_preview.preview import COULD_NOT_RUN, COULD_RUN

_OPENING = ("kind", "namespace", "name", "state", "next", "conditions")
_TITLES = {"failures": "Failed clips", "quarantine": "Quarantined clips"}
_UNSHOWN = ("observedGeneration", "lastTransitionTime")
_GOOD = {Reason.FINISHED, Reason.COMMITTED, Reason.AVAILABLE, Reason.ACCEPTED, Reason.SCHEDULED, COULD_RUN}
_BAD = {Reason.FAILED, UNSEEN_STATE, COULD_NOT_RUN}


class Output(StrEnum):
    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


def document(value: object, output: Output) -> str:
    if output is Output.YAML:
        return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip()
    return json.dumps(value, indent=2, ensure_ascii=False)


def print_explanation(console: Console, plain: Plain) -> None:
    """Prints what `voxfleet why` says, for people."""
    where = f" in namespace {plain['namespace']}" if "namespace" in plain else ""
    state = str(plain["state"])
    style = "bold green" if state in _GOOD else "bold red" if state in _BAD else "bold yellow"
    _line(console, f"{plain['kind']} {plain['name']}{where}: ", (state, style))
    _line(console, "Next: ", (str(plain["next"]), "bold"))
    behind = {key: value for key, value in plain.items() if key not in _OPENING}
    tables = {key: value for key, value in behind.items() if _is_table(value)}
    for key, value in behind.items():
        if key not in tables:
            _line(console, str(value) if key == "rest" else f"{_title(key)}: {_value(value)}")
    for key, value in {"conditions": plain.get("conditions", []), **tables}.items():
        _rows(console, _title(key), value)


def _is_table(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(_pair(*item) for item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _title(key: str) -> str:
    return _TITLES.get(key, re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key).capitalize())


def _rows(console: Console, title: str, items: list[Plain]) -> None:
    if not items:
        return
    # What explains a line is its longest part, and stands last.
    used = sorted(dict.fromkeys(column for item in items for column in item if column not in _UNSHOWN), key=_is_text)
    console.print()
    _line(console, "", (title, "bold"))
    text = table(
        [column.upper() for column in used], [[_cell(item.get(column, "")) for column in used] for item in items]
    )
    _line(console, text)


def _cell(value: object) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def _is_text(column: str) -> bool:
    return column in ("message", "reason")


def _pair(key: str, value: object) -> str:
    if isinstance(value, dict):
        return f"{key} ({_value(value)})"
    return f"{key} ({'; '.join(map(_value, value))})" if isinstance(value, list) else f"{key} {value}"


def _line(console: Console, text: str, *styled: tuple[str, str]) -> None:
    """Prints without wrapping or markup, because names and messages come from the cluster."""
    console.print(Text.assemble(text, *styled), soft_wrap=True)
