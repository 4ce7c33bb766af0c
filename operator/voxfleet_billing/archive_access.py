"""What reads and writes the objects of a ledger archive, wherever it lies."""

from __future__ import annotations

from typing import Protocol

MAX_OBJECT_BYTES = 64 * 2**20
"""A segment has some 5 MB at most, and an index some 100 kB."""


class ArchiveError(Exception):
    """The archive cannot be read or written; the message names the address and says what to do."""


class ObjectMissing(ArchiveError):
    """The archive answers, and has no such object."""


class ObjectDamaged(ArchiveError):
    """The archive answers, and an object is not what was stored."""


class ArchiveStore(Protocol):
    """Objects by path, such as `2026-11/mac-a/index/00000001.json`. Each call ends within a minute.

    All raise ArchiveError.
    """

    @property
    def uri(self) -> str: ...

    def get(self, path: str) -> bytes:
        """Raises ObjectMissing."""
        ...

    def create(self, path: str, content: bytes) -> bool:
        """Stores an object for good. False if one of this path exists: it stays as it is."""
        ...

    def names(self, path: str) -> list[str]:
        """What lies right below a path, in order: objects and folders. Empty if there is nothing."""
        ...

    def delete(self, path: str) -> None:
        """Also if there is none."""
        ...
