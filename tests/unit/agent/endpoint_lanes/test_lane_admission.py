"""The answers to a PUT of an endpoint's lane, in the protocol's order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.attempts.admission import Refusal
from voxfleet_agent.endpoint_lanes.admission import (
    KnownLane,
    LanePutFacts,
    RepeatedLanePut,
    StartLane,
    decide_lane_put,
)
from voxfleet_api.endpoint_lanes import LaneState
from voxfleet_api.failures import FailureClass
from voxfleet_api.protocol import Problem

UNFIT = Problem(failure_class=FailureClass.RUNTIME_MISMATCH, message="upgrade this Mac")
MINE = KnownLane(3, "sha256:a", LaneState.READY)

# Everything is wrong at once; each row mends the fault that the previous answer named, so that the next one shows.
ALL_WRONG = LanePutFacts(
    generation=3,
    spec_digest="sha256:b",
    outdated=True,
    tombstone=3,
    known_lanes=(MINE, KnownLane(4, "sha256:c", LaneState.READY)),
    spec_problem=UNFIT,
    draining=True,
    scratch_shortage="full",
    lane_free=False,
)
IN_TIME = replace(ALL_WRONG, outdated=False)
NOT_DELETED = replace(IN_TIME, tombstone=2)
NEWEST = replace(NOT_DELETED, known_lanes=(MINE,))
NEW = replace(NEWEST, known_lanes=())
FIT = replace(NEW, spec_problem=None)
NOT_DRAINING = replace(FIT, draining=False)
ROOM = replace(NOT_DRAINING, scratch_shortage=None)
FREE = replace(ROOM, lane_free=True)

ORDER: list[tuple[LanePutFacts, int | RepeatedLanePut | StartLane]] = [
    (ALL_WRONG, 408),
    (IN_TIME, 410),
    (NOT_DELETED, 409),
    (NEWEST, 409),
    (replace(NEWEST, spec_digest="sha256:a"), RepeatedLanePut(retry=False)),
    (NEW, 422),
    (FIT, 503),
    (NOT_DRAINING, 507),
    (ROOM, 429),
    (FREE, StartLane()),
]


def answer(facts: LanePutFacts) -> int | RepeatedLanePut | StartLane:
    decision = decide_lane_put(facts)
    return decision.status if isinstance(decision, Refusal) else decision


@pytest.mark.parametrize(("facts", "expected"), ORDER)
def test_puts_are_checked_in_order(facts: LanePutFacts, expected: int | RepeatedLanePut | StartLane) -> None:
    assert answer(facts) == expected


LANES = st.builds(
    KnownLane,
    generation=st.integers(1, 5),
    spec_digest=st.sampled_from(["sha256:a", "sha256:b"]),
    state=st.sampled_from(LaneState),
    may_retry=st.booleans(),
)
FACTS = st.builds(
    LanePutFacts,
    generation=st.integers(1, 5),
    spec_digest=st.sampled_from(["sha256:a", "sha256:b"]),
    outdated=st.booleans(),
    tombstone=st.none() | st.integers(1, 5),
    known_lanes=st.lists(LANES, max_size=3, unique_by=lambda lane: lane.generation),
    spec_problem=st.none() | st.just(UNFIT),
    draining=st.booleans(),
    scratch_shortage=st.none() | st.just("full"),
    lane_free=st.booleans(),
)


@given(FACTS)
def test_the_first_fault_in_the_protocols_order_answers(facts: LanePutFacts) -> None:
    found = answer(facts)
    same = [lane for lane in facts.known_lanes if lane.generation == facts.generation]
    faults = [
        (408, facts.outdated),
        (410, facts.tombstone is not None and facts.generation <= facts.tombstone),
        (409, any(lane.generation > facts.generation for lane in facts.known_lanes)),
        (409, any(lane.spec_digest != facts.spec_digest for lane in same)),
    ]
    first = next((status for status, holds in faults if holds), None)
    if first is not None:
        assert found == first
    elif same:
        assert found in (RepeatedLanePut(retry=False), RepeatedLanePut(retry=True), 503, 429)
        ending, failed = same[0].state is LaneState.DELETING, same[0].state is LaneState.FAILED
        assert (found == RepeatedLanePut(retry=False)) is (not ending and not (failed and same[0].may_retry))
    else:
        rest = [
            (422, facts.spec_problem is not None),
            (503, facts.draining),
            (507, facts.scratch_shortage is not None),
            (429, not facts.lane_free),
        ]
        expected = next((status for status, holds in rest if holds), None)
        older = tuple(lane.generation for lane in facts.known_lanes if lane.state is not LaneState.DELETING)
        assert found == (StartLane(older) if expected is None else expected)


def test_refusals_name_the_generation_and_when_to_retry() -> None:
    deleted, newer, busy, unfit = (decide_lane_put(facts) for facts in (IN_TIME, NOT_DELETED, ROOM, NEW))
    assert isinstance(deleted, Refusal) and deleted.problem.held_generation == 3
    assert isinstance(newer, Refusal) and newer.problem.held_generation == 4
    assert isinstance(busy, Refusal) and busy.retry_after_seconds is not None
    assert isinstance(unfit, Refusal) and unfit.problem is UNFIT


@pytest.mark.parametrize(
    ("state", "may_retry", "draining", "lane_free", "expected"),
    [
        (LaneState.LOADING, True, True, False, RepeatedLanePut(retry=False)),
        (LaneState.READY, True, True, False, RepeatedLanePut(retry=False)),
        (LaneState.FAILED, False, False, True, RepeatedLanePut(retry=False)),
        (LaneState.FAILED, True, False, True, RepeatedLanePut(retry=True)),
        (LaneState.FAILED, True, True, True, 503),
        (LaneState.FAILED, True, False, False, 429),
        (LaneState.DELETING, True, False, True, 503),
    ],
)
def test_a_repeated_put_tries_a_lane_that_failed_again(
    state: LaneState, may_retry: bool, draining: bool, lane_free: bool, expected: int | RepeatedLanePut
) -> None:
    known = KnownLane(3, "sha256:a", state, may_retry)
    facts = replace(FREE, spec_digest="sha256:a", known_lanes=(known,), draining=draining, lane_free=lane_free)
    assert answer(facts) == expected
