"""Explains a VoiceEndpoint."""

from __future__ import annotations

from collections.abc import Mapping

from voxfleet_api.conditions import ConditionType, find, is_false, is_true
from voxfleet_api.endpoint_latency import LatencyPart
from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.endpoint_status import EndpointLane, EndpointSlo, EndpointUsage, SlowestPart
from voxfleet_cli.explainers.explanation import Explainer, Plain, Related, message_of, reason_of, without_empty

MEANINGS: Mapping[str, str] = {
    LatencyPart.GATEWAY: "in the gateway itself; see its processor, or run more replicas",
    LatencyPart.TUNNEL: "between gateway and Mac; see the network in between",
    LatencyPart.WAIT: "until the model took the turn up, endpointing included; sessions share the lane, so that more"
    " lanes or a shorter turnDetection.silence make it shorter",
    LatencyPart.INFER: "in the model; another use of the Mac, a smaller model or a faster Mac matter",
}
"""What a part is, and what makes it shorter."""


def _details(endpoint: VoiceEndpoint, _: Related) -> Plain:
    status = endpoint.status
    counts, contract = status.lanes, status.contract
    return {
        "address": status.url,
        "lanes": None if counts is None else f"{counts.warm} warm of {counts.wanted} wanted, {counts.busy} busy",
        "waiting": status.pending_reason,
        "model": status.model_digest,
        "contract": None if contract is None else contract.digest,
        "turns": None if status.slo is None else _turns(status.slo, endpoint),
        "slow": None if status.slo is None or status.slo.slowest is None else _slowest(status.slo.slowest),
        "usage": None if status.usage is None else _usage(status.usage),
        "macs": [_line(lane) for lane in status.macs],
    }


def _turns(slo: EndpointSlo, endpoint: VoiceEndpoint) -> str:
    contract, window = endpoint.status.contract, endpoint.spec.slo_window
    target = None if contract is None else contract.spec.slo.interactive_p95
    counted = f"{slo.turns} within {window}"
    if slo.turns == 0:
        return counted
    slower = "" if target is None else f", {slo.breaches} slower than {target}"
    return f"{counted}{slower}: p50 {slo.p50}, p95 {slo.p95}, p99 {slo.p99}"


def _slowest(slowest: SlowestPart) -> str:
    part = f"{slowest.percent} % of the time of slow turns is {slowest.part}, most of it on {slowest.mac}"
    about = MEANINGS.get(slowest.part)
    return part if about is None else f"{part}: {about}"


def _usage(usage: EndpointUsage) -> str:
    return (
        f"{usage.machine_seconds} s of lanes as of {usage.updated_at}: {usage.productive_seconds} s for sessions,"
        f" {usage.overhead_seconds} s overhead, {usage.rows} signed rows"
    )


def _line(lane: EndpointLane) -> Plain:
    return without_empty(
        {
            "mac": lane.mac,
            "state": str(lane.state),
            "since": lane.since,
            "lane": lane.generation,
            "class": None if lane.failure_class is None else str(lane.failure_class),
            "message": lane.message,
            "failures": lane.failures or None,
            "triedAgain": lane.retry_time,
        }
    )


def _next(endpoint: VoiceEndpoint) -> str:
    """What is wrong first: a spec that cannot be used, lanes that fail or have no Mac, turns that are slow."""
    conditions = endpoint.status.conditions
    for type_ in (ConditionType.STALLED, ConditionType.RECONCILING, ConditionType.DEGRADED):
        found = find(conditions, type_)
        if found is not None:
            return found.message
    if is_true(conditions, ConditionType.AVAILABLE) and is_false(conditions, ConditionType.SLO_MET):
        return message_of(conditions, ConditionType.SLO_MET)
    available = message_of(conditions, ConditionType.AVAILABLE)
    return f"nothing: {available}" if is_true(conditions, ConditionType.AVAILABLE) else available


EXPLAINER = Explainer(
    kind=VoiceEndpoint,
    state=lambda endpoint: reason_of(endpoint.status.conditions, ConditionType.AVAILABLE),
    next=_next,
    details=_details,
    failed=lambda endpoint: is_true(endpoint.status.conditions, ConditionType.STALLED),
)
