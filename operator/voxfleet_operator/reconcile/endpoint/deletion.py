"""What is left to do for a VoiceEndpoint that is being deleted. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.endpoint_status import EndpointLane, EndpointLaneState
from voxfleet_operator.reconcile.deletion_deadline import FORCE_ANNOTATION, deadline, no_answer_from
from voxfleet_operator.reconcile.endpoint.lane_life import LaneSight, changed, lane_after


@dataclass(frozen=True, slots=True)
class EndpointDeletion:
    lanes: tuple[EndpointLane, ...] = ()
    """Those that are still to go, for the status."""
    finish: bool = False
    """Whether to drop the finalizer."""
    gave_up: str | None = None
    """Why it finishes although lanes may be left; None if all are known to be gone."""
    look_again_seconds: float = 5.0


def plan_deletion(endpoint: VoiceEndpoint, sights: Mapping[str, LaneSight], now: datetime) -> EndpointDeletion:
    left = tuple(
        leaving
        for lane in endpoint.status.macs
        if (leaving := lane_after(changed(lane, EndpointLaneState.LEAVING, now), sights[lane.mac], None, now))
    )
    if not left:
        return EndpointDeletion(finish=True)
    if FORCE_ANNOTATION in endpoint.metadata.annotations:
        return EndpointDeletion(finish=True, gave_up=f"annotation {FORCE_ANNOTATION}")
    if now >= deadline(endpoint):
        names = ", ".join(lane.mac for lane in left)
        return EndpointDeletion(finish=True, gave_up=no_answer_from(names))
    return EndpointDeletion(lanes=left)
