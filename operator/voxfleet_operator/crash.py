"""Named edges at which tests end the process: VOXFLEET_CRASH_AT=<name> or <name>@<k> for the k-th time."""

from __future__ import annotations

import os
import sys
from collections import Counter
from typing import Literal

CRASH_EXIT_CODE = 70

Point = Literal[
    "finalizer-added",
    "assigned",
    "put-answered",
    "plan-recorded",
    "shard-created",
    "commit-seen",
    "finalize-committed",
    "delete-answered",
]

_passed: Counter[str] = Counter()


def point(name: Point) -> None:
    """Ends the process without cleanup when the environment asks for this edge; otherwise nothing."""
    wanted = os.environ.get("VOXFLEET_CRASH_AT")
    if wanted is None:
        return
    wanted_name, _, wanted_count = wanted.partition("@")
    if wanted_name != name:
        return
    _passed[name] += 1
    if _passed[name] == int(wanted_count or "1"):
        print(f"crash point {wanted}", file=sys.stderr, flush=True)
        os._exit(CRASH_EXIT_CODE)
