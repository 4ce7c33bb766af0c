"""Named points at which a test ends the process, as kill -9 would.

VOXFLEET_CRASH_AT=<name> ends it the first time it passes that point, <name>@<k> the k-th time.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from threading import Lock
from typing import Literal

VARIABLE = "VOXFLEET_CRASH_AT"
EXIT_CODE = 70

CrashPoint = Literal[
    # of the operator
    "finalizer-added",
    "assigned",
    "put-answered",
    "plan-recorded",
    "shard-created",
    "commit-seen",
    "finalize-committed",
    "delete-answered",
    "segments-archived",
    "index-archived",
    "night-closed",
    # of the agent
    "reserved",
    "base-frozen",
    "row-recorded",
    "part-frozen",
    "part-uploaded",
    "part-marked",
    "run-uploaded",
    "commit-uploaded",
    "plan-uploaded",
    "index-uploaded",
    "outcome-recorded",
    "row-sealed",
]

_passed: Counter[str] = Counter()
_lock = Lock()


def point(name: CrashPoint) -> None:
    """Ends the process without cleanup if the environment asks for this point. Safe in any thread."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    wanted_name, _, count = wanted.partition("@")
    if wanted_name != name:
        return
    with _lock:
        _passed[name] += 1
        times = _passed[name]
    if times == int(count or "1"):
        print(f"crash point {wanted}", file=sys.stderr, flush=True)
        os._exit(EXIT_CODE)
