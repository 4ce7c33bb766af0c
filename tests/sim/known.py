"""Faults of the product that runs show and that are not mended yet, each with a seed that shows it.

An entry goes with its mend: `make sim` names the entries that no seed shows any more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Known:
    name: str
    pattern: str
    """Matches the beginning of what an invariant says."""
    seed: int
    why: str


KNOWN: tuple[Known, ...] = ()


def known_as(violation: str) -> str | None:
    """The name of the known fault that a violation shows."""
    return next((known.name for known in KNOWN if re.match(known.pattern, violation)), None)
