"""Which calls a gateway takes at a time, so that no endpoint's clients keep another's out. Pure."""

from __future__ import annotations

from collections import Counter

FREE_SHARE = 3
"""An endpoint has at most so many times the places that are still free: one alone three quarters of all."""


class CallPlaces:
    def __init__(self, max_calls: int) -> None:
        self._max_calls = max_calls
        self._taken: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._taken.total()

    def take(self, endpoint_uid: str) -> bool:
        """False: there is no place for the endpoint now. Else `leave` gives it back."""
        if self._taken[endpoint_uid] >= FREE_SHARE * (self._max_calls - len(self)):
            return False
        self._taken[endpoint_uid] += 1
        return True

    def leave(self, endpoint_uid: str) -> None:
        self._taken[endpoint_uid] -= 1
        if self._taken[endpoint_uid] <= 0:
            del self._taken[endpoint_uid]
