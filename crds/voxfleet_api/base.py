"""The base classes of all messages, and the annotations that carry CRD markers.

Messages are strict in two degrees. Those that decide how audio is treated or what is paid (specs, contracts, attempt
specs) refuse unknown fields; envelopes and status ignore them, so that either side may be newer. For the same reason
their enums are open: `open_enum`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic_core import from_json

JSON_FORM = object()
"""The context in which what is parsed is a message's JSON form, and not the arguments of a constructor."""


class ApiModel(BaseModel):
    """A frozen message with camelCase names on the wire."""

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        use_enum_values=False,
    )

    def dump(self) -> dict[str, Any]:
        """Returns the JSON form: camelCase, without absent fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @classmethod
    def load(cls, data: object) -> Self:
        """Parses a JSON form; raises pydantic.ValidationError naming each wrong field."""
        return cls.model_validate(data, context=JSON_FORM)

    @classmethod
    def load_json(cls, content: bytes | str) -> Self:
        """Like `load`, of a JSON text; raises pydantic.ValidationError also for what is none."""
        try:
            data = from_json(content)
        except ValueError:
            return cls.model_validate_json(content)
        return cls.load(data)


class SpecModel(ApiModel):
    """A message in which an unknown field is an error."""

    model_config = ConfigDict(extra="forbid")


class StatusModel(ApiModel):
    """A message in which an unknown field is ignored."""

    model_config = ConfigDict(extra="ignore")


def cel(rule: str, message: str, *, field_path: str | None = None) -> dict[str, str]:
    """Returns one CEL validation of a CRD; `message` says what to write instead."""
    validation = {"rule": rule, "message": message}
    if field_path is not None:
        validation["fieldPath"] = field_path
    return validation


def validations(*rules: dict[str, str]) -> dict[str, Any]:
    """Returns class-level schema markers: CEL rules on the object itself."""
    return {"x-kubernetes-validations": list(rules)}


def list_set(*rules: dict[str, str]) -> dict[str, Any]:
    return {"x-kubernetes-list-type": "set", **(validations(*rules) if rules else {})}


def list_map(*keys: str) -> dict[str, Any]:
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def list_atomic(*rules: dict[str, str]) -> dict[str, Any]:
    return {"x-kubernetes-list-type": "atomic", **(validations(*rules) if rules else {})}


def list_unique() -> dict[str, Any]:
    """A set whose order counts: CEL compares `set` and `map` lists without it, so a frozen field is neither."""
    return list_atomic(cel("self.all(x, self.exists_one(y, x == y))", "write each value once"))


NOT_FILLED_IN: dict[str, Any] = {"x-not-filled-in": True}
"""Marks a field whose default stays out of the CRD: where nobody writes the field, the API server adds nothing.

Every field of a spec that has a default and is newer than a released version needs it. The API server fills defaults in
whenever an object is read, and an operator or command that does not know the field could then read no object at all.
"""


def open_enum(known: type[StrEnum]) -> AfterValidator:
    """Marks a text of a status or an envelope as an open enum.

    A value of `known` becomes its member, so that `is` works; another value stays the text that it is. Stands behind
    OPEN_VALUE, which bounds the text and would make a text of the member again.
    """
    members = {member.value: member for member in known}
    return AfterValidator(lambda text: members.get(text, text))


OPEN_VALUE_PATTERN = r"^[A-Z][A-Za-z0-9]*$"
"""CamelCase, as the reason of a condition: whatever a status or an envelope holds can become one."""
OPEN_VALUE = Field(max_length=64, pattern=OPEN_VALUE_PATTERN)

DURATION_PATTERN = r"^([0-9]{1,8}(ms|s|m|h)){1,4}$"
QUANTITY_PATTERN = (
    r"^(0(Ki|k|Mi|M|Gi|G|Ti|T)?|[1-9]([0-9]{0,14}(Ki|k)?|[0-9]{0,11}(Mi|M)|[0-9]{0,8}(Gi|G)|[0-9]{0,5}(Ti|T)))$"
)
SIZE_PATTERN = r"^[1-9]([0-9]{0,14}(Ki|k)?|[0-9]{0,11}(Mi|M)|[0-9]{0,8}(Gi|G)|[0-9]{0,5}(Ti|T))$"
MAX_SIZE_BYTES = 999_999 * 2**40
"""The largest Size and Quantity. It leaves room in 64 bits, where sizes are added up and stored."""

Duration = Annotated[str, Field(max_length=32, pattern=DURATION_PATTERN)]
"""A Go duration without fractions or signs, such as `100ms`, `10m` or `1h30m`. In a spec it needs `between`."""


def between(shortest: str, longest: str) -> dict[str, Any]:
    """Returns the schema markers of a Duration in a spec: the bounds that the API server checks."""
    return validations(
        cel(
            f"duration(self) >= duration('{shortest}') && duration(self) <= duration('{longest}')",
            f"write a duration from {shortest} to {longest}",
        )
    )


Quantity = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if isinstance(value, int) else value),
    Field(
        max_length=32,
        pattern=QUANTITY_PATTERN,
        json_schema_extra={"x-kubernetes-int-or-string": True, "pattern": QUANTITY_PATTERN, "maximum": 10**15 - 1},
    ),
]
"""A byte count from 0 to MAX_SIZE_BYTES, such as `200Mi` or 1048576."""

Size = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if isinstance(value, int) else value),
    Field(
        max_length=32,
        pattern=SIZE_PATTERN,
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "pattern": SIZE_PATTERN,
            "minimum": 1,
            "maximum": 10**15 - 1,
        },
    ),
]
"""A byte count from 1 to MAX_SIZE_BYTES."""

Digest = Annotated[str, Field(max_length=71, pattern=r"^sha256:[0-9a-f]{64}$")]
Sha256Hex = Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
Uid = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9-]+$")]
TimeZoneName = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9][A-Za-z0-9_+-]*)*$")
]
"""A name of the IANA database, such as `Europe/Berlin`. Whether it exists is checked where it is used."""
Ranges = Annotated[str, Field(max_length=4096, pattern=r"^$|^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$")]
"""Clip indexes such as `0-3,7`."""
ChosenClips = Annotated[
    str, Field(min_length=1, max_length=4096, pattern=r"^[0-9]{1,7}(-[0-9]{1,7})?(,[0-9]{1,7}(-[0-9]{1,7})?)*$")
]
"""Clip indexes that a user chose, at least one. Whether they ascend is checked where they are used."""
Uri = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^(file:///|s3://[a-z0-9]|https://[a-z0-9])")]
"""An absolute object address: `file:///folder/name`, `s3://bucket/name` or `https://host/name`."""
Timestamp = Annotated[str, Field(max_length=32, json_schema_extra={"format": "date-time"})]
"""RFC 3339 in UTC, such as `2026-11-20T22:00:00Z`."""
Month = Annotated[str, Field(max_length=7, pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")]
"""A calendar month in UTC, such as `2026-11`."""
Message = Annotated[str, Field(max_length=1024)]
ObservedGeneration = Annotated[int, Field(description="metadata.generation that this status describes; -1: none yet.")]
Decimal3 = Annotated[str, Field(max_length=32, pattern=r"^[0-9]+\.[0-9]{3}$")]
"""Seconds as text, exact to the millisecond: the API has no floats, and rounded values would not add up."""
