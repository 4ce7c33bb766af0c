"""Which lane gets a session: the table, and what holds for every fleet."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voxfleet_api.endpoint_lanes import LaneKey
from voxfleet_gateway.lane_choice import Avoidance, OfferedLane, lane_order, nobody_took_it
from voxfleet_gateway.mac_links.link_state import LinkState
from voxfleet_gateway.mac_links.refused_openings import OpeningRefused, Refusal

NOW, MAX_PER_LANE = 1000.0, 4


def lane(
    mac: str, open_sessions: int = 0, link: LinkState = LinkState.UP, avoided: Avoidance | None = None
) -> OfferedLane:
    return OfferedLane(mac, LaneKey(f"uid-{mac}", 1), link, open_sessions, avoided)


lanes = st.lists(
    st.builds(
        lane,
        st.sampled_from("abcdef"),
        st.integers(0, 6),
        st.sampled_from(LinkState),
        st.none() | st.builds(Avoidance, st.floats(NOW - 5, NOW + 5), st.booleans()),
    ),
    max_size=6,
)


def order(*offered: OfferedLane) -> str:
    return "".join(found.mac for found in lane_order(offered, MAX_PER_LANE, NOW))


def test_the_least_busy_lane_comes_first_and_equals_stay_as_they_are() -> None:
    assert order(lane("a", 2), lane("b", 0), lane("c", 0), lane("d", 1)) == "bcda"


def test_of_equals_the_one_whose_link_is_open_comes_first() -> None:
    assert order(lane("a", 0, LinkState.CLOSED), lane("b", 1), lane("c", 0), lane("d", 0, LinkState.DIALLING)) == "cadb"


def test_lanes_that_are_full_lost_or_refused_lately_are_not_asked() -> None:
    refused, long_ago = Avoidance(NOW + 1, is_full=True), Avoidance(NOW, is_full=True)
    assert (
        order(lane("a", 4), lane("b", 0, LinkState.DOWN), lane("c", avoided=refused), lane("d", avoided=long_ago))
        == "d"
    )


@given(lanes)
def test_the_order_is_of_lanes_that_may_take_it_each_once(offered: list[OfferedLane]) -> None:
    found = lane_order(offered, MAX_PER_LANE, NOW)
    assert all(one.open_sessions < MAX_PER_LANE and one.link is not LinkState.DOWN for one in found)
    busy = [(one.open_sessions, one.link is not LinkState.UP) for one in found]
    assert busy == sorted(busy) and len(found) <= len(offered)


@given(lanes, st.lists(st.builds(OpeningRefused, st.sampled_from(Refusal), st.just("why")), max_size=3))
def test_whoever_is_turned_away_is_told_when_to_come_back(
    offered: list[OfferedLane], refusals: list[OpeningRefused]
) -> None:
    answer = nobody_took_it(offered, MAX_PER_LANE, refusals, NOW)
    assert answer.status in (429, 503)
    assert answer.retry_after_seconds is not None and 0 < answer.retry_after_seconds <= 60


def test_full_lanes_are_429_and_lost_ones_503() -> None:
    full, gone = OpeningRefused(Refusal.FULL, "full", retry_after_seconds=3.0), OpeningRefused(Refusal.UNREACHABLE, "x")
    assert nobody_took_it([lane("a", 4)], MAX_PER_LANE, [], NOW).status == 429
    assert nobody_took_it([lane("a", 4, LinkState.DOWN)], MAX_PER_LANE, [], NOW).status == 503
    assert nobody_took_it([lane("a")], MAX_PER_LANE, [full, gone], NOW).retry_after_seconds == 3.0
    assert nobody_took_it([lane("a")], MAX_PER_LANE, [gone], NOW).status == 503
    waits = Avoidance(NOW + 2.5, is_full=True)
    assert nobody_took_it([lane("a", avoided=waits)], MAX_PER_LANE, [], NOW).retry_after_seconds == 2.5


def test_what_a_lane_said_reaches_the_caller_and_what_a_link_said_does_not() -> None:
    told = OpeningRefused(Refusal.NOT_READY, "MemoryExceeded: raise memoryCap")
    link = OpeningRefused(Refusal.NOT_ADMITTED, "the token of mac-a")
    message = nobody_took_it([lane("a")], MAX_PER_LANE, [told, link], NOW).message
    assert "raise memoryCap" in message and "mac-a" not in message
