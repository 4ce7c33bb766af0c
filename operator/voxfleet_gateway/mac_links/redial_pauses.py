"""How long a link waits until it is dialled again. Pure."""

from __future__ import annotations

FIRST_SECONDS, LONGEST_SECONDS = 0.5, 30.0


def pause_seconds(failures: int, jitter: float) -> float:
    """`failures`: in a row, at least one. `jitter`: from 0 to 1; Macs behind one broken network come back apart."""
    whole = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(failures - 1, 16))
    return float(whole * (0.5 + 0.5 * jitter))
