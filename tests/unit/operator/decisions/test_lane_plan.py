"""Properties of what is decided on an endpoint's lanes, for whatever its status says and its Macs answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.operator.decisions.endpoint_world import MODEL, endpoint_body
from tests.unit.operator.decisions.memory_api import START

from voxfleet_api.endpoint_lanes import LaneState, LaneStatus
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.endpoint_status import EndpointLane, EndpointLaneState, VoiceEndpointStatus
from voxfleet_api.moments import timestamp
from voxfleet_api.protocol import AttemptFailure
from voxfleet_operator.fleet.mac_view import LaneAnswer, Outcome
from voxfleet_operator.reconcile.endpoint.decide import LanePlan, LaneSnapshot, plan_lanes
from voxfleet_operator.reconcile.endpoint.lane_life import LaneSight
from voxfleet_operator.reconcile.lane_places import GivenUp, LanePlaces

NOW = START + timedelta(hours=1)
OLD, NEW = f"sha256:{'0' * 64}", f"sha256:{'1' * 64}"
MACS = [f"mac-{letter}" for letter in "abcdef"]
FRESH = LaneSight(exists=True, connected=True)
"""A Mac that was not told of its lane yet."""
AGES = st.sampled_from([0, 30, 90, 3600]).map(lambda seconds: timestamp(NOW - timedelta(seconds=seconds)))


@st.composite
def lanes(draw: st.DrawFn, mac: str, generation: int) -> EndpointLane:
    state = draw(st.sampled_from(EndpointLaneState))
    has_failed = state is EndpointLaneState.FAILED
    made = {
        "mac": mac,
        "generation": generation,
        "spec_digest": draw(st.sampled_from([OLD, NEW])),
        "state": state,
        "since": draw(AGES),
        "failures": draw(st.integers(0, 4)) if has_failed else 0,
        "failure_class": draw(st.sampled_from([None, FailureClass.MODEL_UNAVAILABLE])) if has_failed else None,
        "retry_time": draw(AGES) if has_failed else None,
    }
    return EndpointLane.model_validate(made)


@st.composite
def sights(draw: st.DrawFn, lane: EndpointLane) -> LaneSight:
    state = draw(st.sampled_from([None, *LaneState]))
    failure = AttemptFailure(failure_class=FailureClass.LANE_CRASHED, message="ended")
    status = LaneStatus(
        endpoint_uid="uid",
        generation=lane.generation,
        spec_digest=lane.spec_digest,
        namespace="team",
        endpoint="captions",
        state=LaneState.LOADING if state is None else state,
        model_digest=MODEL,
        sessions=draw(st.integers(0, 2)),
        failure=draw(st.sampled_from([None, failure])),
    )
    answers = [None, LaneAnswer(Outcome.GONE, 0.0), LaneAnswer(Outcome.ACCEPTED, 0.0, status)]
    return LaneSight(
        exists=draw(st.sampled_from([True, True, True, False])),
        connected=draw(st.booleans()),
        answer=draw(st.sampled_from(answers)),
        lease_seconds=60,
    )


@st.composite
def snapshots(draw: st.DrawFn) -> LaneSnapshot:
    macs = draw(st.lists(st.sampled_from(MACS), unique=True))
    numbers = draw(st.permutations(range(1, len(MACS) + 1)))
    found = tuple(draw(lanes(mac, number)) for mac, number in zip(sorted(macs), numbers, strict=False))
    status = VoiceEndpointStatus(
        lane_spec_digest=draw(st.sampled_from([OLD, NEW])),
        last_generation=len(MACS),
        model_digest=draw(st.sampled_from([None, MODEL])),
        macs=found,
    )
    body = endpoint_body()
    body["metadata"]["uid"] = "uid"
    held = [lane.mac for lane in found if lane.state != EndpointLaneState.FAILED]
    free = [mac for mac in MACS if mac not in held]
    given_up = {mac: GivenUp("why", draw(st.booleans())) for mac in held if draw(st.booleans())}
    return LaneSnapshot(
        endpoint=VoiceEndpoint.load(body).model_copy(update={"status": status}),
        wanted=draw(st.integers(0, 4)),
        spec_digest=draw(st.sampled_from([None, NEW, NEW, NEW])),
        sights={lane.mac: draw(sights(lane)) for lane in found},
        places=LanePlaces(tuple(draw(st.lists(st.sampled_from(free), unique=True)) if free else ()), given_up),
    )


def after(snapshot: LaneSnapshot, plan: LanePlan) -> LaneSnapshot:
    """The same moment once the plan is written, and no Mac has answered to it."""
    before = {lane.mac: lane for lane in snapshot.endpoint.status.macs}
    status = VoiceEndpointStatus(
        lane_spec_digest=snapshot.spec_digest or snapshot.endpoint.status.lane_spec_digest,
        last_generation=plan.last_generation,
        model_digest=plan.model_digest,
        macs=plan.lanes,
    )
    known = {
        lane.mac: snapshot.sights[lane.mac]
        if lane.mac in before and before[lane.mac].generation == lane.generation
        else FRESH
        for lane in plan.lanes
    }
    assigned = {lane.mac for lane in plan.lanes if known[lane.mac] is FRESH}
    candidates = tuple(mac for mac in snapshot.places.candidates if mac not in assigned)
    return replace(
        snapshot,
        endpoint=snapshot.endpoint.model_copy(update={"status": status}),
        sights=known,
        places=replace(snapshot.places, candidates=candidates),
    )


def assigned(snapshot: LaneSnapshot, plan: LanePlan) -> list[EndpointLane]:
    return [lane for lane in plan.lanes if lane.generation > snapshot.endpoint.status.last_generation]


@given(snapshots())
def test_what_is_told_is_new_where_it_may_be_and_pins_no_model_that_nobody_has(snapshot: LaneSnapshot) -> None:
    plan = plan_lanes(snapshot, NOW)
    numbers = [lane.generation for lane in plan.lanes]
    assert len(set(numbers)) == len(numbers) and max(numbers, default=0) <= plan.last_generation
    for lane in assigned(snapshot, plan):
        assert lane.mac not in snapshot.places.given_up, "its lane is to leave"
        assert lane.mac in snapshot.places.candidates or snapshot.sights[lane.mac].connected
    loaded = (EndpointLaneState.WARM, EndpointLaneState.UNREACHABLE)
    assert plan.model_digest is None or any(lane.state in loaded for lane in plan.lanes)


@given(snapshots())
def test_decisions_come_to_rest(snapshot: LaneSnapshot) -> None:
    for _ in range(len(MACS) + 2):
        plan = plan_lanes(snapshot, NOW)
        snapshot = after(snapshot, plan)
    assert plan_lanes(snapshot, NOW).lanes == plan.lanes


@given(snapshots())
def test_a_spec_takes_one_warm_lane_at_a_time_and_none_while_it_is_unproven(snapshot: LaneSnapshot) -> None:
    plan = plan_lanes(snapshot, NOW)
    before = {lane.mac: lane for lane in snapshot.endpoint.status.macs}
    taken = [
        lane
        for lane in assigned(snapshot, plan)
        if lane.mac in before
        and before[lane.mac].state == EndpointLaneState.WARM
        and lane.mac not in snapshot.places.candidates
        and _is_ready(snapshot.sights[lane.mac])
    ]
    assert len(taken) <= 1
    others = [lane for lane in plan.lanes if lane.spec_digest == NEW and lane not in taken]
    trials = [lane for lane in others if lane.state in (EndpointLaneState.LOADING, EndpointLaneState.WARM)]
    if taken:
        assert all(lane.state != EndpointLaneState.LOADING for lane in trials if lane.mac not in _leaving(snapshot))


def _is_ready(sight: LaneSight) -> bool:
    status = None if sight.answer is None else sight.answer.status
    return sight.connected and status is not None and status.state == LaneState.READY


def _leaving(snapshot: LaneSnapshot) -> set[str]:
    return set(snapshot.places.given_up)
