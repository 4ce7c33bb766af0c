"""What is left to do for a VoiceEndpoint that is being deleted. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.endpoint_status import EndpointLane, EndpointLaneState
from voxfleet_operator.reconcile.endpoint.lane_life import LaneSight, changed, lane_after

FORCE_ANNOTATION = "voxfleet.dev/force-delete"
DEADLINE = timedelta(minutes=15)


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
    if now >= _deadline(endpoint):
        names = ", ".join(lane.mac for lane in left)
        return EndpointDeletion(finish=True, gave_up=f"no answer for {DEADLINE.seconds // 60} minutes from {names}")
    return EndpointDeletion(lanes=left)


def _deadline(endpoint: VoiceEndpoint) -> datetime:
    if endpoint.metadata.deletion_timestamp is None:
        raise ValueError(f"endpoint {endpoint.metadata.name} is not being deleted")
    return datetime.fromisoformat(endpoint.metadata.deletion_timestamp) + DEADLINE
