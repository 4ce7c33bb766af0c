"""The child's main loop: takes what its parent sends between two steps of inference, and runs the step that is next."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from voxfleet_agent.lane_protocol.channel import LaneRequest
from voxfleet_agent.lane_protocol.messages import BatchMessage, Load, Loaded, Message, WorkerRefusal
from voxfleet_agent.lane_protocol.session_messages import (
    BatchesPaused,
    PauseBatches,
    ResumeBatches,
    SessionMessage,
)
from voxfleet_agent.worker.backends import WorkerBackends
from voxfleet_agent.worker.batch_work import BatchWork
from voxfleet_agent.worker.decode_thread import Decoded, DecodeThreadFailed, Piece
from voxfleet_agent.worker.model_in_memory import ModelInMemory
from voxfleet_agent.worker.session_host import ModelSessions
from voxfleet_agent.worker.sessions import Sessions
from voxfleet_agent.worker.step_order import BATCH_STEP, StepKind, WaitingStep, next_step


@dataclass(frozen=True, slots=True)
class Wake:
    """A session has a step that it had not."""


Item = LaneRequest | Piece | Decoded | DecodeThreadFailed | Wake

LIFE_SECONDS = 5.0
"""How often a child whose batches are paused tells that it lives; a third of the least time that hangs take."""
MOST_STEPS_WITHIN = 16
"""How many sessions' steps may stand in each other. Each takes some twenty frames of the interpreter's thousand, and
what stands outermost waits for all within."""
_TAKING_SECONDS = 0.05
"""How long requests are taken before the next step runs, however many there are."""


class WorkerLoop:
    """Runs on the thread that owns MLX, as long as the process lives. Any thread may put items into its inbox."""

    def __init__(
        self,
        backends: WorkerBackends,
        inbox: queue.SimpleQueue[Item],
        send: Callable[[Message], None],
        flush: Callable[[], None],
        taken: Callable[[SessionMessage], None] = lambda _: None,
    ) -> None:
        """`send` may buffer results until `flush`, because each write wakes the parent, at the lane's expense.

        `taken` is told of each request of a session that has left the inbox.
        """
        self._backends = backends
        self._inbox = inbox
        self._send = send
        self._flush = flush
        self._taken = taken
        self._model = ModelInMemory(backends)
        self._sessions = Sessions(send)
        self._batches = BatchWork(
            backends, self._model, send, flush, self._inbox.put, loaded=self._serve_sessions, attend=self._attend
        )
        self._paused = False
        self._step_started_ns = 0
        """When the step of a batch began, or its part after the last time that others were attended to."""
        self._step_milliseconds = 0
        """How long that step, or part, took after which the inbox is looked at; 0: nothing ran."""
        self._told_life_ns = 0
        """When the parent last learned something of the batches."""

    def serve(self) -> None:
        """Never returns. Raises GpuFaultError."""
        while True:
            step = self._next_step()
            if step is None:
                self._wait()
            else:
                self._run(step)

    def _next_step(self, *, within_batch: bool = False) -> WaitingStep | None:
        self._take_waiting()
        waits = self._batches.waits and not within_batch
        paused = self._paused and not self._batches.waits_to_load
        step = next_step(self._sessions.waiting_steps(), batch_waits=waits, batches_paused=paused)
        if step is not BATCH_STEP:
            self._show_life()
        return step

    def _run(self, step: WaitingStep) -> None:
        if step.session is None:
            self._step_started_ns = time.monotonic_ns()
            self._batches.run_step()
            self._told_life_ns = time.monotonic_ns()
            self._step_milliseconds = (self._told_life_ns - self._step_started_ns) // 1_000_000
        else:
            self._flush()  # what a batch has finished must not be lost with the process
            self._sessions.run(step.session)

    def _attend(self) -> int:
        """Called in the middle of a batch's step, where its model can be left alone: sessions go first, and a pause
        holds here. Returns how long that took, in nanoseconds."""
        started_ns = self._told_life_ns = time.monotonic_ns()
        self._step_milliseconds = (started_ns - self._step_started_ns) // 1_000_000
        while (step := self._next_step(within_batch=True)) is not None or self._paused:
            if step is None:
                self._wait()
            else:
                self._run(step)
        self._step_started_ns = time.monotonic_ns()
        return self._step_started_ns - started_ns

    def _attend_others(self, number: int, latest: StepKind) -> int:
        """Called in the middle of a session's step, where its model can be left alone: each other session gets a step,
        unless it is less urgent than `latest`, or too many steps stand in each other. Returns how long that took, in
        nanoseconds; 0: none was waiting."""
        started_ns, served = time.monotonic_ns(), {number}
        self._take_waiting()
        if self._sessions.steps_within >= MOST_STEPS_WITHIN:
            return 0
        while (step := self._sessions.next_step(latest, served)) is not None and step.session is not None:
            served.add(step.session)
            self._run(step)
            self._take_waiting()
        return time.monotonic_ns() - started_ns if len(served) > 1 else 0

    def _take_waiting(self) -> None:
        """Takes what is in the inbox, without waiting; what comes after a request to load waits until that is done."""
        until_seconds = time.monotonic() + _TAKING_SECONDS
        while time.monotonic() < until_seconds and not self._batches.waits_to_load:
            try:
                self._take(self._inbox.get_nowait())
            except queue.Empty:
                self._step_milliseconds = 0
                self._sessions.end_overdue_turns()
                return

    def _wait(self) -> None:
        """Waits for an item, but not beyond the moment at which the clock has something to do."""
        self._flush()
        if not self._paused:
            self._batches.starves()
        due_ns = self._sessions.due_ns()
        seconds = None if due_ns is None else max(0.0, (due_ns - time.monotonic_ns()) / 1e9)
        if self._paused and self._batches.open:
            seconds = LIFE_SECONDS if seconds is None else min(seconds, LIFE_SECONDS)
        with suppress(queue.Empty):
            self._take(self._inbox.get(timeout=seconds))

    def _show_life(self) -> None:
        """Tells the parent that batches are held up, which is no hang: they are paused, or sessions go first."""
        held_up = self._batches.open and (self._paused or self._batches.waits)
        if held_up and time.monotonic_ns() - self._told_life_ns >= LIFE_SECONDS * 1e9:
            self._told_life_ns = time.monotonic_ns()
            self._batches.show_life()

    def _take(self, item: Item) -> None:
        match item:
            case Load() | BatchMessage() | Piece() | Decoded() | DecodeThreadFailed():
                self._batches.put(item)
            case Wake():
                pass  # whoever takes it looks for the next step
            case PauseBatches():
                self._paused = True
                self._send(BatchesPaused(step_milliseconds=self._step_milliseconds))
            case ResumeBatches():
                self._paused = False
            case SessionMessage():
                self._taken(item)
                self._sessions.request(item)

    def _serve_sessions(self, answer: Loaded | WorkerRefusal) -> None:
        host = None
        if isinstance(answer, Loaded):
            wake = partial(self._inbox.put, Wake())
            host = ModelSessions(self._backends, self._model, self._send, self._attend_others, wake)
        self._sessions.serve(host)
