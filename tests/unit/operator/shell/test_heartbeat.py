"""The heartbeat tells a stall from a pause."""

from __future__ import annotations

from voxfleet_operator.heartbeat import STALL_SECONDS, Heartbeat


def test_a_stall_is_seen_while_it_lasts_and_marks_when_the_loop_went_on() -> None:
    now = 100.0
    heartbeat = Heartbeat(lambda: now)
    now += STALL_SECONDS
    heartbeat.beat()
    assert heartbeat.resumed_at_seconds == 100.0
    now += STALL_SECONDS + 0.1
    before = heartbeat.stalled
    heartbeat.beat()
    assert (before, heartbeat.stalled) == (True, False)
    assert heartbeat.resumed_at_seconds == now
