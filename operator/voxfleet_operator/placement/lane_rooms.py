"""Reads from the cache and the fleet what is decided on about the lanes of an endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.endpoint_status import EndpointLaneState
from voxfleet_api.machine_messages import Capability
from voxfleet_api.pools import PoolKind
from voxfleet_api.quantities import quantity_bytes
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.placement.gather import PlacementGatherer
from voxfleet_operator.placement.interactive_lanes import (
    EndpointNeeds,
    InteractiveRoom,
    LaneRoomSnapshot,
    lane_places,
)
from voxfleet_operator.placement.snapshot import JobNeeds
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.held_lanes import holding
from voxfleet_operator.reconcile.lane_places import LaneClaims, LanePlaces
from voxfleet_operator.triggers import endpoints_on


class LaneRooms:
    """Answers for one endpoint after the other. Claims stand for what is being written."""

    def __init__(self, context: Context, gatherer: PlacementGatherer, claims: LaneClaims) -> None:
        self._context = context
        self._gatherer = gatherer
        self._claims = claims

    def places(self, endpoint: VoiceEndpoint, *, elsewhere: bool = True) -> LanePlaces:
        context, now = self._context, self._context.now()
        status = endpoint.status
        paused = {
            lane.mac: _seconds_until(lane.retry_time, now)
            for lane in status.macs
            if lane.state == EndpointLaneState.FAILED
        }
        named, slots = {lane.mac for lane in status.macs}, self._gatherer.mac_slots()
        macs = slots if elsewhere else tuple(slot for slot in slots if slot.name in named)
        snapshot = LaneRoomSnapshot(
            needs=endpoint_needs(endpoint),
            macs=macs,
            rooms=self._rooms(endpoint, [slot.name for slot in macs]),
            namespace_labels=context.cache.namespace_labels(endpoint.metadata.namespace),
            holders=named - paused.keys(),
            paused=paused,
        )
        return lane_places(snapshot, context.clock())

    def _rooms(self, endpoint: VoiceEndpoint, macs: Sequence[str]) -> Mapping[str, InteractiveRoom]:
        rooms: dict[str, InteractiveRoom] = {}
        views = self._context.fleet.views()
        for name in macs:
            view = views.get(name)
            if view is None or view.machine is None:
                continue
            pools = view.machine.pools
            caps = tuple(
                pool.memory_cap_bytes for pool in pools if pool.kind == PoolKind.INTERACTIVE for _ in range(pool.lanes)
            )
            knows_lanes = Capability.ENDPOINT_LANES in view.machine.capabilities
            rooms[name] = InteractiveRoom(caps, self._held_by_others(endpoint, name, view), knows_lanes)
        return rooms

    def _held_by_others(self, endpoint: VoiceEndpoint, mac: str, view: MacView) -> tuple[int, ...]:
        """The memory of each lane that other endpoints have on the Mac, may have or are about to have, in bytes."""
        cache = self._context.cache
        others = {item.metadata.uid: item for item in holding(endpoints_on(mac, cache), view)}
        for uid in self._claims.on(mac):
            if (claimant := cache.by_uid(VoiceEndpoint, uid)) is not None:
                others[uid] = claimant
        others.pop(endpoint.metadata.uid, None)
        return tuple(quantity_bytes(other.spec.memory_cap) for other in others.values())


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
