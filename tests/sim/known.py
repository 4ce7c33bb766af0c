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
        "a halted job with a lost Mac",
        r"job-\d+ does not end: (Running|WaitingForMac)",
        28,
        "a job that starts no more attempts waits for ever for one that is live on a Mac which never returns",
    ),
    Known(
        "Finalize without a deadline",
        r"job-\d+ does not end: Finalizing",
        79,
        "a job whose results no Mac can merge any more stays Finalizing",
    ),
    Known(
        "a machine swapped under its name",
        r"attempt \S+ was taken by |(\S+) on \S+ and \1 on ",
        51,
        "an attempt belongs to a MacAgent's name, so that the machine which takes over the name gets it, too",
    ),
    Known(
        "refusals cost retries",
        r"\S+ has no attempt left after ",
        162,
        "the attempt's number is also the budget, which busy Macs use up",
    ),
    Known(
        "an assignment that is not assumed",
        r"(\S+)\.\d+ began on \S+ \S+ s after \1\.\d+ was assigned",
        777,
        "while the write of attempt n+1 is under way, the Mac of attempt n returns and resumes it",
    ),
    Known(
        "the ledger book grows",
        r"LedgerBook\.usage ",
        1,
        "the usage of every attempt that ever ran on a Mac stays in memory",
    ),
    Known(
        "pauses of shards that are gone",
        r"Backoffs\._shards ",
        4,
        "a shard's pause is only forgotten when it commits",
    ),
    Known(
        "a late Deleting event",
        r"MacRecord\._attempts ",
        1,
        "the event Deleting that arrives after the answer 204 brings the attempt back into the record of its Mac",
    ),
)


def known_as(violation: str) -> str | None:
    """The name of the known fault that a violation shows."""
    return next((known.name for known in KNOWN if re.match(known.pattern, violation)), None)
