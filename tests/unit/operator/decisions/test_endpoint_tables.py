"""How many lanes an endpoint wants, what its spec is accepted with, and what becomes of one lane."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.operator.decisions.bodies import contract
from tests.unit.operator.decisions.endpoint_world import MODEL, endpoint_body
from tests.unit.operator.decisions.memory_api import START

from voxfleet_api.conditions import MESSAGE_LIMIT, Reason
from voxfleet_api.endpoint_lanes import EndpointLaneSpec, LaneState, LaneStatus
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds import VoiceContract, VoiceEndpoint
from voxfleet_api.kinds.endpoint_status import EndpointLane, EndpointLaneState
from voxfleet_api.kinds.voice_endpoint import LaneRange
from voxfleet_api.moments import timestamp
from voxfleet_api.protocol import AttemptFailure, Problem
from voxfleet_operator.fleet.mac_view import AgentRefused, LaneAnswer, Outcome
from voxfleet_operator.reconcile.endpoint.accept import accept
from voxfleet_operator.reconcile.endpoint.decide import LanePlan
from voxfleet_operator.reconcile.endpoint.lane_life import (
    LONGEST_PAUSE,
    MOST_FAILURES,
    REVIVAL_TIME,
    SOUND_AFTER,
    LaneSight,
    lane_after,
    used_generation,
)
from voxfleet_operator.reconcile.endpoint.lane_spec import lane_request, lane_spec, told_digest
from voxfleet_operator.reconcile.endpoint.status import EndpointFacts, endpoint_status
from voxfleet_operator.reconcile.endpoint.wanted import SPARE_SECONDS, Load, closed, wanted_lanes
from voxfleet_operator.reconcile.job_findings import Blocker

NOW = START + timedelta(hours=1)  # 23:00
CONTRACT = VoiceContract.load(contract())
DIGEST = f"sha256:{'d' * 64}"
ONE_TO_FOUR = LaneRange(min=1, max=4)


def an_endpoint(generation: int = 1, **spec: Any) -> VoiceEndpoint:
    body = endpoint_body(**spec)
    body["metadata"] |= {"uid": "captions-uid", "generation": generation}
    return VoiceEndpoint.load(body)


@pytest.mark.parametrize(
    ("before", "warm", "sessions", "spare_seconds", "wanted"),
    [
        (0, 0, 0, 0.0, 1),
        (1, 1, 2, 0.0, 1),
        (1, 1, 3, 0.0, 2),
        (2, 1, 4, 0.0, 2),  # the next one is still to come
        (2, 2, 6, 0.0, 3),
        (4, 4, 16, 0.0, 4),
        (9, 4, 0, 0.0, 4),  # lanes.max was lowered
        (3, 3, 2, SPARE_SECONDS - 1, 3),
        (3, 3, 2, SPARE_SECONDS, 2),
        (3, 3, 6, SPARE_SECONDS, 3),  # two would be crowded
        (1, 1, 0, SPARE_SECONDS, 1),
    ],
)
def test_how_many_lanes_are_wanted(before: int, warm: int, sessions: int, spare_seconds: float, wanted: int) -> None:
    assert wanted_lanes(ONE_TO_FOUR, before, Load(warm, sessions, per_lane=4), spare_seconds) == wanted


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 400), st.sampled_from([0.0, SPARE_SECONDS]))
def test_what_is_wanted_keeps_to_the_range_and_moves_by_one(
    before: int, warm: int, sessions: int, spare_seconds: float
) -> None:
    lanes = LaneRange(min=2, max=9)
    wanted = wanted_lanes(lanes, before, Load(warm, sessions, per_lane=4), spare_seconds)
    assert lanes.min <= wanted <= lanes.max
    assert abs(wanted - min(max(before, lanes.min), lanes.max)) <= 1


def test_when_no_lane_is_wanted() -> None:
    day: dict[str, Any] = {"timeZone": "UTC", "windows": [{"start": "08:00", "end": "18:00"}]}
    shut = closed(an_endpoint(**day).spec, NOW)
    assert shut is not None and shut.reason is Reason.OUTSIDE_WINDOW
    assert shut.message == "none of spec.windows is open; the next opens at 2026-11-21 08:00 UTC"
    assert closed(an_endpoint(**day).spec, NOW + timedelta(hours=12)) is None
    suspended = closed(an_endpoint(suspend=True).spec, NOW)
    assert suspended is not None and suspended.reason is Reason.SUSPENDED
    assert closed(an_endpoint().spec, NOW) is None


def test_a_contract_is_copied_once_a_generation() -> None:
    first = accept(an_endpoint(), CONTRACT, None, NOW)
    assert first.contract is not None and first.spec is not None and first.blocker is None
    endpoint = an_endpoint().model_copy(
        update={"status": an_endpoint().status.model_copy(update={"contract": first.contract})}
    )
    sound = contract(input={"containers": ["flac"], "sampleRatesHz": [8000], "channels": [1]})
    edited = VoiceContract.load(sound)
    assert accept(endpoint, edited, None, NOW) == first and accept(endpoint, None, None, NOW) == first
    later = endpoint.model_copy(update={"metadata": endpoint.metadata.model_copy(update={"generation": 2})})
    second = accept(later, edited, None, NOW)
    assert second.contract is not None and second.contract.digest != first.contract.digest
    refused = accept(later, None, None, NOW)
    assert refused.contract == first.contract and refused.spec is None
    assert refused.blocker is not None and refused.blocker.reason is Reason.CONTRACT_NOT_FOUND
    blocked = accept(endpoint, CONTRACT, Blocker(Reason.SECRET_NOT_FOUND, "create it"), NOW)
    assert blocked.contract == first.contract and blocked.spec is None


def test_a_zone_that_is_none_is_named_by_its_field() -> None:
    found = accept(
        an_endpoint(timeZone="Europe/Atlantis", windows=[{"start": "08:00", "end": "18:00"}]), CONTRACT, None, NOW
    )
    assert found.blocker is not None and found.blocker.message.startswith(
        "spec.timeZone: the time zone database has no"
    )


def test_what_lanes_are_told_changes_with_what_concerns_them_alone() -> None:
    def told(**spec: Any) -> str:
        accepted = accept(an_endpoint(**spec), CONTRACT, None, NOW)
        assert accepted.spec is not None
        return told_digest(accepted.spec)

    same = told()
    of_no_concern: dict[str, Any] = {
        "lanes": {"min": 2, "max": 5},
        "aliases": ["a"],
        "macSelector": {"matchLabels": {"a": "b"}},
    }
    assert [name for name, value in of_no_concern.items() if told(**{name: value}) != same] == []
    of_concern: dict[str, Any] = {
        "model": {"path": "/data/other"},
        "memoryCap": "3Gi",
        "transcription": {"language": "en"},
        "session": {"maxPerLane": 8},
        "billingKey": "calls",
    }
    assert [name for name, value in of_concern.items() if told(**{name: value}) == same] == []


def test_a_lane_that_speaks_is_told_the_interval_of_streaming() -> None:
    speaks: dict[str, Any] = {"task": "Synthesize", "synthesis": {"mode": "Preset", "voice": "default"}}
    accepted = accept(an_endpoint(**speaks), CONTRACT, None, NOW)
    assert accepted.contract is not None
    for said, told in (({}, "2s"), ({"interval": "200ms"}, "200ms")):
        synthesis = lane_spec(an_endpoint(**speaks, streaming=said), accepted.contract).synthesis
        assert synthesis is not None and synthesis.streaming_interval == told


def test_a_request_parses_as_its_agent_parses_it_and_carries_its_number() -> None:
    accepted = accept(an_endpoint(), CONTRACT, None, NOW)
    assert accepted.contract is not None
    spec = lane_spec(an_endpoint(), accepted.contract)
    request = lane_request(spec, 7, 60, None, ("file:///data/",), MODEL)
    parsed = EndpointLaneSpec.load(request.spec)
    assert parsed.generation == 7 and parsed.key == ("captions-uid", 7)
    assert told_digest(parsed) == told_digest(spec) and request.model_digest == MODEL


def a_lane(state: EndpointLaneState, **fields: Any) -> EndpointLane:
    made = {"mac": "mac-a", "generation": 5, "spec_digest": DIGEST, "state": state, "since": timestamp(NOW), **fields}
    return EndpointLane.model_validate(made)


def accepted(state: LaneState, failure: FailureClass | None = None, model: str | None = MODEL) -> LaneAnswer:
    status = LaneStatus(
        endpoint_uid="captions-uid",
        generation=5,
        spec_digest=DIGEST,
        namespace="team",
        endpoint="captions",
        state=state,
        model_digest=model,
        failure=None if failure is None else AttemptFailure(failure_class=failure, message="broken"),
    )
    return LaneAnswer(Outcome.ACCEPTED, 0.0, status)


def refused(
    status: int, failure_class: FailureClass | None = None, held: int | None = None, retry: float | None = None
) -> LaneAnswer:
    problem = Problem(message="no", failure_class=failure_class, held_generation=held)
    return LaneAnswer(Outcome.REFUSED, 0.0, refusal=AgentRefused(status, problem, retry))


L, W, U, F, GOING = (
    EndpointLaneState.LOADING,
    EndpointLaneState.WARM,
    EndpointLaneState.UNREACHABLE,
    EndpointLaneState.FAILED,
    EndpointLaneState.LEAVING,
)
UNKNOWN, GONE, DELETING = (LaneAnswer(outcome, 0.0) for outcome in (Outcome.UNKNOWN, Outcome.GONE, Outcome.DELETING))
AWAY = LaneSight(exists=True, connected=False)


def seen(answer: LaneAnswer | None) -> LaneSight:
    return LaneSight(exists=True, connected=True, answer=answer)


AFTER: dict[str, tuple[EndpointLaneState, LaneSight, tuple[str, str | None] | None]] = {
    "no MacAgent is there any more": (W, LaneSight(exists=False), None),
    "it has not answered yet": (W, seen(None), (W, None)),
    "it was not answered in time": (W, seen(UNKNOWN), (W, None)),
    "it comes back and has not answered yet": (U, seen(None), (U, None)),
    "it loads": (W, seen(accepted(LaneState.LOADING)), (L, None)),
    "it is warm": (L, seen(accepted(LaneState.READY)), (W, None)),
    "its child ended": (W, seen(accepted(LaneState.LOADING, FailureClass.LANE_CRASHED)), (L, "LaneCrashed")),
    "it is warm again": (U, seen(accepted(LaneState.READY)), (W, None)),
    "it has another model": (L, seen(accepted(LaneState.READY, model=DIGEST)), (F, "ModelMismatch")),
    "its model has no digest": (L, seen(accepted(LaneState.READY, model="/etc/passwd")), (F, "RuntimeMismatch")),
    "it failed": (L, seen(accepted(LaneState.FAILED, FailureClass.MEMORY_EXCEEDED)), (F, "MemoryExceeded")),
    "it failed and does not say why": (W, seen(accepted(LaneState.FAILED)), (F, "RuntimeMismatch")),
    "its agent deletes it": (W, seen(accepted(LaneState.DELETING)), (L, None)),
    "its agent does not have it": (W, seen(GONE), (L, None)),
    "out of contact": (W, AWAY, (U, None)),
    "not dialled yet": (W, LaneSight(exists=True, connected=False, heard=False), (W, None)),
    "refused, by a leader that is not": (L, seen(refused(412)), (L, None)),
    "refused, it came too late": (L, seen(refused(408)), (L, None)),
    "refused, no room": (L, seen(refused(429)), (F, None)),
    "refused, it cannot run it": (L, seen(refused(422)), (F, "RuntimeMismatch")),
    "refused, the model is not allowed": (
        L,
        seen(refused(422, FailureClass.MODEL_UNAVAILABLE)),
        (F, "ModelUnavailable"),
    ),
    "refused, no scratch": (L, seen(refused(507)), (F, "ScratchExhausted")),
    "refused, an old agent": (L, seen(refused(404)), (F, "RuntimeMismatch")),
    "refused, it knows a newer one": (L, seen(refused(409, held=9)), (F, None)),
    "a class that only a 422 may tell": (L, seen(refused(503, FailureClass.INVALID_INPUT)), (F, None)),
    "it goes": (GOING, seen(DELETING), (GOING, None)),
    "it is gone": (GOING, seen(GONE), None),
    "it goes, and its Mac is away": (GOING, AWAY, (GOING, None)),
}


@pytest.mark.parametrize("name", AFTER)
def test_what_becomes_of_a_lane(name: str) -> None:
    state, sight, expected = AFTER[name]
    after = lane_after(a_lane(state), sight, MODEL, NOW)
    assert (None if after is None else (after.state, after.failure_class)) == expected


def died(lane: EndpointLane, after: timedelta = timedelta()) -> EndpointLane:
    found = lane_after(lane, seen(accepted(LaneState.LOADING, FailureClass.MEMORY_EXCEEDED)), MODEL, NOW + after)
    assert found is not None
    return found


def ready(lane: EndpointLane, after: timedelta = timedelta()) -> EndpointLane:
    found = lane_after(lane, seen(accepted(LaneState.READY)), MODEL, NOW + after)
    assert found is not None
    return found


def test_the_same_death_is_told_again_and_counts_once() -> None:
    once = died(a_lane(W))
    assert once.failures == 1 and once.message == "broken" and once.retry_time is None
    assert died(once) == once and died(a_lane(L)).failures == 1


def test_a_lane_whose_child_is_not_replaced_in_time_has_failed() -> None:
    lane = died(a_lane(W))
    assert died(lane, REVIVAL_TIME - timedelta(seconds=1)) == lane
    late = died(lane, REVIVAL_TIME)
    assert late.state == F and late.failure_class == "MemoryExceeded" and late.retry_time is not None


def test_a_lane_that_is_warm_between_its_deaths_has_failed_after_some_of_them() -> None:
    lane, states = a_lane(W), []
    for _ in range(MOST_FAILURES):
        lane = died(ready(lane))
        states.append(lane.state)
    assert states == [L] * (MOST_FAILURES - 1) + [F] and lane.failures == MOST_FAILURES


def test_what_failed_before_is_forgotten_once_a_lane_stays_warm() -> None:
    lane = ready(died(a_lane(W)))
    assert lane.state == W and lane.failures == 1
    assert ready(lane, SOUND_AFTER - timedelta(seconds=1)) == lane
    sound = ready(lane, SOUND_AFTER)
    assert (sound.failures, sound.failure_class, sound.message) == (0, None, "")
    assert ready(sound, SOUND_AFTER) is sound


def test_a_status_has_room_for_whatever_keeps_macs_off() -> None:
    endpoint = an_endpoint()
    found = accept(endpoint, CONTRACT, None, NOW)
    plan = LanePlan((), last_generation=0, model_digest=None, missing=1)
    facts = EndpointFacts(found, None, 1, plan, busy=0, spec_digest=DIGEST, pending_reason="é" * 5000)
    status = endpoint_status(endpoint, facts, NOW)
    assert status.pending_reason is not None and len(status.pending_reason.encode()) <= MESSAGE_LIMIT
    assert all(len(item.message.encode()) <= MESSAGE_LIMIT for item in status.conditions)


def test_its_address_is_told_where_there_is_a_gateway() -> None:
    endpoint = an_endpoint()
    found = accept(endpoint, CONTRACT, None, NOW)
    plan = LanePlan((), last_generation=0, model_digest=None, missing=0)
    facts = EndpointFacts(found, None, 1, plan, busy=0, spec_digest=DIGEST, pending_reason="")
    assert endpoint_status(endpoint, facts, NOW).url is None
    told = endpoint_status(endpoint, replace(facts, gateway_url="https://speech.example"), NOW).url
    assert told == f"https://speech.example/{endpoint.metadata.namespace}/{endpoint.metadata.name}"


def test_a_lane_on_a_mac_that_stays_away_is_given_up_with_its_lease() -> None:
    sight = LaneSight(exists=True, connected=False, lease_seconds=600)
    lane = a_lane(GOING)
    assert lane_after(lane, sight, None, NOW + timedelta(seconds=659)) == lane
    assert lane_after(lane, sight, None, NOW + timedelta(seconds=660)) is None


def test_pauses_double_up_to_their_bound_and_keep_what_the_agent_asks_for() -> None:
    lane, pauses = a_lane(L), []
    for _ in range(8):
        failed = lane_after(lane, seen(refused(503)), None, NOW)
        assert failed is not None and failed.retry_time is not None
        pauses.append(failed.retry_time)
        lane = failed.model_copy(update={"state": L})
    assert pauses[:3] == [timestamp(NOW + timedelta(seconds=seconds)) for seconds in (15, 30, 60)]
    assert pauses[-1] == timestamp(NOW + LONGEST_PAUSE)
    asked = lane_after(a_lane(L), seen(refused(429, retry=120.0)), None, NOW)
    assert asked is not None and asked.retry_time == timestamp(NOW + timedelta(seconds=120))


@pytest.mark.parametrize(("held", "used"), [(None, 5), (4, 5), (5, 5), (9, 9), (2**40, 5)])
def test_a_number_that_a_mac_remembers_is_not_used_again_if_it_can_be_believed(held: int | None, used: int) -> None:
    assert used_generation(a_lane(L), seen(refused(410, held=held))) == used
