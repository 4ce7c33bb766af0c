"""The name of an attempt."""

from __future__ import annotations

from typing import NamedTuple


class AttemptKey(NamedTuple):
    shard_uid: str
    attempt: int

    def __str__(self) -> str:
        return f"{self.shard_uid}.{self.attempt}"
