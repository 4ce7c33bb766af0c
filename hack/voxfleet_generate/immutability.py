"""Generates the CEL rules that keep a frozen spec as it was created. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from voxfleet_api.base import cel
from voxfleet_api.kinds.resource import FrozenSpec
from voxfleet_generate.not_structural import NotStructural

Schema = dict[str, Any]


def immutability_rules(frozen: FrozenSpec, spec: Schema, path: str) -> list[dict[str, str]]:
    """Returns one rule for each immutable field, so that the refusal names it.

    `spec` is the structural schema. The rules stand on the spec itself, because a rule on an optional field is not
    asked when that field is added or removed. Raises NotStructural: `mutable` names a field that does not exist.
    """
    unknown = sorted(set(frozen.mutable) - spec["properties"].keys())
    if unknown:
        raise NotStructural(f"{path}: FrozenSpec.mutable names {', '.join(unknown)}, which is no field")
    present = _always_present(spec)
    return [
        cel(
            " && ".join(
                [
                    _unchanged(name, always_present=name in present),
                    *_orders_unchanged(field, name, (() if name in present else (name,)), f"{path}.{name}"),
                ]
            ),
            f"{name} does not change; {frozen.advice}",
            field_path=f".{name}",
        )
        for name, field in sorted(spec["properties"].items())
        if name not in frozen.mutable
    ]


def _unchanged(name: str, *, always_present: bool) -> str:
    same = f"self.{name} == oldSelf.{name}"
    return same if always_present else f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || {same})"


def _always_present(node: Schema) -> set[str]:
    return {*node.get("required", ()), *(name for name, field in node["properties"].items() if "default" in field)}


def _orders_unchanged(node: Schema, field: str, optional: tuple[str, ...], path: str) -> Iterator[str]:
    """Yields what `==` leaves out: it compares `map` and `set` lists in any order, and digests do not.

    `field` is the node's path below the spec, and `optional` are the parts of it that may be absent (whether they are
    is compared already). Raises NotStructural for a list whose order no short rule can compare.
    """
    match node.get("x-kubernetes-list-type"):
        case "map":
            (key,) = node["x-kubernetes-list-map-keys"]
            absent = "".join(f"!has(self.{part}) || " for part in optional)
            keys = f"{field}.map(x, x.{key})"
            yield f"({absent}self.{keys} == oldSelf.{keys})"
        case "set":
            raise NotStructural(f"{path}: a set of a frozen spec may be reordered; write list_unique()")
    if "items" in node:
        inner = [*_orders_unchanged(node["items"], field, optional, f"{path}[]")]
        if inner:
            raise NotStructural(f"{path}: a map list inside a list of a frozen spec may be reordered; make it atomic")
    present = _always_present(node) if "properties" in node else set()
    for name, child in node.get("properties", {}).items():
        at = f"{field}.{name}"
        yield from _orders_unchanged(child, at, optional if name in present else (*optional, at), f"{path}.{name}")
