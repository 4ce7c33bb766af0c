"""Core dumps would hold people's speech, storage credentials and the ledger key."""

from __future__ import annotations

import resource


def forbid() -> None:
    """For this process and all that it starts."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
