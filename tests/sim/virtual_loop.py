"""An event loop without a selector, whose time jumps to the next timer, and the processes that run in it.

Nothing in it depends on the machine: tasks and futures hash by number, so that a set of them has one order, and work
for threads runs at once.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


MOST_TURNS = 50_000
"""Of the loop, while no time passes."""
NO_TIME_SECONDS = 1e-3
MOST_CANCELLED = 100
"""Timers that stay until their time, beyond which they are taken out if they are most of all."""


class Stuck(Exception):
    """No task can go on and no timer is set, or tasks go on for ever while no time passes."""


class Process:
    """One process on one machine: its tasks, which live, stand still and die together.

    A step is one turn of one task, from one await to the next; `on_step` is called when `watched_step` is reached,
    before the task takes it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.steps = 0
        self.watched_step = -1
        self.on_step: Callable[[], None] = lambda: None
        self.tasks: dict[VirtualTask, None] = {}
        self.held: deque[asyncio.Handle] = deque()
        self.context = copy_context()
        self.context.run(PROCESS.set, self)
        self._beside: list[Process] = []

    def beside(self) -> Process:
        """For what lives, stands still and dies with this process, and must not count among its steps."""
        other = Process(self.name)
        other.tasks = self.tasks
        self._beside.append(other)
        return other

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(coroutine, context=self.context.copy())

    def kill(self) -> None:
        """Ends all tasks. What they do while they end reaches nobody: seams to the outside ask `alive` first."""
        self.alive = False
        for other in self._beside:
            other.alive = False
        self.resume()
        for task in list(self.tasks):
            task.cancel()

    def pause(self) -> None:
        """Stops the process as SIGSTOP or sleep does; what happens to it meanwhile waits."""
        self.paused = True
        for other in self._beside:
            other.pause()

    def resume(self) -> None:
        self.paused = False
        for other in self._beside:
            other.resume()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        while self.held:
            loop.ready(self.held.popleft())

    def check_alive(self) -> None:
        """Raises CancelledError in a process that was killed."""
        if not self.alive:
            raise asyncio.CancelledError


class VirtualFuture(asyncio.Future[Any]):
    _number = 0

    def __init__(self, number: int, loop: VirtualLoop) -> None:
        self._number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._number


class VirtualTask(asyncio.Task[Any]):
    _number = 0

    def __init__(self, number: int, coroutine: Any, loop: VirtualLoop, context: Context | None) -> None:
        self._number = number
        super().__init__(coroutine, loop=loop, context=context)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.BaseEventLoop):
    get_debug = staticmethod(bool)  # false; asked for each handle and future

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._numbers = 0
        self._turns = 0
        self._counted_from = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._cancelled = 0
        """Of the timers."""
        self.errors: list[dict[str, Any]] = []
        self.set_task_factory(_make_task)
        self.set_exception_handler(lambda _, context: self.errors.append(context))

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        """One turn. Time passes when nothing is ready; timers of one moment run in the order in which they were set."""
        ready, timers = self._ready, self._timers  # type: ignore[attr-defined] # the base class's own queue
        if self._cancelled > MOST_CANCELLED and 2 * self._cancelled > len(timers):
            timers[:] = [item for item in timers if not item[2]._cancelled]
            heapq.heapify(timers)
            self._cancelled = 0
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
            self._cancelled -= 1
        if not ready and not self._stopping:  # type: ignore[attr-defined] # the base class's own
            if not timers:
                raise Stuck("no task can go on and no timer is set")
            if timers[0][0] > self._now:
                self._now = timers[0][0]
            if self._now - self._counted_from > NO_TIME_SECONDS:
                self._counted_from, self._turns = self._now, 0
        self._turns += 1
        if self._turns > MOST_TURNS:
            self._turns = 0
            raise Stuck(f"a hot loop: {MOST_TURNS} turns at {self._now:.3f} s")
        while timers and timers[0][0] <= self._now:
            timer = heapq.heappop(timers)[2]
            timer._scheduled = False  # type: ignore[attr-defined] # its state
            ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def call_at(  # type: ignore[override] # the base class's has a type variable tuple
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        timer._scheduled = True  # type: ignore[attr-defined] # so that it tells the loop when it is cancelled
        heapq.heappush(self._timers, (when, self.number(), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._cancelled += handle._scheduled  # type: ignore[attr-defined] # its state

    def ready(self, handle: asyncio.Handle) -> None:
        self._ready.append(handle)  # type: ignore[attr-defined] # the base class's own queue

    def number(self) -> int:
        self._numbers += 1
        return self._numbers

    def create_future(self) -> asyncio.Future[Any]:
        return VirtualFuture(self.number(), self)

    def call_soon(  # type: ignore[override] # the base class's has a type variable tuple
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is not None:
            process.steps += 1
            if process.steps == process.watched_step:
                self.ready(asyncio.Handle(process.on_step, (), self, Context()))
            handle = asyncio.Handle(callback, args, self, context)
            if process.paused:
                process.held.append(handle)
                return handle
        else:
            handle = asyncio.Handle(callback, args, self, context)
        self.ready(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment] # there is one thread

    def run_in_executor(  # type: ignore[override] # at once, and in this thread
        self, executor: object, function: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = self.create_future()
        try:
            future.set_result(function(*args))
        except Exception as error:  # noqa: BLE001 # whoever awaits the future gets it
            future.set_exception(error)
        return future

    def _process_events(self, events: object) -> None:
        return

    def _write_to_self(self) -> None:
        return


def _make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, context: Context | None = None) -> asyncio.Task[Any]:
    assert isinstance(loop, VirtualLoop)
    task = VirtualTask(loop.number(), coroutine, loop, context)
    process = PROCESS.get() if context is None else context.get(PROCESS)
    if process is not None:
        process.tasks[task] = None
        task.add_done_callback(lambda done: process.tasks.pop(task, None))
        if not process.alive:
            task.cancel()
    return task
