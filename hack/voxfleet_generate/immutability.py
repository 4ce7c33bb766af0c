"""Generates the CEL rules that keep a frozen spec as it was created. Pure."""

from __future__ import annotations

from typing import Any

from voxfleet_api.base import cel
from voxfleet_api.kinds.resource import FrozenSpec
from voxfleet_generate.not_structural import NotStructural


def immutability_rules(frozen: FrozenSpec, spec: dict[str, Any], path: str) -> list[dict[str, str]]:
    """Returns one rule for each immutable field, so that the refusal names it.

    `spec` is the structural schema. The rules stand on the spec itself, because a rule on an optional field is not
    asked when that field is added or removed. Raises NotStructural: `mutable` names a field that does not exist.
    """
    unknown = sorted(set(frozen.mutable) - spec["properties"].keys())
    if unknown:
        raise NotStructural(f"{path}: FrozenSpec.mutable names {', '.join(unknown)}, which is no field")
    present = {*spec.get("required", ()), *(name for name, field in spec["properties"].items() if "default" in field)}
    return [
        cel(
            _unchanged(name, always_present=name in present),
            f"{name} does not change; {frozen.advice}",
            field_path=f".{name}",
        )
        for name in sorted(spec["properties"])
        if name not in frozen.mutable
    ]


def _unchanged(name: str, *, always_present: bool) -> str:
    same = f"self.{name} == oldSelf.{name}"
    return same if always_present else f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || {same})"
