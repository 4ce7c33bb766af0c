"""What a Mac's session tells its agent about lanes: a table of calls, and properties for random orders and answers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voxfleet_api.endpoint_lanes import LaneKey, LaneRequest, LaneState, LaneStatus
from voxfleet_api.protocol import Problem
from voxfleet_operator.fleet.lane_orders import (
    LONGEST_PAUSE_SECONDS,
    MAX_LANES,
    MOVING_SECONDS,
    READY_SECONDS,
    LaneLetter,
    LaneOrders,
)
from voxfleet_operator.fleet.mac_view import AgentRefused, LaneAnswer, Outcome

DIGEST = "sha256:" + "a" * 64
KEY = LaneKey("uid", 3)


def a_request(lease_seconds: int = 60) -> LaneRequest:
    return LaneRequest(spec_digest=DIGEST, spec={}, lease_seconds=lease_seconds, uri_prefixes=())


def a_status(state: LaneState, sessions: int = 0) -> LaneStatus:
    return LaneStatus(
        endpoint_uid="uid",
        generation=3,
        spec_digest=DIGEST,
        namespace="team",
        endpoint="captions",
        state=state,
        sessions=sessions,
    )


def accepted(state: LaneState, at: float = 0.0, sessions: int = 0) -> LaneAnswer:
    return LaneAnswer(Outcome.ACCEPTED, at, a_status(state, sessions))


def take(orders: LaneOrders, now: float = 0.0) -> LaneLetter:
    letter = orders.next(now)
    assert letter is not None
    return letter


def test_a_lane_is_told_often_while_it_loads_and_now_and_then_once_it_is_ready() -> None:
    orders = LaneOrders()
    orders.hold(KEY, a_request())
    letter = take(orders)
    assert letter.request == a_request() and orders.next(0.0) is None, "one call at a time"
    assert orders.answered(letter, accepted(LaneState.LOADING))
    assert orders.next_due_seconds() == MOVING_SECONDS and orders.next(0.5) is None
    assert orders.answered(take(orders, 1.0), accepted(LaneState.READY, 1.0))
    assert orders.next_due_seconds() == 1.0 + READY_SECONDS
    assert not orders.answered(take(orders, 6.0), accepted(LaneState.READY, 6.0)), "that is no news"
    assert orders.answered(take(orders, 11.0), accepted(LaneState.READY, 11.0, sessions=1))
    orders.hold(KEY, a_request())
    assert orders.next(11.0) is None, "the same request is no reason to call"
    orders.hold(KEY, a_request(lease_seconds=90))
    assert take(orders, 11.0).request == a_request(lease_seconds=90)


def test_what_is_stated_while_a_call_is_under_way_is_told_at_once() -> None:
    for answer in (accepted(LaneState.READY), LaneAnswer(Outcome.UNKNOWN, 0.0)):
        orders = LaneOrders()
        orders.hold(KEY, a_request())
        letter = take(orders)
        orders.hold(KEY, a_request(lease_seconds=90))
        orders.answered(letter, answer)
        newer = take(orders)
        assert newer.request == a_request(lease_seconds=90)
        orders.answered(newer, answer)
        assert orders.next(0.0) is None, "once"


def test_without_a_request_the_agent_is_asked_or_told_what_was_stated_before() -> None:
    orders = LaneOrders()
    orders.hold(KEY, None)
    letter = take(orders)
    assert letter == LaneLetter(KEY)
    orders.answered(letter, LaneAnswer(Outcome.GONE, 0.0))
    orders.hold(KEY, a_request())
    orders.hold(KEY, None)
    assert take(orders).request == a_request()


def test_a_drop_is_repeated_until_nothing_is_left_and_remembered_then() -> None:
    orders = LaneOrders()
    orders.hold(KEY, a_request())
    late = take(orders)
    orders.drop(KEY)
    assert orders.next(0.0) is None, "its calls arrive in their order"
    assert not orders.answered(late, accepted(LaneState.READY)) and orders.answers() == {}
    orders.answered(take(orders), LaneAnswer(Outcome.DELETING, 0.0))
    assert take(orders, 1.0).drops
    orders.answered(LaneLetter(KEY, drops=True), LaneAnswer(Outcome.GONE, 1.0))
    orders.drop(KEY)
    assert orders.next(1e9) is None and orders.answers()[KEY].outcome is Outcome.GONE


def test_a_newer_lane_takes_the_place_of_an_older_one_and_never_the_other_way_round() -> None:
    orders = LaneOrders()
    newer = LaneKey("uid", 4)
    orders.hold(KEY, a_request())
    orders.hold(newer, a_request())
    orders.drop(KEY)
    orders.hold(KEY, a_request())
    assert take(orders).key == newer


def test_a_break_of_contact_forgets_what_is_held_and_not_what_is_to_go() -> None:
    orders = LaneOrders()
    orders.hold(KEY, a_request())
    orders.drop(LaneKey("other", 1))
    orders.answered(take(orders), accepted(LaneState.READY))
    orders.connection_lost()
    assert take(orders, 1e6) == LaneLetter(LaneKey("other", 1), drops=True)
    assert orders.next(1e6) is None and orders.answers() == {}


def test_an_agent_that_refuses_is_asked_ever_more_rarely_or_as_it_says() -> None:
    orders, now, pauses = LaneOrders(), 0.0, []
    orders.hold(KEY, a_request())
    for _ in range(8):
        letter = take(orders, now)
        orders.answered(letter, LaneAnswer(Outcome.REFUSED, now, refusal=AgentRefused(503, Problem(message="no"))))
        pauses.append(orders.next_due_seconds() - now)
        now = orders.next_due_seconds()
    assert pauses[:3] == [2, 4, 8] and pauses[-1] == LONGEST_PAUSE_SECONDS
    refusal = AgentRefused(429, Problem(message="no"), 120.0)
    orders.answered(take(orders, now), LaneAnswer(Outcome.REFUSED, now, refusal=refusal))
    assert orders.next_due_seconds() == now + 120


def test_there_is_room_for_so_many_and_what_is_gone_makes_some() -> None:
    orders = LaneOrders()
    for number in range(MAX_LANES + 1):
        orders.drop(LaneKey(f"uid-{number}", 1))
    called = 0
    while (letter := orders.next(0.0)) is not None:
        orders.answered(letter, LaneAnswer(Outcome.GONE, 0.0))
        called += 1
    assert called == MAX_LANES
    orders.hold(KEY, a_request())
    assert take(orders).key == KEY and len(orders.answers()) == MAX_LANES - 1


@given(
    wanted=st.lists(st.sampled_from(["hold", "drop", "ask"]), min_size=1, max_size=24),
    call_seconds=st.floats(0.0, 5.0),
    said=st.sampled_from([LaneState.LOADING, LaneState.READY, None]),
    stated_anew=st.lists(st.integers(0, 23), max_size=24),
)
def test_no_order_is_told_twice_before_each_that_is_due_was_told_once(
    wanted: list[str], call_seconds: float, said: LaneState | None, stated_anew: list[int]
) -> None:
    """However slow the calls are, whatever the agent says, and whoever is told something new meanwhile."""
    orders, now, told = LaneOrders(), 0.0, []
    for number, what in enumerate(wanted):
        key = LaneKey(str(number), 1)
        orders.drop(key) if what == "drop" else orders.hold(key, a_request() if what == "hold" else None)
    for turn in range(len(wanted)):
        letter = take(orders, now)
        told.append(letter.key)
        now += call_seconds
        status = None if said is None else a_status(said)
        outcome = Outcome.DELETING if letter.drops else Outcome.UNKNOWN if status is None else Outcome.ACCEPTED
        orders.answered(letter, LaneAnswer(outcome, now, status))
        for number in stated_anew[turn : turn + 1]:
            if number < len(wanted):
                orders.hold(LaneKey(str(number), 1), a_request(lease_seconds=61 + turn))
    assert len(set(told)) == len(wanted)


UIDS = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("hold"), UIDS, st.integers(1, 4)),
        st.tuples(st.just("drop"), UIDS, st.integers(1, 4)),
        st.tuples(st.just("call"), UIDS, st.integers(0, 3)),
        st.tuples(st.just("lose"), UIDS, st.just(0)),
    ),
    max_size=40,
)


@given(STEPS)
def test_calls_about_a_lane_keep_their_order_and_numbers_never_fall(steps: list[tuple[str, str, int]]) -> None:
    orders, now = LaneOrders(), 0.0
    under_way: dict[str, LaneLetter] = {}
    newest: dict[str, int] = {}
    for step, uid, number in steps:
        now += 10.0
        match step:
            case "hold":
                orders.hold(LaneKey(uid, number), a_request())
            case "drop":
                orders.drop(LaneKey(uid, number))
            case "lose":
                orders.connection_lost()
                newest.clear()
            case "call" if under_way:
                done = under_way.pop(next(iter(under_way)))
                outcome = (Outcome.ACCEPTED, Outcome.GONE, Outcome.DELETING, Outcome.UNKNOWN)[number]
                orders.answered(done, LaneAnswer(outcome, now))
        letter = orders.next(now)
        if letter is None:
            continue
        assert letter.key.endpoint_uid not in under_way
        under_way[letter.key.endpoint_uid] = letter
        assert letter.key.generation >= newest.get(letter.key.endpoint_uid, 0)
        newest[letter.key.endpoint_uid] = letter.key.generation
