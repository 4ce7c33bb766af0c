"""Ends a process that should end and does not: a call of a dead file system can hold it for ever."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from voxfleet_agent.logs import logger

T = TypeVar("T")

EXIT_SECONDS = 45.0
"""Longer than parking every attempt takes, and shorter than launchd and systemd wait before they kill the process."""
TELLING_SECONDS = 1.0
"""How long the process tells why it was ended, at most, to each of the log and the user."""
EXIT_CODE = 70
"""EX_SOFTWARE of sysexits.h: a supervisor that restarts only what failed restarts this too."""

_STANDARD_ERROR = 2
_HANGS = "a call does not come back, perhaps one of a disk or a file server, and so the process was ended"

_log = logger("voxfleet.agent")


class ExitDeadline:
    """Once begun, ends this process after EXIT_SECONDS, unless it has ended by itself."""

    def __init__(self, code: int = EXIT_CODE) -> None:
        """`code`: the exit status of a process that had to be ended."""
        self.code = code
        self.reason: str | None = None
        """Why the process ends, for whoever started it; None: because it was told to."""
        self._timer: threading.Timer | None = None

    def begin(self) -> None:
        """A second call changes nothing."""
        if self._timer is None:
            self._timer = threading.Timer(EXIT_SECONDS, self._exit)
            self._timer.daemon = True
            self._timer.start()

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _exit(self) -> None:
        try:
            # What hangs may be the log's disk or the reader of standard error: neither holds the other, or the end.
            telling = [threading.Thread(target=tell, daemon=True) for tell in (_tell_the_log, self._tell_the_user)]
            for thread in telling:
                thread.start()
            for thread in telling:
                thread.join(TELLING_SECONDS)
        finally:
            os._exit(self.code)  # nothing else ends a process whose threads hang

    def _tell_the_user(self) -> None:
        words = _HANGS if self.reason is None else f"{self.reason}\n{_HANGS}"
        with suppress(OSError):  # nobody reads
            os.write(_STANDARD_ERROR, f"voxfleet-agent: {words}\n".encode(errors="backslashreplace"))


def _tell_the_log() -> None:
    _log.error("the process does not end by itself; what it holds is left to the next one", seconds=EXIT_SECONDS)


def run_to_the_end(
    main: Callable[[Callable[[], None]], Coroutine[Any, Any, T]], told: tuple[type[Exception], ...] = ()
) -> T:
    """Like asyncio.run, but the threads that asyncio.run joins have EXIT_SECONDS to end; then the process is ended.

    `main` gets a function with which it tells that it is stopping: the time counts from there, or else from its end,
    whether it succeeds or raises. `told`: errors whose message is shown when the process has to be ended.
    """
    deadline = ExitDeadline()

    async def ending() -> T:
        try:
            return await main(deadline.begin)
        except told as error:
            deadline.reason = str(error)
            raise
        finally:
            deadline.begin()

    try:
        return asyncio.run(ending())
    finally:
        deadline.cancel()


def exit_soon(code: int) -> None:
    """Call it where nothing is left to do but to end: Python itself joins threads then, which may hang."""
    ExitDeadline(code).begin()
