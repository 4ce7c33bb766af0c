"""Messages that are digested, signed and passed on exactly as they were stored.

A later version has more fields. Parsing fills in their defaults, so that a digest of the parsed fields would no longer
be the one that was computed when the message was stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import GetCoreSchemaHandler, PrivateAttr, SerializerFunctionWrapHandler, model_serializer
from pydantic_core import CoreSchema, core_schema

from voxfleet_api.base import JSON_FORM, SpecModel


class StoredForm(SpecModel):
    """Keeps the JSON that `load` and `load_json` got, and dumps that. One that was made otherwise dumps its fields."""

    _stored: dict[str, Any] | None = PrivateAttr(default=None)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        """`model_validate_json` stays as strict as it is told to be, which no function around it could be."""
        schema = handler(source)
        keeping = core_schema.with_info_wrap_validator_function(lambda *called: _keep_stored(*called), schema)
        return core_schema.json_or_python_schema(schema, keeping)

    @model_serializer(mode="wrap")
    def _write(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        stored = self._stored
        written: dict[str, Any] = write(self) if stored is None else stored
        return written

    def in_full(self) -> Self:
        """The same message with every default of this version written out."""
        copied = self.model_copy()
        copied._stored = None
        return copied

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        copied = super().model_copy(update=update, deep=deep)
        if update:
            copied._stored = None
        return copied

    def __eq__(self, other: object) -> bool:
        """Compares what the messages say, however they were written."""
        return isinstance(other, type(self)) and self.__dict__ == other.__dict__


def _keep_stored(
    data: object, parse: core_schema.ValidatorFunctionWrapHandler, info: core_schema.ValidationInfo
) -> object:
    parsed = parse(data)
    if info.context is JSON_FORM and isinstance(parsed, StoredForm) and isinstance(data, dict) and _is_canonical(data):
        parsed._stored = data
    return parsed


def _is_canonical(value: object) -> bool:
    """Whether this is JSON that has a canonical form, with no absent fields, which messages leave out."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_canonical(item) for key, item in value.items())
    if isinstance(value, list):
        return all(_is_canonical(item) for item in value)
    return type(value) in (str, int, bool)
