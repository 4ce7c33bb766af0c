"""Calls of one mounted file system, each of which may hang for ever without stopping anything else."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

from voxfleet_agent.logs import logger
from voxfleet_api.failures import FailureClass, VoxFleetError

T = TypeVar("T")

MAX_THREADS = 16
CALL_SECONDS = 60.0
SILENT_SECONDS = 5.0
"""How long a call may take while the mount answers nothing at all."""
CANCEL_SECONDS = 2.0
"""How long a cancelled caller waits for its call to end, before it leaves the call behind."""

_log = logger("voxfleet.storage")
_thread_state = threading.local()


class CallAbandoned(Exception):
    """Ends a call for which nobody waits any more."""


class _Call:
    def __init__(self, work: Callable[[], object], discard: Callable[[], object]) -> None:
        self.work, self.discard = work, discard
        self.ended: Future[None] = Future()
        self.progressed_at = time.monotonic()
        """When it was queued, begun or last heard of; like all times here by time.monotonic()."""
        self.started_at: float | None = None
        self.abandoned = False


class MountCalls:
    """Runs calls in daemon threads, at most `max_threads` of them.

    A call that makes no progress within `seconds` is left behind with its thread: the caller goes on with
    VoxFleetError(TRANSPORT). Once all threads are left behind, every call fails at once. Threads whose calls end after
    all work again.
    """

    def __init__(self, folder: str, *, seconds: float = CALL_SECONDS, max_threads: int = MAX_THREADS) -> None:
        """`folder`: where the file system is mounted, for messages."""
        self.folder = folder
        self._seconds = seconds
        self._max_threads = max_threads
        self._lock = threading.Lock()
        self._queued = threading.Condition(self._lock)
        self._queue: deque[_Call] = deque()
        self._running: set[_Call] = set()
        self._threads = 0
        self._idle = 0
        self._answered_at = time.monotonic()

    @property
    def hanging(self) -> int:
        """How many threads are left behind at this moment."""
        with self._lock:
            return len(self._hanging())

    async def run(self, work: Callable[[], T], discard: Callable[[T], None] = lambda result: None) -> T:
        """Runs `work` in a thread. `discard` gets the result when nobody waits for it any more.

        Long work calls `progress` now and then. Raises what `work` raises, and VoxFleetError(TRANSPORT).
        """
        results: list[T] = []
        call = self._submit(lambda: results.append(work()), lambda: discard(results[0]))
        ended = asyncio.wrap_future(call.ended)
        ended.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # a cancelled caller does not
        try:
            while not (await asyncio.wait({ended}, timeout=self._remaining_seconds(call)))[0]:
                self._abandon_if_late(call)
        except asyncio.CancelledError:
            try:
                if call.started_at is not None:
                    await asyncio.wait({ended}, timeout=CANCEL_SECONDS)
            finally:
                if not self._abandon(call) and results:
                    self.start(call.discard)
            raise
        ended.result()
        return results[0]

    def run_blocking(self, work: Callable[[], T]) -> T:
        """Like `run`, for callers that are threads themselves."""
        results: list[T] = []
        call = self._submit(lambda: results.append(work()), lambda: None)
        while True:
            try:
                call.ended.result(self._remaining_seconds(call))
            except TimeoutError:
                if call.ended.done():
                    raise
                self._abandon_if_late(call)
            else:
                return results[0]

    def start(self, work: Callable[[], object]) -> None:
        """Runs `work` without waiting for it, unless every thread is left behind: then not at all."""
        with suppress(VoxFleetError):
            self._submit(work, lambda: None)

    def _submit(self, work: Callable[[], object], discard: Callable[[], object]) -> _Call:
        call = _Call(work, discard)
        with self._lock:
            if len(self._hanging()) >= self._max_threads:
                raise self._does_not_answer()
            self._queue.append(call)
            if self._idle >= len(self._queue):
                self._queued.notify()
            elif self._threads < self._max_threads:
                self._threads += 1
                try:
                    threading.Thread(target=self._serve, name=f"files {self.folder}", daemon=True).start()
                except BaseException:
                    self._threads -= 1
                    self._queue.remove(call)
                    raise
        return call

    def _serve(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
                while not self._queue:
                    self._queued.wait()
                self._idle -= 1
                call = self._queue.popleft()
                call.started_at = call.progressed_at = time.monotonic()
                self._running.add(call)
            self._work(call)
            del call  # what it read

    def _work(self, call: _Call) -> None:
        _thread_state.call = call
        error: BaseException | None = None
        try:
            call.work()
        except BaseException as raised:  # noqa: BLE001 -- re-raised in the caller
            error = raised
        _thread_state.call = None
        with self._lock:
            self._answered_at = time.monotonic()
            self._running.discard(call)
            if not call.abandoned:
                _end(call.ended, error)
        if call.abandoned and error is None:
            self._discard(call)

    def _discard(self, call: _Call) -> None:
        try:
            call.discard()
        except Exception as error:  # noqa: BLE001 -- nobody waits for it, and the thread must go on
            _log.warning("a late result was not cleaned up", folder=self.folder, error=type(error).__name__)

    def _remaining_seconds(self, call: _Call) -> float:
        """How long the caller may still wait."""
        with self._lock:
            return max(0.0, self._deadline(call) - time.monotonic())

    def _deadline(self, call: _Call) -> float:
        hanging = self._hanging()
        if call.started_at is None:
            if len(hanging) >= self._max_threads:
                return 0.0  # no thread will ever take it
            # It may wait for as long as the calls ahead of it work.
            heard_at = max(call.progressed_at, self._answered_at, *(other.progressed_at for other in self._running))
        else:
            heard_at = call.progressed_at
        oldest = min((other.started_at or 0.0 for other in hanging), default=None)
        silent = oldest is not None and self._answered_at < oldest
        return heard_at + (min(SILENT_SECONDS, self._seconds) if silent else self._seconds)

    def _hanging(self) -> list[_Call]:
        late = time.monotonic() - self._seconds
        return [call for call in self._running if call.abandoned or call.progressed_at <= late]

    def _abandon_if_late(self, call: _Call) -> None:
        """Raises VoxFleetError(TRANSPORT) when nothing was heard of the call for too long."""
        with self._lock:
            if call.ended.done() or time.monotonic() < self._deadline(call):
                return
        if self._abandon(call):
            _log.warning("a file system does not answer", folder=self.folder, hanging=self.hanging)
            raise self._does_not_answer()

    def _abandon(self, call: _Call) -> bool:
        """Leaves a call behind; returns False when it has ended."""
        with self._lock:
            if call.ended.done():
                return False
            call.abandoned = True
            if call.started_at is None:
                self._queue.remove(call)
            return True

    def _does_not_answer(self) -> VoxFleetError:
        return VoxFleetError(
            FailureClass.TRANSPORT,
            f"the file system at {self.folder} does not answer; check its server and mount it again",
        )


def _end(future: Future[None], error: BaseException | None) -> None:
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def progress() -> None:
    """Tells that the call of this thread still works, so that its time begins anew.

    Raises CallAbandoned when nobody waits for it any more: call this before a step that must not happen late.
    """
    call: _Call | None = getattr(_thread_state, "call", None)
    if call is None:
        return
    if call.abandoned:
        raise CallAbandoned
    call.progressed_at = time.monotonic()
