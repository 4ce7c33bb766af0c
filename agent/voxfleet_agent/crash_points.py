"""Named edges at which a test may end the process, as kill -9 would: VOXFLEET_CRASH_AT=<name>[@<k>]."""

from __future__ import annotations

import os
from collections import Counter
from threading import Lock

VARIABLE = "VOXFLEET_CRASH_AT"
EXIT_CODE = 70

_passed: Counter[str] = Counter()
_lock = Lock()


def point(name: str) -> None:
    """Ends the process here when VOXFLEET_CRASH_AT names this edge (`name@3`: the third time)."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    wanted_name, _, count = wanted.partition("@")
    if wanted_name != name:
        return
    with _lock:
        _passed[name] += 1
        reached = _passed[name]
    if reached == int(count or 1):
        os._exit(EXIT_CODE)
