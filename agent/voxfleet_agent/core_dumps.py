"""Forbids core dumps: they would hold people's speech, storage credentials and the ledger key."""

from __future__ import annotations

import resource


def forbid() -> None:
    """Forbids core dumps of this process and of all processes that it starts."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
