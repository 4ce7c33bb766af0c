"""Makes parsed objects small: what many of them have in common, they share. Nothing that they say changes.

A parsed shard takes 12 kB, most of it for texts and parts that its neighbours have, too, and for notes of pydantic on
which fields were given.
"""

from __future__ import annotations

from sys import intern
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from pydantic import BaseModel

from voxfleet_api.kinds import Resource
from voxfleet_api.kinds.audio_shard import JobRef, MachineIdentity
from voxfleet_api.kinds.resource import OwnerReference
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R", bound=Resource)

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""The whole object once more, as kubectl keeps it for itself."""
LONGEST_SHARED_TEXT = 256
SHARED_PARTS: frozenset[type[BaseModel]] = frozenset({JobRef, MachineIdentity, OwnerReference, VoiceContractSpec})
"""Parts that are the same in many objects."""
SINGLE_VALUES: frozenset[type] = frozenset({type(None), bool, int})


class Compactor:
    """Remembers what is shared for as long as somebody has it."""

    def __init__(self) -> None:
        self._parts: WeakValueDictionary[tuple[type[BaseModel], str], BaseModel] = WeakValueDictionary()
        self._given_fields: dict[frozenset[str], set[str]] = {}
        """As many as there are ways to fill in an object."""

    def __len__(self) -> int:
        return len(self._parts)

    def compact(self, resource: R) -> R:
        """The same object, to which nothing else refers yet."""
        resource.metadata.annotations.pop(LAST_APPLIED, None)
        return self._model(resource)

    def _model(self, model: M) -> M:
        values = model.__dict__
        for name, value in values.items():
            values[name] = self._value(value)
        given = model.__pydantic_fields_set__
        shared = self._given_fields.setdefault(frozenset(given), given)
        object.__setattr__(model, "__pydantic_fields_set__", shared)
        if type(model) in SHARED_PARTS:
            return self._parts.setdefault((type(model), model.model_dump_json()), model)  # type: ignore[return-value]
        return model

    def _value(self, value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return intern(value) if len(value) <= LONGEST_SHARED_TEXT else value
        if kind in SINGLE_VALUES:
            return value
        if kind is tuple:
            return tuple([self._value(item) for item in value]) if value else ()
        if kind is dict:
            return {self._value(key): self._value(item) for key, item in value.items()}
        return self._model(value) if isinstance(value, BaseModel) else value
