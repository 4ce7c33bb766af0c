"""Prints plain data as text for people, JSON or YAML."""

from __future__ import annotations

import json
from enum import StrEnum

import yaml
from rich.console import Console
from rich.text import Text

from voxfleet_api.conditions import Reason
from voxfleet_cli.columns import table
from voxfleet_cli.explainers.explanation import UNSEEN_STATE, Plain

_GOOD = {Reason.FINISHED, Reason.COMMITTED, Reason.AVAILABLE, Reason.ACCEPTED}
_BAD = {Reason.FAILED, UNSEEN_STATE}


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
    for label in ("job", "stage", "indexes", "digest", "pending", "input", "results"):
        if label in plain:
            _line(console, f"{label.capitalize()}: {plain[label]}")
    for label in ("clips", "usage", "machine"):
        if label in plain:
            _line(console, f"{label.capitalize()}: " + ", ".join(_pair(*item) for item in plain[label].items()))
    _rows(console, "Conditions", plain.get("conditions", []), ("type", "status", "reason", "message"))
    _rows(console, "Failed clips", plain.get("failures", []), ("index", "id", "class", "reason"))
    _rows(console, "Quarantined clips", plain.get("quarantine", []), ("index", "id", "class", "reason"))
    if "rest" in plain:
        _line(console, str(plain["rest"]))
    columns = ("shard", "attempt", "mac", "outcome", "class", "machineSeconds", "usage", "message")
    _rows(console, "Attempts", plain.get("attempts", []), columns)


def _rows(console: Console, title: str, items: list[Plain], columns: tuple[str, ...]) -> None:
    if not items:
        return
    used = [column for column in columns if any(column in item for item in items)]
    console.print()
    _line(console, "", (title, "bold"))
    text = table(
        [column.upper() for column in used], [[str(item.get(column, "")) for column in used] for item in items]
    )
    _line(console, text)


def _pair(key: str, value: object) -> str:
    if isinstance(value, dict):
        return f"{key} ({', '.join(_pair(*item) for item in value.items())})"
    return f"{key} {value}"


def _line(console: Console, text: str, *styled: tuple[str, str]) -> None:
    """Prints without wrapping or markup, because names and messages come from the cluster."""
    console.print(Text.assemble(text, *styled), soft_wrap=True)
