"""Explains a VoiceEndpoint."""

from __future__ import annotations

from voxfleet_api.conditions import ConditionType, find, is_true
from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.endpoint_status import EndpointLane, EndpointUsage
from voxfleet_cli.explainers.explanation import Explainer, Plain, Related, message_of, reason_of, without_empty


def _details(endpoint: VoiceEndpoint, _: Related) -> Plain:
    status = endpoint.status
    counts, contract = status.lanes, status.contract
    return {
        "lanes": None if counts is None else f"{counts.warm} warm of {counts.wanted} wanted, {counts.busy} busy",
        "waiting": status.pending_reason,
        "model": status.model_digest,
        "contract": None if contract is None else contract.digest,
        "usage": None if status.usage is None else _usage(status.usage),
        "macs": [_line(lane) for lane in status.macs],
    }


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
    """What is wrong first: a spec that cannot be used, then lanes that fail or have no Mac."""
    conditions = endpoint.status.conditions
    for type_ in (ConditionType.STALLED, ConditionType.RECONCILING, ConditionType.DEGRADED):
        found = find(conditions, type_)
        if found is not None:
            return found.message
    return message_of(conditions, ConditionType.AVAILABLE)


EXPLAINER = Explainer(
    kind=VoiceEndpoint,
    state=lambda endpoint: reason_of(endpoint.status.conditions, ConditionType.AVAILABLE),
    next=_next,
    details=_details,
    failed=lambda endpoint: is_true(endpoint.status.conditions, ConditionType.STALLED),
)
