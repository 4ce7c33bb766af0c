"""How much of a session may wait in the agent: audio within its window, and what was told within its queue."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.lane_protocol.messages import Message
from voxfleet_agent.lane_protocol.session_messages import (
    AudioTaken,
    CancelSession,
    SessionEnded,
    SessionOpened,
    TextDelta,
    TurnDone,
)
from voxfleet_agent.lanes.lane_session import (
    MOST_WAITING_REQUESTS,
    FileSession,
    HearingSession,
    LaneSession,
    SessionBounds,
)
from voxfleet_agent.lanes.session_feed import SessionFeed
from voxfleet_agent.lanes.session_queue import SessionEvent
from voxfleet_api.failures import FailureClass
from voxfleet_api.rows import TimedText

WINDOW_BYTES = 1_000
HOUR = TextDelta(session=1, turn=0, text="word " * 12_000)
HOUR_DONE = TurnDone(
    session=1,
    turn=0,
    text=HOUR.text,
    segments=tuple(TimedText(start_milliseconds=n, end_milliseconds=n + 1, text="word " * 10) for n in range(1_200)),
)


class Child:
    alive = True

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def send(self, request: Message) -> None:
        self.sent.append(request)

    async def until_taken(self) -> None: ...


def told(session: LaneSession) -> list[SessionEvent]:
    return list(session._queue._events)


def end_of(session: LaneSession) -> FailureClass | None:
    last = told(session)[-1]
    assert isinstance(last, SessionEnded)
    return last.failure_class


def opened(child: Child, window_bytes: int = WINDOW_BYTES) -> HearingSession:
    session = HearingSession(1, SessionFeed(child), SessionBounds(), lambda: 0.0)
    session.told(SessionOpened(session=1, sample_rate_hz=16_000, window_bytes=window_bytes))
    return session


@given(st.lists(st.tuples(st.integers(1, 200), st.integers(0, 300)), max_size=30))
def test_who_stays_within_the_window_never_loses_a_session_and_who_does_not_does_at_once(
    steps: list[tuple[int, int]],
) -> None:
    child, sent, taken = Child(), 0, 0
    session = opened(child)
    for samples, more in steps:
        while 2 * samples + sent - taken > WINDOW_BYTES:  # as an honest sender waits
            taken = min(sent, taken + more + 1)
            session.told(AudioTaken(session=1, total_bytes=taken))
        session.send_audio(bytes(2 * samples))
        sent += 2 * samples
    assert not any(isinstance(event, SessionEnded) for event in told(session))
    session.send_audio(bytes(WINDOW_BYTES - (sent - taken) + 2 + (sent - taken) % 2))
    assert end_of(session) is FailureClass.THROTTLED
    assert child.sent == [CancelSession(session=1)] and session._feed.waiting_requests(1) == 0


def test_a_child_opens_no_larger_window_than_the_agent_has_room_for_and_counts_no_more_than_was_sent() -> None:
    session = opened(Child(), 2**30)
    (first,) = told(session)
    assert isinstance(first, SessionOpened) and first.window_bytes == SessionBounds().window_bytes
    session.told(AudioTaken(session=1, total_bytes=2**30))
    session.send_audio(bytes(first.window_bytes))
    assert not session.ended
    session.send_audio(bytes(2))
    assert session.ended


def test_requests_without_audio_are_bounded_too() -> None:
    session = opened(Child())
    for _ in range(MOST_WAITING_REQUESTS):
        session.commit()
    assert not session.ended
    session.clear()
    assert end_of(session) is FailureClass.THROTTLED


def test_counts_that_nobody_has_read_are_one_count() -> None:
    session = opened(Child())
    for total in range(1, 10_000):
        session.told(AudioTaken(session=1, total_bytes=total))
    assert told(session)[1:] == [AudioTaken(session=1, total_bytes=9_999)]


@pytest.mark.parametrize(("kind", "ends"), [(FileSession, False), (HearingSession, True)])
def test_an_hour_in_one_piece_is_told_of_a_file_and_too_much_of_a_turn(
    kind: type[FileSession | HearingSession], ends: bool
) -> None:
    session = kind(1, SessionFeed(Child()), SessionBounds(), lambda: 0.0)
    session.told(HOUR)
    session.told(HOUR_DONE)
    assert session.ended is ends
    if ends:
        assert end_of(session) is FailureClass.TRANSPORT
