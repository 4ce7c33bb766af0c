"""Ends a process that is stopping and does not end: a call of a dead file system can hold it for ever."""

from __future__ import annotations

import os
import threading

from voxfleet_agent.logs import logger

EXIT_SECONDS = 45.0
"""Longer than parking every attempt takes, and shorter than launchd and systemd wait before they kill the process."""
EXIT_CODE = 70
"""EX_SOFTWARE of sysexits.h: a supervisor that restarts only what failed restarts this too."""

_log = logger("voxfleet.agent")


def exit_within(seconds: float = EXIT_SECONDS) -> None:
    """Ends this process after `seconds`, unless it has ended by itself. Call it once stopping has begun."""

    def exit_now() -> None:
        _log.error("the process does not end by itself; what it holds is left to the next one", seconds=seconds)
        os._exit(EXIT_CODE)  # nothing else ends a process whose threads hang

    timer = threading.Timer(seconds, exit_now)
    timer.daemon = True
    timer.start()
