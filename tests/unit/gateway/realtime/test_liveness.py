"""Who is still there, who has nothing to say, and whose time is over: decided from a state and a moment."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_api.kinds.endpoint_session import SessionLimits
from voxfleet_gateway.realtime.endings import DRAINING, Ending, idle_too_long, too_old
from voxfleet_gateway.realtime.liveness import Ping, Rest, SocketState, SocketTimes, Unreachable, watched

LIMITS = SessionLimits(idle_seconds=60, max_seconds=3600)
TIMES = SocketTimes()
NOW = 1000.0
STATE = SocketState(
    is_draining=False,
    deadline=NOW + 3600,
    reading_since=NOW,
    last_received=NOW,
    last_said=NOW,
    pinged_at=None,
    awaits_text=False,
)
PINGED = replace(STATE, pinged_at=NOW + 3)


@pytest.mark.parametrize(
    ("state", "seconds", "decision"),
    [
        (STATE, 0, Rest(3.0)),
        (STATE, 2.5, Rest(0.5)),
        (STATE, 3, Ping.NOW),
        (PINGED, 3.5, Rest(1.0)),
        (PINGED, 4.5, Unreachable.CLIENT),
        # It answers pings and says nothing.
        (replace(STATE, last_received=NOW + 59), 59, Rest(1.0)),
        (replace(STATE, last_received=NOW + 60), 60, idle_too_long(LIMITS)),
        (replace(STATE, last_received=NOW + 60, last_said=NOW + 30), 60, Rest(3.0)),
        (replace(STATE, last_received=NOW + 600, awaits_text=True), 600, Rest(3.0)),
        (replace(STATE, last_received=NOW + 60, reading_since=NOW + 50), 60, Rest(3.0)),
        # The gateway does not read, because the lane takes no more.
        (replace(STATE, reading_since=None), 600, Rest(3.0)),
        (replace(PINGED, reading_since=None), 600, Rest(3.0)),
        (replace(PINGED, reading_since=NOW + 599), 600, Rest(0.5)),
        (replace(STATE, reading_since=None), 3600, too_old(LIMITS)),
        (replace(STATE, deadline=NOW + 1), 0, Rest(1.0)),
        (STATE, 3600, too_old(LIMITS)),
        (replace(STATE, is_draining=True), 0, DRAINING),
    ],
)
def test_what_is_to_be_done(state: SocketState, seconds: float, decision: object) -> None:
    assert watched(state, LIMITS, TIMES, NOW + seconds) == decision


Times = st.floats(min_value=0, max_value=5000)


@given(
    st.builds(
        SocketState,
        is_draining=st.booleans(),
        deadline=Times,
        reading_since=st.none() | Times,
        last_received=Times,
        last_said=Times,
        pinged_at=st.none() | Times,
        awaits_text=st.booleans(),
    ),
    Times,
)
def test_nobody_rests_for_nothing_or_past_the_deadline(state: SocketState, now: float) -> None:
    decision = watched(state, LIMITS, TIMES, now)
    if isinstance(decision, Rest):
        assert decision.seconds > 0 and now + decision.seconds <= state.deadline + 1e-6
    else:
        assert isinstance(decision, Ending | Ping | Unreachable)


def test_a_client_that_is_gone_is_noticed_within_five_seconds() -> None:
    assert TIMES.ping_after + TIMES.pong_within < 5 and TIMES.send_within < 5
