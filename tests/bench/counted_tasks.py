"""Runs a module as `python -m` does, and counts its asyncio tasks when it gets SIGUSR2.

python counted_tasks.py FILE MODULE ARGUMENTS

The event loop runs in the main thread, and FILE is whole whenever it is there.
"""

from __future__ import annotations

import asyncio
import os
import runpy
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType


def counted(argv: Sequence[str], file: Path) -> list[str]:
    """The command of a child whose tasks shall be counted; `argv` is `python -m MODULE ...`."""
    python, flag, *words = argv
    if flag != "-m":
        raise ValueError(f"no module is run by {argv}")
    return [python, __file__, str(file), *words]


def tasks_of(pid: int, file: Path) -> int | None:
    """Asks for a count; None: it is not told yet, call again."""
    try:
        told = file.read_text()
    except FileNotFoundError:
        os.kill(pid, signal.SIGUSR2)
        return None
    file.unlink()
    return int(told)


def _count_into(file: Path) -> None:
    def write(_number: int, _frame: FrameType | None) -> None:
        whole = file.with_suffix(".part")
        whole.write_text(str(len(asyncio.all_tasks())))
        whole.rename(file)

    signal.signal(signal.SIGUSR2, write)


if __name__ == "__main__":
    _count_into(Path(sys.argv[1]))
    sys.path[0] = str(Path.cwd())
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
