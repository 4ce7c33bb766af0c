"""An endpoint in every state, with the status that the operator decides on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.rig.measured_turns import a_turn, counted
from tests.unit.operator.decisions.bodies import contract
from tests.unit.operator.decisions.endpoint_world import MODEL, endpoint_body
from tests.unit.operator.decisions.memory_api import START

from voxfleet_api.conditions import Reason
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds import VoiceContract, VoiceEndpoint
from voxfleet_api.kinds.endpoint_status import EndpointLane, EndpointLaneState, VoiceEndpointStatus
from voxfleet_api.moments import timestamp
from voxfleet_api.opening_hours import UnusableHours
from voxfleet_operator.reconcile.endpoint.accept import accept
from voxfleet_operator.reconcile.endpoint.decide import LanePlan
from voxfleet_operator.reconcile.endpoint.slo import RecentTurns
from voxfleet_operator.reconcile.endpoint.status import EndpointFacts, endpoint_status
from voxfleet_operator.reconcile.endpoint.wanted import closed
from voxfleet_operator.reconcile.job_findings import Blocker

NOW = START + timedelta(minutes=10)
DIGEST = f"sha256:{'d' * 64}"
CONTRACT = VoiceContract.load(contract())
PROMISING = VoiceContract.load(contract(slo={"interactiveP95": "1s"}))
NO_FIT = "0/2 Macs fit: 2 have no free interactive lane"
SECRET_BLOCKERS = (Reason.SECRET_FORBIDDEN, Reason.SECRET_INCOMPLETE, Reason.SECRET_NOT_FOUND)
DAY: dict[str, Any] = {"timeZone": "UTC", "windows": [{"start": "08:00", "end": "18:00"}]}


def an_endpoint(created_seconds_ago: float = 600.0, **spec: Any) -> VoiceEndpoint:
    body = endpoint_body(**spec)
    created = timestamp(NOW - timedelta(seconds=created_seconds_ago))
    body["metadata"] |= {"uid": "captions-uid", "generation": 1, "creationTimestamp": created}
    return VoiceEndpoint.load(body)


def a_lane(mac: str, state: EndpointLaneState, **fields: Any) -> EndpointLane:
    made = {"mac": mac, "generation": 1, "spec_digest": DIGEST, "state": state, "since": timestamp(NOW), **fields}
    return EndpointLane.model_validate(made)


def took(*milliseconds: int, mac: str = "mac-a") -> RecentTurns:
    """Turns of which a tenth is spent in the gateway, a fifth in the model, and the rest is waited for."""
    turns = (
        a_turn(total, gateway=total // 10, infer=total // 5, wait=total - total // 10 - total // 5)
        for total in milliseconds
    )
    told = counted(*turns).told()
    return RecentTurns(by_mac={mac: {kind.latency: kind for kind in told.kinds}})


def endpoint_states() -> dict[str, VoiceEndpoint]:
    new, two = an_endpoint(), an_endpoint(lanes={"min": 2, "max": 2})
    warm, other = a_lane("mac-a", EndpointLaneState.WARM), a_lane("mac-b", EndpointLaneState.WARM)
    loading, away = a_lane("mac-a", EndpointLaneState.LOADING), a_lane("mac-a", EndpointLaneState.UNREACHABLE)
    failed = a_lane(
        "mac-a",
        EndpointLaneState.FAILED,
        failure_class=FailureClass.MODEL_UNAVAILABLE,
        message="what to do",
        failures=1,
        retry_time=timestamp(NOW),
    )
    refused = failed.model_copy(update={"failure_class": None})
    again = failed.model_copy(update={"state": EndpointLaneState.LOADING, "retry_time": None})
    leaving = a_lane("mac-a", EndpointLaneState.LEAVING)
    return {
        "nobody has seen it": new,
        "its contract may still come": _decided(an_endpoint(5.0), contract=None),
        "its contract is missing": _decided(new, contract=None),
        "its time zone is none": _decided(an_endpoint(timeZone="Europe/Atlantis", windows=DAY["windows"])),
        **{
            f"its Secret is of no use, {reason}": _decided(new, blocker=Blocker(reason, "what to do"))
            for reason in SECRET_BLOCKERS
        },
        "a later spec is refused, its lanes stay": _decided(_decided(new, warm), warm, contract=None, generation=2),
        "no Mac fits": _decided(new, missing=1),
        "its lane loads": _decided(new, loading),
        "its lane is warm": _decided(new, warm),
        "one of two lanes is warm, and no Mac fits the other": _decided(two, warm, missing=1),
        "one of two lanes is warm, and the other failed": _decided(two, failed, other),
        "enough lanes are warm, and one failed": _decided(new, failed, other),
        "its lane failed": _decided(new, failed),
        "its lane failed and is tried again": _decided(new, again),
        "its lane was refused": _decided(new, refused),
        "its Mac is out of contact": _decided(new, away),
        "it is warm elsewhere, and its first Mac out of contact": _decided(new, away, other),
        "its lane leaves a Mac for another": _decided(new, leaving, other),
        **{
            f"its lane is warm, {name}": _decided(new, warm, contract=PROMISING, turns=turns)
            for name, turns in (
                ("and nobody speaks", took()),
                ("and its turns are in time", took(*[400] * 20, 1_500)),
                ("and its turns are too slow", took(*[400] * 18, 1_500, 1_500)),
                ("and too few turns tell", took(400, 1_500)),
            )
        },
        "suspended": _decided(an_endpoint(suspend=True)),
        "suspended, its lane still goes": _decided(an_endpoint(suspend=True), leaving),
        "outside its windows": _decided(an_endpoint(**DAY)),
        "resumed": _decided(_decided(an_endpoint(suspend=True)).model_copy(update={"spec": new.spec}), loading),
    }


def _decided(
    endpoint: VoiceEndpoint,
    *lanes: EndpointLane,
    contract: VoiceContract | None = CONTRACT,
    blocker: Blocker | None = None,
    missing: int = 0,
    generation: int = 1,
    turns: RecentTurns | None = None,
) -> VoiceEndpoint:
    endpoint = endpoint.model_copy(update={"metadata": endpoint.metadata.model_copy(update={"generation": generation})})
    acceptance = accept(endpoint, contract, blocker, NOW)
    try:
        shut = closed(endpoint.spec, NOW)
    except UnusableHours:
        shut = None
    facts = EndpointFacts(
        acceptance=acceptance,
        closed=shut,
        wanted=0 if shut is not None else endpoint.spec.lanes.min,
        plan=LanePlan(lanes, last_generation=1, model_digest=MODEL, missing=missing),
        busy=0,
        spec_digest=None if acceptance.spec is None else DIGEST,
        pending_reason=NO_FIT,
        turns=turns or RecentTurns(),
    )
    status: VoiceEndpointStatus = endpoint_status(endpoint, facts, NOW)
    return endpoint.model_copy(update={"status": status})
