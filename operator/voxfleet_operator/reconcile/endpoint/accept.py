"""Whether what a VoiceEndpoint asks for can be done, and what its lanes are then told. Pure.

Each generation of the spec copies the contract once. An edit of the contract reaches the lanes with the next edit of
the endpoint's own spec, so that nobody changes a running endpoint by the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from voxfleet_api.conditions import ConditionType, Reason, is_false
from voxfleet_api.digest import digest_of
from voxfleet_api.endpoint_lanes import EndpointLaneSpec
from voxfleet_api.kinds import VoiceContract, VoiceEndpoint
from voxfleet_api.kinds.endpoint_status import EndpointContract
from voxfleet_api.opening_hours import UnusableHours
from voxfleet_operator.reconcile.endpoint.lane_spec import lane_spec
from voxfleet_operator.reconcile.endpoint.wanted import closed
from voxfleet_operator.reconcile.job_findings import Blocker


@dataclass(frozen=True, slots=True)
class Acceptance:
    contract: EndpointContract | None
    """The one to keep in the status: of this generation if it is accepted, else of the last one that was."""
    spec: EndpointLaneSpec | None
    """What lanes are told; None: this generation is not accepted."""
    blocker: Blocker | None
    """Why it is not."""


def accept(
    endpoint: VoiceEndpoint, contract: VoiceContract | None, blocker: Blocker | None, now: datetime
) -> Acceptance:
    """`contract`: as spec.contractRef names it now. `blocker`: what is wrong with the endpoint's Secret."""
    stored = endpoint.status.contract
    found = _unusable_hours(endpoint, now) or blocker
    if found is not None:
        return Acceptance(stored, None, found)
    generation = endpoint.metadata.generation
    if stored is not None and stored.generation == generation:
        return Acceptance(stored, lane_spec(endpoint, stored), None)
    copied = _copied(endpoint, contract)
    if isinstance(copied, Blocker):
        return Acceptance(stored, None, copied)
    return Acceptance(copied, lane_spec(endpoint, copied), None)


def _copied(endpoint: VoiceEndpoint, contract: VoiceContract | None) -> EndpointContract | Blocker:
    metadata, name = endpoint.metadata, endpoint.spec.contract_ref.name
    if contract is None:
        message = f"VoiceContract {name} does not exist in namespace {metadata.namespace}; create it"
        return Blocker(Reason.CONTRACT_NOT_FOUND, message)
    if is_false(contract.status.conditions, ConditionType.ACCEPTED):
        return Blocker(Reason.INVALID_SPEC, f"VoiceContract {name} is not accepted; see its own conditions")
    return EndpointContract(digest=digest_of(contract.spec), spec=contract.spec, generation=metadata.generation)


def _unusable_hours(endpoint: VoiceEndpoint, now: datetime) -> Blocker | None:
    try:
        closed(endpoint.spec, now)
    except UnusableHours as error:
        return Blocker(Reason.INVALID_SPEC, f"spec.timeZone: {error.problem}")
    return None
