"""Reads from the cache and the fleet what is decided on about the lanes of an endpoint."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime

from voxfleet_api.endpoint_lanes import LaneKey
from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.endpoint_status import EndpointLane, EndpointLaneState
from voxfleet_api.machine_messages import Capability
from voxfleet_api.pools import PoolKind
from voxfleet_api.quantities import quantity_bytes
from voxfleet_operator.fleet.mac_view import MacView, Outcome
from voxfleet_operator.placement.gather import PlacementGatherer
from voxfleet_operator.placement.interactive_lanes import (
    EndpointNeeds,
    InteractiveRoom,
    LaneRoomSnapshot,
    lane_places,
)
from voxfleet_operator.placement.snapshot import JobNeeds
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.lane_places import LaneClaims, LanePlaces


class LaneRooms:
    """Answers for one endpoint after the other. Claims stand for what is being written."""

    def __init__(self, context: Context, gatherer: PlacementGatherer, claims: LaneClaims) -> None:
        self._context = context
        self._gatherer = gatherer
        self._claims = claims

    def places(self, endpoint: VoiceEndpoint) -> LanePlaces:
        context, now = self._context, self._context.now()
        status = endpoint.status
        paused = {
            lane.mac: _seconds_until(lane.retry_time, now)
            for lane in status.macs
            if lane.state == EndpointLaneState.FAILED
        }
        snapshot = LaneRoomSnapshot(
            needs=endpoint_needs(endpoint),
            macs=self._gatherer.mac_slots(),
            rooms=self._rooms(endpoint),
            namespace_labels=context.cache.namespace_labels(endpoint.metadata.namespace),
            holders={lane.mac for lane in status.macs} - paused.keys(),
            paused=paused,
        )
        return lane_places(snapshot, context.clock())

    def _rooms(self, endpoint: VoiceEndpoint) -> Mapping[str, InteractiveRoom]:
        held: defaultdict[str, list[int]] = defaultdict(list)
        for other in self._context.cache.all(VoiceEndpoint):
            uid = other.metadata.uid
            if uid == endpoint.metadata.uid:
                continue
            for mac in self._held_by(other).union(self._claims.of(uid)):
                held[mac].append(quantity_bytes(other.spec.memory_cap))
        rooms: dict[str, InteractiveRoom] = {}
        for name, view in self._context.fleet.views().items():
            if view.machine is None:
                continue
            pools = view.machine.pools
            caps = tuple(
                pool.memory_cap_bytes for pool in pools if pool.kind == PoolKind.INTERACTIVE for _ in range(pool.lanes)
            )
            knows_lanes = Capability.ENDPOINT_LANES in view.machine.capabilities
            rooms[name] = InteractiveRoom(caps, tuple(held[name]), knows_lanes)
        return rooms

    def _held_by(self, other: VoiceEndpoint) -> set[str]:
        """The Macs that have a lane of the endpoint, or may have. One that failed there goes soon."""
        views = self._context.fleet.views()
        return {lane.mac for lane in other.status.macs if not _is_gone(lane, other.metadata.uid, views.get(lane.mac))}


def _is_gone(lane: EndpointLane, uid: str, view: MacView | None) -> bool:
    answer = None if view is None else view.lanes.get(LaneKey(uid, lane.generation))
    return lane.state == EndpointLaneState.FAILED and answer is not None and answer.outcome is Outcome.GONE


def endpoint_needs(endpoint: VoiceEndpoint) -> EndpointNeeds:
    spec = endpoint.spec
    return EndpointNeeds(
        needs=JobNeeds(mac_selector=spec.mac_selector, tolerations=spec.tolerations),
        uris=spec.uris(),
        billing_key=spec.billing_key,
        memory_cap=spec.memory_cap,
        model_digest=endpoint.status.model_digest,
    )


def _seconds_until(moment: str | None, now: datetime) -> float:
    return 0.0 if moment is None else (datetime.fromisoformat(moment) - now).total_seconds()
