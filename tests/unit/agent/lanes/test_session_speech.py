"""When somebody in a session speaks, so that batches stand still."""

from __future__ import annotations

import itertools
from typing import cast

from tests.unit.agent.lanes.test_session_debts import Child, Clock

from voxfleet_agent.lane_protocol.session_messages import (
    OpenHearing,
    SessionOpened,
    SpeechStarted,
    TurnDetection,
    TurnDropped,
)
from voxfleet_agent.lanes.child_process import ChildProcess
from voxfleet_agent.lanes.lane_session import QUIET_SECONDS, HearingSession, SessionBounds
from voxfleet_agent.lanes.session_feed import SessionFeed
from voxfleet_agent.lanes.session_table import SessionTable

DETECTION = TurnDetection(threshold_percent=50, prefix_padding_milliseconds=300, silence_milliseconds=500)


def test_without_turn_detection_a_caller_that_sends_nothing_is_silent() -> None:
    clock = Clock()
    session = HearingSession(1, SessionFeed(Child()), SessionBounds(), clock)
    session.told(SessionOpened(session=1, sample_rate_hz=16_000, window_bytes=1_000))
    session.detects_turns = False
    changes: list[bool] = []
    session.moved = lambda: changes.append(session.speaking)
    seen: list[bool] = []
    for seconds in (0.0, 0.5 * QUIET_SECONDS, QUIET_SECONDS):
        clock.seconds += seconds
        seen.append(session.speaking)
        session.send_audio(bytes(2))
    assert seen == [False, True, False]
    assert changes == [True, True], "told at each onset, and once"


async def test_speech_that_the_child_hears_before_a_clear_ends_with_it() -> None:
    """The client clears before the child has told that speech started; silence follows."""
    table = SessionTable(cast(ChildProcess, Child()), itertools.count(), 1, SessionBounds())
    opening = OpenHearing(session=0, sample_rate_hz=16_000, turn_detection=DETECTION, max_turn_milliseconds=30_000)
    session = table.open_hearing(opening)
    session.send_audio(bytes(2 * 16_000))
    session.clear()
    table.told(SpeechStarted(session=session.number, turn=0, audio_milliseconds=0))
    assert table.speaking
    changes: list[bool] = []
    table.changed = lambda: changes.append(table.speaking)
    table.told(TurnDropped(session=session.number, turn=0))
    assert changes == [False]
