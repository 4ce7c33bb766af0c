"""The same work for one Mac after the other, in a few processes."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context, parent_process
from types import ModuleType
from typing import TypeVar

FEW_MACS = 4
"""So many are done in this process: to start others takes longer."""
TASKS_A_PROCESS = 2
"""How many are taken ahead, so that no process waits for the next."""

T = TypeVar("T")
R = TypeVar("R")


def processes_for(macs: int, at_most: int) -> int:
    return 1 if macs <= FEW_MACS else min(at_most, os.cpu_count() or 1, macs)


def of_each(work: Callable[[T], R], tasks: Iterable[T], processes: int) -> Generator[R, None, None]:
    """The results in the order of `tasks`, of which the next is asked for once a result was taken.

    Raises what `work` raises.
    """
    if processes == 1:
        yield from map(work, tasks)
        return
    rest = iter(tasks)
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_begin)
    try:
        running: deque[Future[R]] = deque()
        _submit(pool, work, islice(rest, TASKS_A_PROCESS * processes), running)
        while running:
            yield running.popleft().result()
            _submit(pool, work, islice(rest, 1), running)
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, work: Callable[[T], R], tasks: Iterable[T], running: deque[Future[R]]) -> None:
    for task in tasks:
        with _without_main_module():
            running.append(pool.submit(work, task))


def _begin() -> None:
    """In a new process, which would wait for work for ever once nobody is there to give any."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is sent to the whole group, and the first process ends the others
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _without_main_module() -> Iterator[None]:
    """A spawned process imports the program's main module first: the whole command line, 40 MB and a second of it."""
    program = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program
