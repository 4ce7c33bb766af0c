"""What a child owes its sessions, answer by answer."""

from __future__ import annotations

import asyncio
import itertools
from typing import cast

from voxfleet_agent.lane_protocol.channel import frame
from voxfleet_agent.lane_protocol.messages import Message
from voxfleet_agent.lane_protocol.session_messages import (
    OpenSpeaking,
    SessionEnded,
    SessionOpened,
    SpokenAudio,
    TextDelta,
    TurnCommitted,
    TurnDone,
    WorkingOnAudio,
)
from voxfleet_agent.lanes.child_process import ChildProcess
from voxfleet_agent.lanes.lane_session import HearingSession, LaneSession, SessionBounds, SpeakingSession
from voxfleet_agent.lanes.lane_types import LoadedModel
from voxfleet_agent.lanes.session_feed import SessionFeed
from voxfleet_agent.lanes.session_table import SessionTable

ROOM = 1_000


class Child:
    """Takes all that it is sent."""

    loaded: LoadedModel | None = None
    last_received_seconds = 0.0

    def __init__(self) -> None:
        self.sent_bytes = 0

    @property
    def taken_bytes(self) -> int:
        return self.sent_bytes

    alive = True

    async def until_taken(self) -> None: ...

    def send(self, message: Message) -> None:
        self.sent_bytes += len(frame(message))


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def hearing(clock: Clock) -> HearingSession:
    session = HearingSession(1, SessionFeed(Child()), SessionBounds(), clock)
    session.told(SessionOpened(session=1, sample_rate_hz=16_000))
    return session


def speaking(clock: Clock) -> SpeakingSession:
    session = SpeakingSession(1, SessionFeed(Child()), SessionBounds(), clock, ROOM)
    session.told(SessionOpened(session=1, sample_rate_hz=16_000))
    return session


def spoken(samples: int) -> SpokenAudio:
    return SpokenAudio(session=1, pcm=bytes(2 * samples))


def debt(session: LaneSession) -> tuple[float | None, bool]:
    return session.owed_since_seconds, session.may_be_passed_over


def test_turns_that_are_told_one_after_the_other_after_the_end_are_no_debt() -> None:
    clock = Clock()
    session = hearing(clock)
    session.end()
    assert session.owed_since_seconds == 0.0
    for turn in range(10):
        clock.seconds += 100.0
        session.told(TurnCommitted(session=1, turn=turn))
        assert session.owed_since_seconds == clock.seconds
        clock.seconds += 100.0
        session.told(TurnDone(session=1, turn=turn))
        assert session.owed_since_seconds == clock.seconds


def test_every_answer_begins_the_time_of_an_owed_text_anew() -> None:
    clock = Clock()
    session = hearing(clock)
    session.told(TurnCommitted(session=1, turn=0))
    clock.seconds = 200.0
    session.told(TextDelta(session=1, turn=0, text="a"))
    assert session.owed_since_seconds == 200.0
    session.told(TurnDone(session=1, turn=0))
    assert session.owed_since_seconds is None


def test_what_comes_after_a_cancel_pays_nothing() -> None:
    clock = Clock()
    session = speaking(clock)
    session.told(spoken(100))
    session.cancel()
    clock.seconds = 100.0
    session.told(spoken(100))
    assert debt(session) == (0.0, False)


def test_a_listener_who_has_more_to_hear_may_be_passed_over_until_all_of_it_is_taken() -> None:
    clock = Clock()
    session = speaking(clock)
    assert debt(session) == (0.0, False)
    session.told(spoken(400))
    clock.seconds = 250.0
    assert debt(session) == (0.0, True)
    session.grant(300)
    assert debt(session) == (0.0, True)
    session.grant(100)
    assert debt(session) == (250.0, False)
    clock.seconds = 260.0
    session.grant(0)
    assert debt(session) == (250.0, False), "who only asks for more does not excuse the child"


def test_a_speech_that_nobody_adds_to_still_gets_room() -> None:
    session = speaking(Clock())
    session.end()
    session.told(spoken(ROOM))
    assert debt(session) == (None, True)
    session.grant(ROOM)
    assert debt(session) == (0.0, False)
    session.told(SessionEnded(session=1))
    assert session.ended


def test_a_table_tells_a_session_that_is_passed_over_from_one_that_comes_after_those_with_less() -> None:
    async def check() -> None:
        child = Child()
        table = SessionTable(cast(ChildProcess, child), itertools.count(), 2, SessionBounds())
        session = table.open_speaking(OpenSpeaking(session=0, text="x", room_samples=ROOM))
        silence = table.silence()
        assert silence.owed_since_seconds == silence.passed_over_since_seconds == session.owed_since_seconds
        table.told(SpokenAudio(session=session.number, pcm=bytes(200)))
        silence = table.silence()
        assert silence.owed_since_seconds is not None and silence.passed_over_since_seconds is None

    asyncio.run(check())


def test_nobody_is_passed_over_by_a_long_step_that_goes_on() -> None:
    async def check() -> None:
        table = SessionTable(cast(ChildProcess, Child()), itertools.count(), 2, SessionBounds())
        session = table.open_speaking(OpenSpeaking(session=0, text="x", room_samples=ROOM))
        table.told(WorkingOnAudio(audio_milliseconds=20_000))
        assert table.silence().step_audio_seconds == 20.0
        table.told(WorkingOnAudio(audio_milliseconds=0))
        silence = table.silence()
        assert silence.step_audio_seconds == 0.0 and silence.owed_since_seconds == session.owed_since_seconds
        assert silence.passed_over_since_seconds is not None and silence.owed_since_seconds is not None
        assert silence.passed_over_since_seconds > silence.owed_since_seconds

    asyncio.run(check())
