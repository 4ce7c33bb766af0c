"""The sessions of a child: opens them, gives them what their clients send, and ends each of them exactly once.

A session that fails ends alone. What comes for a number that is not open, because it has ended or never was, is
dropped: it was on its way when the session ended.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Set
from functools import partial
from typing import Protocol

from voxfleet_agent.lane_protocol.messages import REASON_CHARACTERS, Message
from voxfleet_agent.lane_protocol.session_messages import (
    CancelSession,
    OpenFile,
    OpenHearing,
    OpenSpeaking,
    SessionEnded,
    SessionMessage,
    SessionOpened,
)
from voxfleet_agent.worker.session_summary import SessionSummary
from voxfleet_agent.worker.step_order import StepKind, WaitingStep, next_step
from voxfleet_agent.worker.transcribe import GpuFaultError
from voxfleet_api.failures import FailureClass, VoxFleetError


class Session(Protocol):
    """HearingSession, UploadSession or SpeakingSession. Every method may raise VoxFleetError, with which the session
    ends; `close` and `summary` may be called in the middle of `run_step`, where that attends to others."""

    window_bytes: int
    """How much the client may have sent that no AudioTaken has counted."""

    @property
    def ended(self) -> bool: ...

    def request(self, request: SessionMessage) -> None: ...

    def waiting_step(self) -> WaitingStep | None: ...

    def run_step(self) -> None: ...

    def due_ns(self) -> int | None: ...

    def end_overdue_turn(self, now_ns: int) -> None: ...

    def close(self) -> None: ...

    def summary(self) -> SessionSummary: ...


class SessionHost(Protocol):
    """The model in memory, as it opens sessions."""

    most_sessions: int

    def open_hearing(self, request: OpenHearing) -> Session: ...

    def open_file(self, request: OpenFile) -> Session: ...

    def open_speaking(self, request: OpenSpeaking) -> Session: ...

    @property
    def sample_rate_hz(self) -> int: ...


class Sessions:
    """On the thread that owns the model."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._host: SessionHost | None = None
        self._open: dict[int, Session] = {}
        self._at_work: list[Session] = []
        """Those that are in the middle of a step, of which the last one runs."""

    def __len__(self) -> int:
        return len(self._open)

    @property
    def steps_within(self) -> int:
        """How many steps run, each in the middle of the one before it."""
        return len(self._at_work)

    def serve(self, host: SessionHost | None) -> None:
        """Another model, or none, is in memory: the sessions of the one before end."""
        for number in list(self._open):
            self._end(
                number,
                VoxFleetError(FailureClass.MODEL_UNAVAILABLE, "the lane loads another model; open the session again"),
            )
        self._host = host

    def request(self, request: SessionMessage) -> None:
        match request:
            case OpenHearing() | OpenFile() | OpenSpeaking():
                self._start(request)
            case CancelSession() if request.session in self._open:
                self._end(request.session, None)
            case _ if (session := self._open.get(request.session)) is not None:
                self._guarded(request.session, session, partial(session.request, request))

    def waiting_steps(self) -> list[WaitingStep]:
        return [
            step
            for session in self._open.values()
            if not any(session is busy for busy in self._at_work) and (step := session.waiting_step()) is not None
        ]

    def next_step(self, latest: StepKind, served: Set[int]) -> WaitingStep | None:
        """The next step that is as urgent as `latest`, of a session that is not among those `served`."""
        steps = [step for step in self.waiting_steps() if step.kind <= latest and step.session not in served]
        return next_step(steps, batch_waits=False, batches_paused=True)

    def run(self, number: int) -> None:
        """Runs the session's step, in which others' steps may run too. Raises GpuFaultError."""
        session = self._open[number]
        self._at_work.append(session)
        try:
            self._guarded(number, session, session.run_step)
        finally:
            self._at_work.pop()

    def due_ns(self) -> int | None:
        """When the clock ends a turn, on the monotonic clock; None: no turn waits for it."""
        return min((due for session in self._open.values() if (due := session.due_ns()) is not None), default=None)

    def end_overdue_turns(self) -> None:
        now_ns = time.monotonic_ns()
        for number, session in list(self._open.items()):
            self._guarded(number, session, partial(session.end_overdue_turn, now_ns))

    def _start(self, request: OpenHearing | OpenFile | OpenSpeaking) -> None:
        number = request.session
        try:
            if number in self._open:
                # It ends with the session that it was given to first: one number has one end.
                raise VoxFleetError(FailureClass.INVALID_INPUT, f"session {number} is open already; take a new number")
            host = self._host
            if host is None:
                raise VoxFleetError(FailureClass.MODEL_UNAVAILABLE, "the lane holds no model; load one first")
            if len(self._open) >= host.most_sessions:
                raise VoxFleetError(
                    FailureClass.THROTTLED,
                    f"the lane has {host.most_sessions} sessions, as many as it takes; wait for one to end",
                )
            opened = _opened(host, request)
        except VoxFleetError as error:
            self._end(number, error)
            return
        except GpuFaultError:
            raise
        except Exception as error:  # noqa: BLE001 - as for every other request
            self._end(number, _unforeseen(error))
            return
        self._open[number] = opened
        self._send(SessionOpened(session=number, sample_rate_hz=host.sample_rate_hz, window_bytes=opened.window_bytes))

    def _guarded(self, number: int, session: Session, work: Callable[[], None]) -> None:
        """Ends the session if the work fails, or was its last, unless it was ended meanwhile."""
        failure: VoxFleetError | None = None
        try:
            work()
        except VoxFleetError as error:
            failure = error
        except GpuFaultError:
            raise
        except Exception as error:  # noqa: BLE001 - one session's trouble must not become that of the others
            failure = _unforeseen(error)
        if self._open.get(number) is session and (failure is not None or session.ended):
            self._end(number, failure)

    def _end(self, number: int, failure: VoxFleetError | None) -> None:
        session = self._open.pop(number, None)
        summary = SessionSummary()
        if session is not None:  # else it was refused
            summary = session.summary()
            trouble = _closed(session)
            failure = failure or trouble
        self._send(
            SessionEnded(
                session=number,
                failure_class=None if failure is None else failure.failure_class,
                reason="" if failure is None else failure.message[:REASON_CHARACTERS],
                audio_milliseconds=summary.audio_milliseconds,
                wait_milliseconds=summary.wait_milliseconds,
                infer_milliseconds=summary.infer_milliseconds,
            )
        )


def _opened(host: SessionHost, request: OpenHearing | OpenFile | OpenSpeaking) -> Session:
    match request:
        case OpenHearing():
            return host.open_hearing(request)
        case OpenFile():
            return host.open_file(request)
        case OpenSpeaking():
            return host.open_speaking(request)


def _closed(session: Session) -> VoxFleetError | None:
    """Closes the session; returns what went wrong. Raises GpuFaultError."""
    try:
        session.close()
    except VoxFleetError as error:
        return error
    except GpuFaultError:
        raise
    except Exception as error:  # noqa: BLE001 - a model's code may raise what it likes where its stream is ended
        return _unforeseen(error)
    return None


def _unforeseen(error: Exception) -> VoxFleetError:
    """To be called where the error is handled: its frames go to stderr."""
    traceback.print_exc(file=sys.stderr)
    reason = f"the lane raised {type(error).__name__} for the session; look at the agent's log"
    return VoxFleetError(FailureClass.INFERENCE_ERROR, reason)
