"""A session whose opening, work or close fails ends alone, exactly once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from voxfleet_agent.lane_protocol.messages import Message
from voxfleet_agent.lane_protocol.session_messages import (
    CancelSession,
    EndSession,
    OpenFile,
    OpenHearing,
    OpenSpeaking,
    SessionEnded,
    SessionMessage,
    SessionOpened,
)
from voxfleet_agent.worker.session_summary import SessionSummary
from voxfleet_agent.worker.sessions import Session, Sessions
from voxfleet_agent.worker.step_order import WaitingStep
from voxfleet_agent.worker.transcribe import GpuFaultError
from voxfleet_api.failures import FailureClass, VoxFleetError

NUMBER = 1
BESIDE = 2


def nothing() -> None: ...


class Fake:
    ended = False
    window_bytes = 0

    def __init__(self, work: Callable[[], None], close: Callable[[], None]) -> None:
        self._work = work
        self.close = close

    def request(self, request: SessionMessage) -> None:
        self._work()

    def waiting_step(self) -> WaitingStep | None:
        return None

    def run_step(self) -> None:
        self._work()

    def summary(self) -> SessionSummary:
        return SessionSummary()

    def due_ns(self) -> int | None:
        return None

    def end_overdue_turn(self, now_ns: int) -> None: ...


class Host:
    """The session NUMBER behaves as the test says, every other one well."""

    most_sessions = 8
    sample_rate_hz = 16_000

    def __init__(
        self,
        opening: Callable[[], None] = nothing,
        work: Callable[[], None] = nothing,
        close: Callable[[], None] = nothing,
    ) -> None:
        self._opening = opening
        self._work = work
        self._close = close

    def open_hearing(self, request: OpenHearing) -> Session:
        return self._opened(request.session)

    def open_file(self, request: OpenFile) -> Session:
        return self._opened(request.session)

    def open_speaking(self, request: OpenSpeaking) -> Session:
        return self._opened(request.session)

    def _opened(self, number: int) -> Session:
        if number != NUMBER:
            return Fake(nothing, nothing)
        self._opening()
        return Fake(self._work, self._close)


def raises(error: Exception) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def run(host: Host, *requests: SessionMessage) -> list[Message]:
    """What is told of NUMBER; BESIDE is open before and afterwards."""
    sent: list[Message] = []
    sessions = Sessions(sent.append)
    sessions.serve(host)
    for request in (speaking(BESIDE), *requests, EndSession(session=BESIDE)):
        sessions.request(request)
    assert len(sessions) == 1 and sent[0] == SessionOpened(session=BESIDE, sample_rate_hz=16_000)
    return sent[1:]


def speaking(number: int) -> OpenSpeaking:
    return OpenSpeaking(session=number, text="x", room_samples=1)


def hearing(number: int) -> OpenHearing:
    return OpenHearing(session=number, sample_rate_hz=16_000, partial_milliseconds=500, max_turn_milliseconds=1_000)


@pytest.mark.parametrize("opening", [speaking(NUMBER), hearing(NUMBER)], ids=["speaking", "hearing"])
def test_an_opening_that_raises_ends_its_session_alone(opening: SessionMessage) -> None:
    (end,) = run(Host(opening=raises(ValueError("no such ratio"))), opening)
    assert isinstance(end, SessionEnded)
    assert end.failure_class is FailureClass.INFERENCE_ERROR and "ValueError" in end.reason
    assert "ratio" not in end.reason  # it may hold what a client sent


@pytest.mark.parametrize(
    "error", [RuntimeError("its stream is gone"), VoxFleetError(FailureClass.INFERENCE_ERROR, "x")]
)
def test_a_close_that_raises_ends_its_session_alone(error: Exception) -> None:
    opened, end = run(Host(close=raises(error)), speaking(NUMBER), CancelSession(session=NUMBER))
    assert isinstance(opened, SessionOpened) and isinstance(end, SessionEnded)
    assert end.failure_class is FailureClass.INFERENCE_ERROR


def test_a_session_that_failed_keeps_its_class_whatever_its_close_raises() -> None:
    failed = VoxFleetError(FailureClass.CONTRACT_VIOLATION, "too long")
    host = Host(work=raises(failed), close=raises(RuntimeError("its stream is gone")))
    _, end = run(host, speaking(NUMBER), EndSession(session=NUMBER))
    assert end == SessionEnded(session=NUMBER, failure_class=FailureClass.CONTRACT_VIOLATION, reason="too long")


@pytest.mark.parametrize("where", ["opening", "work", "close"])
def test_a_fault_of_the_gpu_is_not_one_sessions_own(where: str) -> None:
    host = Host(**{where: raises(GpuFaultError("device lost"))})
    with pytest.raises(GpuFaultError):
        run(host, speaking(NUMBER), EndSession(session=NUMBER), CancelSession(session=NUMBER))
