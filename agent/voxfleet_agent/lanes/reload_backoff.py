"""How long a lane waits until it loads its model again after a child ended. Pure."""

from __future__ import annotations

MOST_SECONDS = 60.0
STEADY_SECONDS = 60.0
"""A child that served for this long ends the count of those that ended soon."""


def reload_delay_seconds(early_ends: int) -> float:
    """`early_ends`: how many children in a row ended before they had served for STEADY_SECONDS, the last included.

    The first is replaced at once: sessions wait for it.
    """
    if early_ends <= 1:
        return 0.0
    return min(2.0 ** min(early_ends - 2, 16), MOST_SECONDS)


def early_ends(before: int, served_seconds: float | None) -> int:
    """The count after one more end. `served_seconds`: how long the child was ready; None: it never was."""
    return 1 if served_seconds is not None and served_seconds >= STEADY_SECONDS else before + 1
