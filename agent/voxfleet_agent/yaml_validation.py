"""Turns pydantic's errors into lines that name the field and say what to write. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from voxfleet_api.base import DURATION_PATTERN, QUANTITY_PATTERN, SIZE_PATTERN

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Location = tuple[int | str, ...]

_URI_PATTERN = "^(file:///|s3://"
_ADVICE = {
    SIZE_PATTERN: "write a number of bytes such as 200Mi or 20Gi, from 1 to 999999Ti",
    QUANTITY_PATTERN: "write a number of bytes such as 200Mi or 20Gi, from 0 to 999999Ti",
    DURATION_PATTERN: "write a duration such as 30s or 1h30m",
}

_WRITE = {
    "literal_error": "write {expected}",
    "enum": "write {expected}",
    "string_type": "write a text, in quotes where YAML takes it for something else",
    "int_type": "write a whole number",
    "int_from_float": "write a whole number",
    "bool_type": "write true or false",
    "dict_type": "write fields below it",
    "model_type": "write fields below it",
    "model_attributes_type": "write fields below it",
    "list_type": "write a list",
    "tuple_type": "write a list",
    "greater_than_equal": "write {ge} or more",
    "less_than_equal": "write {le} or less",
    "string_too_short": "write at least {min_length} characters",
    "string_too_long": "write at most {max_length} characters",
    "too_short": "write a list of at least {min_length}",
    "too_long": "write a list of at most {max_length}",
}
"""By pydantic's type of an error, what to write, with what that type tells."""


def problems(model: type[BaseModel], errors: Sequence[ErrorDetails]) -> list[str]:
    """One line per error. A list that is too short only because its item is wrong is not reported."""
    locations = [item["loc"] for item in errors]
    return [
        _problem(model, item)
        for item in errors
        if not any(len(inner) > len(item["loc"]) and inner[: len(item["loc"])] == item["loc"] for inner in locations)
    ]


def _problem(model: type[BaseModel], error: ErrorDetails) -> str:
    location, kind = error["loc"], error["type"]
    field = field_name(location)
    owner, info = _look_up(model, location)
    if kind == "extra_forbidden":
        names = aliases(owner) if owner is not None else {}
        return f"{field}: unknown field; {nearest(str(location[-1]), names)}"
    description = f" ({info.description})" if info is not None and info.description else ""
    if kind == "missing":
        return f"{field}: is missing; write it{description}"
    advice = error["msg"].removeprefix("Value error, ")
    if kind in _WRITE:
        advice = _WRITE[kind].format_map(error.get("ctx", {})).replace("'", "")  # pydantic quotes what it expects
    if kind == "string_pattern_mismatch":
        advice = _pattern_advice(error.get("ctx", {}), str(error["input"])) or advice
    return f"{field}: {advice}{description}"


def _pattern_advice(context: Mapping[str, object], text: str) -> str | None:
    """The advice never quotes the text, which may be a clip's address."""
    pattern = str(context.get("pattern"))
    if not pattern.startswith(_URI_PATTERN):
        return _ADVICE.get(pattern)
    schemes = [scheme for scheme in ("file:///", "s3://", "https://") if scheme in pattern]
    ending = " and end it with /" * (pattern.endswith("/$") and not text.endswith("/"))
    if re.match(pattern.partition(")")[0] + ")", text):
        return "end it with /"
    if text.startswith("/"):
        return f"write file:// before the path, such as file:///data/,{ending}".removesuffix(",")
    return f"begin it with {' or '.join(schemes)}, such as file:///data/ or s3://bucket/,{ending}".removesuffix(",")


def field_name(location: Location) -> str:
    """For example `spec.input.channels[2]`; `document` for the whole document."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".") or "document"


def aliases(model: type[BaseModel]) -> dict[str, str]:
    """Maps each field's name on the wire to its attribute."""
    return {info.alias or name: name for name, info in model.model_fields.items()}


def nearest(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"write {close[0]}" if close else f"remove it, or write one of: {', '.join(sorted(known))}"


def _look_up(model: type[BaseModel], location: Location) -> tuple[type[BaseModel] | None, FieldInfo | None]:
    """Returns (the model that should have the last part of the location, the field that this part names)."""
    current: type[BaseModel] | None = model
    info: FieldInfo | None = None
    for number, part in enumerate(location):
        if isinstance(part, int):
            continue
        if current is None:
            return None, None
        name = aliases(current).get(part)
        if name is None:
            return (current, None) if number == len(location) - 1 else (None, None)
        info = current.model_fields[name]
        if number < len(location) - 1:
            current = next(_models(info.annotation), None)
    return current, info


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
