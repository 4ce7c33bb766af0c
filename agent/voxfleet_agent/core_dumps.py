"""Keeps this process's memory to itself: it holds people's speech, storage credentials and the ledger key."""

from __future__ import annotations

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4


def forbid() -> None:
    """Forbids core dumps of this process and of all processes that it starts."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def hide_memory() -> None:
    """Forbids core dumps; on Linux it also keeps other processes of this account from memory, environment and files.

    Not for a lane's child, whose memory the agent measures. prctl(2), PR_SET_DUMPABLE; a program that this process
    starts can be read again.
    """
    forbid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, *(ctypes.c_ulong(0) for _ in range(4)))
