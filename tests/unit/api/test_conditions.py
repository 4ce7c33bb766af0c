"""Setting conditions."""

from __future__ import annotations

from voxfleet_api.conditions import Condition, ConditionType, condition, find, is_true, truncate

BEFORE = "2026-11-20T00:00:00Z"
NOW = "2026-11-20T01:00:00Z"


def make(status: bool | None, reason: str, previous: tuple[Condition, ...] = (), now: str = NOW) -> Condition:
    return condition(previous, ConditionType.COMPLETE, status, reason, "text", generation=3, now=now)


def test_transition_time_moves_only_with_the_status() -> None:
    first = make(False, "Pending", now=BEFORE)
    same = make(False, "Running", (first,))
    assert (same.last_transition_time, same.reason, same.observed_generation) == (BEFORE, "Running", 3)
    assert make(True, "Finished", (same,)).last_transition_time == NOW


def test_a_transition_time_that_a_fast_clock_wrote_becomes_now() -> None:
    ahead = make(False, "Pending")
    assert make(False, "Running", (ahead,), now=BEFORE).last_transition_time == BEFORE


def test_unknown_is_a_status_of_its_own() -> None:
    assert make(None, "Unknown").status == "Unknown"
    assert not is_true([make(None, "Unknown")], ConditionType.COMPLETE)
    assert find([make(True, "Finished")], ConditionType.FAILED) is None


def test_long_messages_are_cut_to_the_limit_of_the_api() -> None:
    assert len(truncate("x" * 5000).encode()) == 1024
    assert len(truncate("\N{GRINNING FACE}" * 500).encode()) in range(1020, 1025)
    assert truncate("short") == "short"
