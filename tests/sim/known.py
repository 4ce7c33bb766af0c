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
        "machine swapped under its name",
        r"attempt \S+ was taken by |(\S+) on \S+ and \1 on ",
        63,
        "an attempt belongs to a MacAgent's name, so that the machine which takes over the name gets it, too",
    ),
    Known(
        "ledger book grows",
        r"LedgerBook\.usage ",
        1,
        "the usage of every attempt that ever ran on a Mac stays in memory",
    ),
    Known(
        "pauses of shards that are gone",
        r"Backoffs\._shards ",
        12,
        "a shard's pause is only forgotten when it commits",
    ),
    Known(
        "a late Deleting event",
        r"MacRecord\._attempts ",
        1,
        "the event Deleting that arrives after the answer 204 brings the attempt back into the Mac's record",
    ),
)


def known_as(violation: str) -> str | None:
    """The name of the known fault that a violation shows."""
    return next((known.name for known in KNOWN if re.match(known.pattern, violation)), None)
