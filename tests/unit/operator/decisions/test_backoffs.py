"""Pauses after failures are remembered only as long as they matter."""

from __future__ import annotations

from voxfleet_operator.reconcile.backoffs import FORGET_SECONDS, Backoffs


def test_pauses_that_are_over_are_forgotten() -> None:
    backoffs = Backoffs()
    for number in range(1000):
        now = number * 10_000.0
        backoffs.shard_failed(f"shard-{number}", 1, now)
        backoffs.mac_failed(f"mac-{number}", now)
    assert len(backoffs) == 2
    assert backoffs.shard_pauses()["shard-999"] > now and backoffs.mac_until("mac-999") > now
    backoffs.forget(now + 2 * FORGET_SECONDS)
    assert len(backoffs) == 0, "although no other failure comes"


def test_a_mac_that_keeps_failing_pauses_longer_until_it_was_quiet_for_an_hour() -> None:
    backoffs, now = Backoffs(), 0.0
    pauses = []
    for _ in range(3):
        backoffs.mac_failed("mac", now)
        pauses.append(backoffs.mac_until("mac") - now)
        now += 60
    assert pauses == [1.0, 2.0, 4.0]
    now += FORGET_SECONDS
    backoffs.mac_failed("mac", now)
    assert backoffs.mac_until("mac") - now == 1.0
