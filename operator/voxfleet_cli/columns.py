"""Tables with the columns that the CRDs give kubectl. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from voxfleet_api.kinds import Resource
from voxfleet_api.kinds.resource import PrinterColumn

_ITEM = re.compile(r'([\w.]+)\[\?\(@\.(\w+)=="(\w+)"\)\]\.(\w+)')


def header(kind: type[Resource], *, wide: bool, namespaced: bool) -> list[str]:
    names = ["NAME", *(column.name.upper() for column in shown(kind, wide=wide))]
    return ["NAMESPACE", *names] if namespaced else names


def row(resource: Resource, now: datetime, *, wide: bool, namespaced: bool) -> list[str]:
    plain = resource.dump()
    cells = [resource.metadata.name, *(cell(plain, column, now) for column in shown(type(resource), wide=wide))]
    return [resource.metadata.namespace, *cells] if namespaced else cells


def shown(kind: type[Resource], *, wide: bool) -> Sequence[PrinterColumn]:
    return [column for column in kind.crd.columns if wide or column.priority == 0]


def cell(plain: dict[str, object], column: PrinterColumn, now: datetime) -> str:
    value = look_up(plain, column.json_path)
    if value is None or value == "":
        return ""
    if column.type == "date":
        return age(now - datetime.fromisoformat(str(value)))
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return str(value)


def look_up(plain: dict[str, object], json_path: str) -> object:
    """The value at a path of a kind that the CRDs use.

    That is: fields, a field of the first list item with some value, the item of a list at a number, or a field of all
    items of a list.
    """
    path, every, rest = json_path.partition("[*].")
    if every:
        items = look_up(plain, path)
        return [look_up(item, rest) for item in _maps(items)]
    match = _ITEM.fullmatch(json_path)
    if match:
        found = (item for item in _maps(look_up(plain, match[1])) if item.get(match[2]) == match[3])
        return next((item.get(match[4]) for item in found), None)
    value: object = plain
    for part in json_path.strip(".").split("."):
        name, _, number = part.rstrip("]").partition("[")
        if not isinstance(value, dict):
            return None
        value = value.get(name)
        if number:
            value = value[int(number)] if isinstance(value, list) and int(number) < len(value) else None
    return value


def age(passed: timedelta) -> str:
    """A duration as kubectl writes it: 45s, 12m, 7h, 3d."""
    seconds = max(0, int(passed.total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * length or (unit == "d" and seconds >= length):
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Aligns columns three spaces apart, without trailing blanks."""
    lines = [list(head), *(list(each) for each in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(head))]
    return "\n".join(
        "   ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _maps(value: object) -> list[dict[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
