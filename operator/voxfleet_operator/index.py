"""Which things have a value, and whether that may have changed since somebody looked. Pure.

What nothing has any more is forgotten. Each change gets a number of its own, so that a value that nothing had for a
while never looks as it did before.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Sequence
from typing import Any, Generic, Protocol, TypeVar


class Ordered(Protocol):
    def __lt__(self, other: Any, /) -> bool: ...


T = TypeVar("T", bound=Ordered)


class Index(Generic[T]):
    """Things by their values. A thing may have several."""

    def __init__(self) -> None:
        self._things: dict[str, list[T]] = {}
        """In their order."""
        self._versions: dict[str, int] = {}
        self._changes = 0
        self._followers: list[set[str]] = []

    def __len__(self) -> int:
        return len(self._things)

    def of(self, value: str) -> Sequence[T]:
        """In their order."""
        return self._things.get(value, ())

    def version(self, value: str) -> int:
        """The number of the last change to a thing with the value; 0 while nothing has it."""
        return self._versions.get(value, 0)

    def follow(self) -> set[str]:
        """A set to which every value is added of which a thing changes from now on; all that there are, to begin with.

        Whoever follows takes them out.
        """
        changed = set(self._things)
        self._followers.append(changed)
        return changed

    def change(self, thing: T, before: Collection[str], after: Collection[str]) -> None:
        """Takes a change of the thing: the values that it had, and those that it has now, each once; none: it was not,
        or is not, there.
        """
        self._changes += 1
        for value in before:
            if value not in after:
                self._remove(value, thing)
        for value in after:
            if value not in before:
                insort(self._things.setdefault(value, []), thing)
            self._versions[value] = self._changes
        for changed in self._followers:
            changed.update(before, after)

    def _remove(self, value: str, thing: T) -> None:
        things = self._things[value]
        del things[bisect_left(things, thing)]
        self._versions[value] = self._changes
        if not things:
            del self._things[value], self._versions[value]
