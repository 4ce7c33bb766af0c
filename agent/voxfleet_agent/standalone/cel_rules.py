"""Checks what the API server checks besides types: the CEL rules and list keys that the kinds declare. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING

from voxfleet_api.base import ApiModel

if TYPE_CHECKING:
    import cel

RULES = "x-kubernetes-validations"
LIST_TYPE = "x-kubernetes-list-type"
LIST_KEYS = "x-kubernetes-list-map-keys"
_TRANSITION = "oldSelf"


def violations(value: ApiModel, field: str) -> list[str]:
    """Returns `<field>: <what to write instead>` for each rule that an object breaks; skips rules about changes.

    `field`: the object's own field, such as `spec`.
    """
    return list(_violations(value, field))


def _violations(value: ApiModel, field: str) -> Iterator[str]:
    plain = value.dump()
    yield from _broken(value.model_config.get("json_schema_extra"), plain, field)
    for name, info in type(value).model_fields.items():
        member, inner = getattr(value, name), f"{field}.{info.alias or name}"
        if isinstance(info.json_schema_extra, dict):
            if plain.get(info.alias or name) is not None:
                yield from _broken(info.json_schema_extra, plain[info.alias or name], inner)
            yield from _repeated(info.json_schema_extra, plain.get(info.alias or name), inner)
        if isinstance(member, ApiModel):
            yield from _violations(member, inner)
        elif isinstance(member, tuple):
            for number, item in enumerate(member):
                if isinstance(item, ApiModel):
                    yield from _violations(item, f"{inner}[{number}]")


def _broken(extra: object, plain: object, field: str) -> Iterator[str]:
    for rule in _rules(extra):
        if not _holds(rule["rule"], plain):
            yield f"{field}{rule.get('fieldPath', '')}: {rule['message']}"


def _rules(extra: object) -> list[dict[str, str]]:
    rules = extra.get(RULES, []) if isinstance(extra, dict) else []
    return [rule for rule in rules if _TRANSITION not in rule["rule"]]


def _holds(rule: str, plain: object) -> bool:
    return bool(_program(rule).execute({"self": plain}))


@cache
def _program(rule: str) -> cel.Program:
    import cel  # slow to import: it loads a shell

    return cel.compile(rule)


def _repeated(extra: Mapping[str, object], items: object, field: str) -> Iterator[str]:
    if not isinstance(items, list):
        return
    keys = extra.get(LIST_KEYS)
    seen: dict[object, int] = {}
    for number, item in enumerate(items):
        if extra.get(LIST_TYPE) == "map" and isinstance(keys, list) and isinstance(item, dict):
            key: object = tuple(item.get(name) for name in keys)
            what = ", ".join(f"{name} {item.get(name)}" for name in keys)
        elif extra.get(LIST_TYPE) == "set":
            key, what = item, f"{item}"
        else:
            return
        if key in seen:
            yield f"{field}[{number}]: {what} stands already at [{seen[key]}]; write it once"
        seen.setdefault(key, number)
