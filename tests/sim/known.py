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


KNOWN: tuple[Known, ...] = (
    Known(
        "a call that waited while its Mac slept",
        r"[^ ]+ .*, by a call that waited while it slept$",
        129,
        "A PUT that was sent to a Mac which fell asleep waits in its socket, however long it sleeps, and starts or"
        " resumes the attempt when it wakes, although another Mac has long taken over. The operator deletes it on"
        " contact, so that it runs for seconds, and the fence protects the results. No lease bounds the age of a call:"
        " an agent would have to refuse one that was sent too long ago by its own clock, which the operator would have"
        " to know from an earlier answer.",
    ),
)


def known_as(violation: str) -> str | None:
    """The name of the known fault that a violation shows."""
    return next((known.name for known in KNOWN if re.match(known.pattern, violation)), None)
