"""A VoiceEndpoint's status: its conditions, and what it counts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from voxfleet_api.conditions import Condition, ConditionType, Reason, condition, truncate
from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.endpoint_status import (
    EndpointLane,
    EndpointLaneState,
    EndpointUsage,
    LaneCounts,
    VoiceEndpointStatus,
)
from voxfleet_api.moments import timestamp
from voxfleet_operator.metering.endpoint_usage import EndpointSum, endpoint_usage
from voxfleet_operator.reconcile.endpoint.accept import Acceptance
from voxfleet_operator.reconcile.endpoint.decide import LanePlan
from voxfleet_operator.reconcile.endpoint.lane_life import HELD
from voxfleet_operator.reconcile.endpoint.slo import RecentTurns, Verdict, endpoint_slo, slo_verdict
from voxfleet_operator.reconcile.endpoint.wanted import Closed
from voxfleet_operator.reconcile.job_findings import REFUSAL_GRACE_SECONDS

NAMED_MACS = 3


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """What a status is made of."""

    acceptance: Acceptance
    closed: Closed | None
    wanted: int
    plan: LanePlan
    busy: int
    spec_digest: str | None
    """Of what lanes are told now; None: the spec is not accepted."""
    pending_reason: str
    """Why no further Mac takes a lane."""
    counted: EndpointSum | None = None
    """What statements count of its lanes."""
    gateway_url: str | None = None
    """Of the gateway; None: nobody knows of one."""
    turns: RecentTurns = field(default_factory=RecentTurns)
    """What its turns took."""


def endpoint_status(endpoint: VoiceEndpoint, facts: EndpointFacts, now: datetime) -> VoiceEndpointStatus:
    plan = facts.plan
    contract = facts.acceptance.contract
    target = None if contract is None else contract.spec.slo.interactive_p95
    slo = endpoint_slo(endpoint.status.slo, target, facts.turns)
    return VoiceEndpointStatus(
        observed_generation=endpoint.metadata.generation,
        conditions=_conditions(endpoint, facts, slo_verdict(slo, target, facts.turns.window), now),
        url=_url(endpoint, facts.gateway_url),
        contract=facts.acceptance.contract,
        lane_spec_digest=facts.spec_digest or endpoint.status.lane_spec_digest,
        last_generation=plan.last_generation,
        model_digest=plan.model_digest,
        lanes=LaneCounts(wanted=facts.wanted, warm=len(warm_lanes(plan.lanes)), busy=facts.busy),
        macs=plan.lanes,
        pending_reason=truncate(facts.pending_reason) if plan.missing else None,
        slo=slo,
        usage=endpoint_usage(endpoint.status.usage, facts.counted, now),
    )


def _url(endpoint: VoiceEndpoint, gateway_url: str | None) -> str | None:
    metadata = endpoint.metadata
    return None if gateway_url is None else f"{gateway_url}/{metadata.namespace}/{metadata.name}"


def warm_lanes(lanes: Sequence[EndpointLane]) -> list[EndpointLane]:
    return [lane for lane in lanes if lane.state == EndpointLaneState.WARM]


def only_counts_moved(old: VoiceEndpointStatus, new: VoiceEndpointStatus) -> bool:
    """Whether nothing but sessions, turns and the wording of what is known already differs."""
    return _without_counts(old) == _without_counts(new)


def without_idle_usage(old: VoiceEndpointStatus, new: VoiceEndpointStatus) -> VoiceEndpointStatus:
    """The new status without usage that is no reason to write: what it costs to hold lanes that nobody uses. The next
    write has it, at the latest that of the last lane's end.
    """
    if new.usage is None or not new.macs:
        return new
    before = EndpointUsage() if old.usage is None else old.usage
    used = before.productive_seconds != new.usage.productive_seconds
    return new if used else new.model_copy(update={"usage": old.usage})


def _without_counts(status: VoiceEndpointStatus) -> VoiceEndpointStatus:
    lanes = None if status.lanes is None else status.lanes.model_copy(update={"busy": 0})
    conditions = tuple(
        item.model_copy(update={"message": ""}) for item in status.conditions if item.type != ConditionType.SLO_MET
    )
    waits = None if status.pending_reason is None else ""
    blank = {"lanes": lanes, "conditions": conditions, "pending_reason": waits, "slo": None, "usage": None}
    return status.model_copy(update=blank)


def _conditions(
    endpoint: VoiceEndpoint, facts: EndpointFacts, slo_met: Verdict | None, now: datetime
) -> tuple[Condition, ...]:
    blocker = facts.acceptance.blocker
    found: dict[ConditionType, Verdict] = {}
    if blocker is None:
        found[ConditionType.ACCEPTED] = True, Reason.ACCEPTED, _accepted_text(facts)
    else:
        found[ConditionType.ACCEPTED] = False, blocker.reason, blocker.message
        waits = _age_seconds(endpoint, now) < REFUSAL_GRACE_SECONDS
        problem = ConditionType.RECONCILING if waits else ConditionType.STALLED
        found[problem] = True, blocker.reason, blocker.message
    if endpoint.spec.suspend and facts.closed is not None:
        found[ConditionType.SUSPENDED] = True, Reason.SUSPENDED, facts.closed.message
    found[ConditionType.AVAILABLE] = _available(endpoint, facts)
    if facts.closed is None and (degraded := _degraded(facts)) is not None:
        found[ConditionType.DEGRADED] = True, *degraded
    if slo_met is not None:
        found[ConditionType.SLO_MET] = slo_met
    return tuple(
        condition(
            endpoint.status.conditions, type_, *verdict, generation=endpoint.metadata.generation, now=timestamp(now)
        )
        for type_, verdict in found.items()
    )


def refusal_grace_seconds(endpoint: VoiceEndpoint, now: datetime) -> float | None:
    """Until a spec that is refused counts as stalled; None: it does."""
    left = REFUSAL_GRACE_SECONDS - _age_seconds(endpoint, now)
    return left if left > 0 else None


def _age_seconds(endpoint: VoiceEndpoint, now: datetime) -> float:
    created = endpoint.metadata.creation_timestamp
    return (now - datetime.fromisoformat(created)).total_seconds() if created else float("inf")


def _accepted_text(facts: EndpointFacts) -> str:
    contract = facts.acceptance.contract
    digest = "" if contract is None else f" as of digest {contract.digest}"
    return f"lanes hold the contract{digest}; a later edit of it counts with the next edit of this endpoint"


def _available(endpoint: VoiceEndpoint, facts: EndpointFacts) -> tuple[bool, str, str]:
    lanes, least, blocker = facts.plan.lanes, endpoint.spec.lanes.min, facts.acceptance.blocker
    if facts.closed is not None:
        return False, facts.closed.reason, facts.closed.message
    warm, held = len(warm_lanes(lanes)), [lane for lane in lanes if lane.state in HELD]
    counted = f"{warm} of {facts.wanted} wanted lanes are warm"
    if warm >= least:
        return True, Reason.LANES_WARM, counted
    if blocker is not None and not held:
        return False, blocker.reason, blocker.message
    if any(map(_has_failed, lanes)):
        return False, Reason.LANES_FAILED, f"{counted}; {_failures(lanes)}"
    if any(lane.state == EndpointLaneState.LOADING for lane in held):
        return False, Reason.LANES_LOADING, counted
    if facts.plan.missing:
        return False, Reason.NO_MAC_FITS, f"{counted}; {facts.pending_reason}"
    return False, Reason.LANE_UNREACHABLE, f"{counted}; {_unreachable(lanes)}"


def _degraded(facts: EndpointFacts) -> tuple[str, str] | None:
    """Reason and message; None while all is well, or lanes only load."""
    lanes = facts.plan.lanes
    failures = [lane for lane in lanes if _has_failed(lane)]
    if failures:
        newest = max(failures, key=lambda lane: (lane.since, lane.mac))
        return newest.failure_class or Reason.LANE_REFUSED, _failures(lanes)
    if any(lane.state == EndpointLaneState.UNREACHABLE for lane in lanes):
        return Reason.LANE_UNREACHABLE, _unreachable(lanes)
    return (Reason.NO_MAC_FITS, facts.pending_reason) if facts.plan.missing else None


def _has_failed(lane: EndpointLane) -> bool:
    """A lane that is warm again has not, nor one that is wanted no more."""
    is_trying = lane.state in (EndpointLaneState.LOADING, EndpointLaneState.UNREACHABLE)
    return lane.state == EndpointLaneState.FAILED or (is_trying and lane.failures > 0)


def _failures(lanes: Sequence[EndpointLane]) -> str:
    """`mac-a: ModelMismatch: ..., tried again at ...`, the newest first."""
    failed = [lane for lane in lanes if _has_failed(lane)]
    failed.sort(key=lambda lane: (lane.since, lane.mac), reverse=True)
    parts = []
    for lane in failed[:NAMED_MACS]:
        kind = "" if lane.failure_class is None else f"{lane.failure_class}: "
        again = f"tried again from {lane.retry_time}" if lane.retry_time else "it loads again"
        parts.append(f"{lane.mac}: {kind}{lane.message} ({again})")
    return _joined(parts, len(failed))


def _unreachable(lanes: Sequence[EndpointLane]) -> str:
    away = [lane for lane in lanes if lane.state == EndpointLaneState.UNREACHABLE]
    return _joined([f"{lane.mac} is out of contact since {lane.since}" for lane in away[:NAMED_MACS]], len(away))


def _joined(parts: Sequence[str], total: int) -> str:
    more = total - len(parts)
    return "; ".join([*parts, *([f"{more} more"] if more > 0 else [])])
