"""What an agent counts of a lane's turns, and since when a lane burns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rig.measured_turns import BEGUN, a_turn, counted

from voxfleet_agent.endpoint_lanes.latencies import (
    BURN_WINDOW_SECONDS,
    LONGEST_MILLISECONDS,
    MOST_STALLS,
    RecentTurn,
    burning_since_seconds,
)
from voxfleet_api.endpoint_latency import HELD_TO_TARGET, LaneLatency, LatencyPart, bucket_of
from voxfleet_api.session_protocol import LatencyKind


def test_turns_are_counted_by_kind_and_part() -> None:
    found = counted(
        a_turn(900, gateway=5, tunnel=40, wait=600, infer=250),
        a_turn(1_400, gateway=5, tunnel=40, wait=1_100, infer=260),
        a_turn(300, infer=200, stalls=3, kind=LatencyKind.FIRST_AUDIO),
    ).told()
    heard, spoken = found.kinds
    assert (heard.latency, heard.turns, heard.slow, heard.stalls) == ("FinalText", 2, 1, 0)
    assert (spoken.latency, spoken.turns, spoken.slow, spoken.stalls) == ("FirstAudio", 1, 0, 3)
    assert [heard.part(part).sum_milliseconds for part in LatencyPart] == [10, 80, 1_700, 510]
    assert [heard.part(part).slow_milliseconds for part in LatencyPart] == [5, 40, 1_100, 260]
    assert heard.total.counts[bucket_of(900)] == heard.total.counts[bucket_of(1_400)] == 1
    assert found.since.startswith(BEGUN.strftime("%Y-%m-%dT%H:%M"))


@pytest.mark.parametrize(("target", "slow"), [("1s", 1), ("2s", 0), (None, 0)])
def test_slow_is_what_takes_longer_than_the_contracts_target(target: str | None, slow: int) -> None:
    assert counted(1_000, 1_001, target=target).told().kinds[0].slow == slow


def test_a_lane_without_turns_says_so() -> None:
    assert counted().told().kinds == ()


def test_what_a_caller_says_is_bounded_and_goes_over_the_wire() -> None:
    found = counted(*[a_turn(2**40, infer=2**40, stalls=2**31)] * 3).told()
    assert found.kinds[0].total.sum_milliseconds == 3 * LONGEST_MILLISECONDS
    assert found.kinds[0].stalls == 3 * MOST_STALLS
    assert LaneLatency.load(found.dump()) == found


def recent(*slow: int, every_seconds: float = 5.0) -> list[RecentTurn]:
    return [RecentTurn(n * every_seconds, bool(value)) for n, value in enumerate(slow)]


BURNS: dict[str, tuple[list[RecentTurn], float, float | None]] = {
    "nobody speaks": ([], 100.0, None),
    "too few": (recent(1, 1, 1, 1), 20.0, None),
    "from the fifth turn on": (recent(1, 1, 1, 1, 1, 1), 30.0, 20.0),
    "from the first slow one on": (recent(0, 0, 0, 0, 0, 0, 1, 0, 1), 45.0, 30.0),
    "one of twenty is allowed": (recent(*[0] * 10, 1, *[0] * 9, every_seconds=1.0), 20.0, None),
    "two of twenty are not": (recent(*[0] * 18, 1, 1, every_seconds=1.0), 20.0, 18.0),
    "over a minute ago": (recent(1, 1, 1, 1, 1), 20.0 + BURN_WINDOW_SECONDS, None),
    "again, after it was over": (
        [*recent(1, 1, 1, 1, 1), *(RecentTurn(500.0 + n, True) for n in range(5))],
        506.0,
        504.0,
    ),
}


@pytest.mark.parametrize("name", BURNS)
def test_since_when_a_lane_burns(name: str) -> None:
    turns, now_seconds, since_seconds = BURNS[name]
    assert burning_since_seconds(turns, now_seconds) == since_seconds


@given(st.lists(st.tuples(st.floats(0, 30), st.booleans()), max_size=60), st.floats(0, 100))
def test_a_burn_begins_with_a_turn_and_needs_a_slow_one(steps: list[tuple[float, bool]], later: float) -> None:
    turns, at_seconds = [], 0.0
    for step, slow in steps:
        at_seconds += step
        turns.append(RecentTurn(at_seconds, slow))
    since = burning_since_seconds(turns, at_seconds + later)
    if since is not None:
        assert 0.0 <= since <= at_seconds + later
        assert any(turn.slow and turn.at_seconds > at_seconds + later - BURN_WINDOW_SECONDS for turn in turns)


def test_a_lane_knows_since_when_it_burns() -> None:
    clock = [0.0]
    latencies = counted(seconds=lambda: clock[0])
    for second in range(8):
        clock[0] = float(second)
        latencies.measured(a_turn(1_500))
    assert latencies.burning_since_seconds() == 4.0
    clock[0] += BURN_WINDOW_SECONDS
    assert latencies.burning_since_seconds() is None


def test_a_first_delta_is_counted_and_held_to_no_target() -> None:
    latencies = counted(*[a_turn(5_000, kind=LatencyKind.FIRST_TEXT)] * 9)
    (kind,) = latencies.told().kinds
    assert (kind.latency, kind.turns, kind.slow) == ("FirstText", 9, 0)
    assert latencies.burning_since_seconds() is None
    assert {*LatencyKind} - HELD_TO_TARGET == {LatencyKind.FIRST_TEXT} and {*LatencyKind} > HELD_TO_TARGET
