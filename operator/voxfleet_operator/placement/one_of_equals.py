"""One object for all that are equal, so that they are told apart by identity."""

from __future__ import annotations

from dataclasses import fields
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from voxfleet_operator.placement.snapshot import JobNeeds, MacTraits

T = TypeVar("T", JobNeeds, MacTraits)


class OneOfEquals(Generic[T]):
    """Remembers each for as long as somebody uses it."""

    def __init__(self) -> None:
        self._made: WeakValueDictionary[tuple[object, ...], T] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._made)

    def all(self) -> list[T]:
        return list(self._made.values())

    def of(self, made: T) -> T:
        """The first one made that equals this one."""
        key = tuple(getattr(made, item.name) for item in fields(made))
        return self._made.setdefault(key, made)
