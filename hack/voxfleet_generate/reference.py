"""Generates docs/reference/*.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from voxfleet_api import API_VERSION
from voxfleet_api.base import DURATION_PATTERN
from voxfleet_api.failure_texts import TEXTS
from voxfleet_api.failures import RULES, FailureClass, Remedy
from voxfleet_api.kinds import Resource
from voxfleet_generate.structural import Schema, kind_schema

HEADER = "<!-- Generated from crds/voxfleet_api by `make generate`; do not edit. -->\n"

RETRIED = {
    Remedy.NOTHING: "no",
    Remedy.RETRY: "yes, after a pause",
    Remedy.OTHER_MAC: "yes, on another Mac if there is one",
}


def api_page(kinds: tuple[type[Resource], ...]) -> str:
    sections = [
        f"{HEADER}\n# The API: `{API_VERSION}`\n",
        "One section a kind. A field marked with `*` is required; a field that is not listed does not exist, and the"
        " API server refuses it. Kinds: "
        + ", ".join(f"[{kind.crd.kind}](#{kind.crd.kind.lower()})" for kind in kinds)
        + ".\n",
        *(_kind_section(kind) for kind in kinds),
    ]
    return "\n".join(sections)


def failures_page() -> str:
    rows = [
        f"| `{name}` | {text.means} | {'yes' if rule.quarantines else 'no'} | {RETRIED[rule.remedy]} | {text.to_do} |"
        for name, rule, text in ((name, RULES[name], TEXTS[name]) for name in FailureClass)
    ]
    return (
        f"{HEADER}\n# Failure classes\n\n"
        "Every failure of a clip, a shard or an attempt has one of these classes, and no other.\n"
        "*Quarantined* says what becomes of a clip with this class; otherwise it counts as failed.\n"
        "One failed clip makes its job Failed (reason `ClipsFailed`); quarantined clips do so only beyond the limits\n"
        "of the contract (reason `QuarantineLimitExceeded`).\n\n"
        "| class | what it means | clip quarantined? | retried? | what to do |\n|---|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )


def _kind_section(kind: type[Resource]) -> str:
    facts, schema = kind.crd, kind_schema(kind)
    short_names = ", ".join(f"`{name}`" for name in facts.short_names)
    scope = "namespace" if facts.scope == "Namespaced" else "cluster"
    lines = [
        f"## {facts.kind}\n",
        f"{schema['description']}\n",
        f"`kubectl get {facts.plural}` (short: {short_names}; scope: {scope})\n",
    ]
    for part in ("spec", "status"):
        lines.append(f"### {facts.kind} {part}\n")
        lines.append("| field | type | default | meaning |\n|---|---|---|---|")
        lines.extend(_rows(schema["properties"][part], part))
        lines.append("")
    rules = [*schema.get("x-kubernetes-validations", ()), *_rules(schema["properties"]["spec"])]
    if rules:
        lines.append("Refused by the API server:\n")
        lines.extend(f"- {rule['message']}" for rule in _unique(rules))
        lines.append("")
    return "\n".join(lines)


def _rows(node: Schema, path: str) -> Iterator[str]:
    for name, child in node.get("properties", {}).items():
        mark = "\\*" if name in node.get("required", ()) else ""
        default = f"`{_brief(child['default'])}`" if "default" in child else ""
        yield f"| `{path}.{name}`{mark} | {_type(child)} | {default} | {_cell(child['description'])} |"
        inner = child.get("items", child)
        yield from _rows(inner, f"{path}.{name}[]" if inner is not child else f"{path}.{name}")


def _type(node: Schema) -> str:
    if node.get("x-kubernetes-int-or-string"):
        return "quantity"
    if node.get("pattern") == DURATION_PATTERN:
        advice: str = node["x-kubernetes-validations"][0]["message"]
        return advice.removeprefix("write a ")
    if "enum" in node:
        return " \\| ".join(f"`{value}`" for value in node["enum"])
    if node["type"] == "array":
        return f"list of {_type(node['items'])}, at most {node['maxItems']}"
    if "additionalProperties" in node:
        return f"map of {_type(node['additionalProperties'])}, at most {node['maxProperties']}"
    if node["type"] == "integer":
        bounds = [f"{sign} {node[bound]}" for bound, sign in (("minimum", "≥"), ("maximum", "≤")) if bound in node]
        return " ".join(["integer", *bounds])
    return str(node["type"])


def _rules(node: Schema) -> Iterator[dict[str, str]]:
    """Yields the rules of the node and of the objects and lists below it; those of scalars stand with their types."""
    if node.get("type") in ("object", "array"):
        yield from node.get("x-kubernetes-validations", ())
    for child in node.get("properties", {}).values():
        yield from _rules(child)
    if "items" in node:
        yield from _rules(node["items"])


def _unique(rules: list[dict[str, str]]) -> list[dict[str, str]]:
    return list({rule["message"]: rule for rule in rules}.values())


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_brief(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_brief(item) for item in value) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
