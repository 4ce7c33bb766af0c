"""Which lanes a VoiceEndpoint has, gets and loses. Pure.

A warm lane stays where it is for as long as its Mac may have it. One that has to go, but not at once, goes when another
is warm in its place; of lanes that are told something new, one at a time is loaded anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.audio_shard import MachineIdentity
from voxfleet_api.kinds.endpoint_status import STATUS_MACS, EndpointLane, EndpointLaneState
from voxfleet_operator.reconcile.endpoint.lane_life import (
    HELD,
    LaneSight,
    changed,
    is_due,
    lane_after,
    timestamp,
    used_generation,
)
from voxfleet_operator.reconcile.lane_places import LanePlaces

REPLACE_AFTER = timedelta(seconds=60)
"""So long a Mac may be out of contact before another one gets its lane. A dial takes up to half a minute."""


@dataclass(frozen=True, slots=True)
class LaneSnapshot:
    endpoint: VoiceEndpoint
    wanted: int
    """How many lanes are wanted now; 0: none may stay."""
    spec_digest: str | None
    """Of what lanes are told now; None: the spec is not accepted, so that lanes stay as they are and none begins."""
    sights: Mapping[str, LaneSight]
    """By Mac, of each that has a lane."""
    places: LanePlaces
    machines: Mapping[str, MachineIdentity | None] = field(default_factory=dict)
    """By Mac, of those that may get a lane."""


@dataclass(frozen=True, slots=True)
class LanePlan:
    lanes: tuple[EndpointLane, ...]
    last_generation: int
    model_digest: str | None
    missing: int = 0
    """How many lanes are wanted that no Mac takes."""


def plan_lanes(snapshot: LaneSnapshot, now: datetime) -> LanePlan:
    return _LanePlanner(snapshot, now).plan()


class _LanePlanner:
    def __init__(self, snapshot: LaneSnapshot, now: datetime) -> None:
        self._snapshot = snapshot
        self._now = now
        status, sights = snapshot.endpoint.status, snapshot.sights
        same_spec = snapshot.spec_digest in (None, status.lane_spec_digest)
        self._model_digest = status.model_digest if same_spec else None
        self._last = max(
            [status.last_generation, *(used_generation(lane, sights[lane.mac]) for lane in status.macs)], default=0
        )
        found = {
            lane.mac: after
            for lane in status.macs
            if (after := lane_after(lane, sights[lane.mac], self._digest_for(lane), now)) is not None
        }
        self._lanes: dict[str, EndpointLane] = found
        """By Mac."""

    def plan(self) -> LanePlan:
        missing = 0
        if self._snapshot.wanted == 0:
            for mac in self._held():
                self._leave(mac)
        else:
            self._give_up_at_once()
            if self._snapshot.spec_digest is not None:
                self._tell_anew(self._snapshot.spec_digest)
                missing = self._add(self._snapshot.spec_digest)
            self._drop_surplus()
        self._pin_model()
        lanes = tuple(self._lanes[mac] for mac in sorted(self._lanes))
        return LanePlan(lanes, self._last, self._model_digest, missing)

    def _digest_for(self, lane: EndpointLane) -> str | None:
        """The digest that the lane's model must have. One that is told something else may have another model."""
        current = self._snapshot.endpoint.status.lane_spec_digest
        return self._model_digest if lane.spec_digest == current else None

    def _held(self) -> list[str]:
        return [mac for mac, lane in self._lanes.items() if lane.state in HELD]

    def _leave(self, mac: str) -> None:
        self._lanes[mac] = changed(self._lanes[mac], EndpointLaneState.LEAVING, self._now)

    def _give_up_at_once(self) -> None:
        for mac in self._held():
            given_up = self._snapshot.places.given_up.get(mac)
            if given_up is not None and given_up.at_once:
                self._leave(mac)

    def _tell_anew(self, spec_digest: str) -> None:
        """Loads lanes anew that were told something else: those that are not warm now, and of the others one at a
        time.
        """
        old = [mac for mac in self._held() if self._lanes[mac].spec_digest != spec_digest]
        for mac, lane in list(self._lanes.items()):
            if lane.state == EndpointLaneState.FAILED and lane.spec_digest != spec_digest:
                # What it is told now may do better.
                self._lanes[mac] = lane.model_copy(update={"retry_time": timestamp(self._now), "failures": 0})
        warm = [mac for mac in old if self._lanes[mac].state == EndpointLaneState.WARM]
        for mac in old:
            if mac not in warm:
                self._assign(mac, spec_digest)
        loading = any(self._lanes[mac].state == EndpointLaneState.LOADING for mac in self._held())
        if warm and not loading:
            self._assign(min(warm, key=lambda mac: (self._sessions(mac), mac)), spec_digest)

    def _add(self, spec_digest: str) -> int:
        """Returns how many lanes are still missing."""
        missing = self._snapshot.wanted - len(self._counted())
        for mac in self._snapshot.places.candidates:
            if missing <= 0:
                break
            lane = self._lanes.get(mac)
            if lane is not None and not is_due(lane, self._now):
                continue
            if lane is None and len(self._lanes) >= STATUS_MACS:
                break
            self._assign(mac, spec_digest)
            missing -= 1
        return max(0, missing)

    def _assign(self, mac: str, spec_digest: str) -> None:
        """What failed there before is kept until a lane is warm."""
        self._last += 1
        old = self._lanes.get(mac)
        kept = (
            {}
            if old is None
            else {"failure_class": old.failure_class, "message": old.message, "failures": old.failures}
        )
        machine = self._snapshot.machines.get(mac, None if old is None else old.machine)
        self._lanes[mac] = EndpointLane.model_validate(
            {
                "mac": mac,
                "machine": machine,
                "generation": self._last,
                "spec_digest": spec_digest,
                "state": EndpointLaneState.LOADING,
                "since": timestamp(self._now),
                **kept,
            }
        )

    def _counted(self) -> list[str]:
        """The lanes that stand for one that is wanted."""
        given_up = self._snapshot.places.given_up
        return [mac for mac in self._held() if mac not in given_up and not self._is_lost(self._lanes[mac])]

    def _drop_surplus(self) -> None:
        """What has to go, or is lost, goes once as many are warm as are wanted; then those beyond that without a
        session, the newest first.
        """
        wanted, counted = self._snapshot.wanted, self._counted()
        warm = [mac for mac in counted if self._lanes[mac].state == EndpointLaneState.WARM]
        if len(warm) >= wanted:
            for mac in set(self._held()) - set(counted):
                self._leave(mac)
        spare = [mac for mac in counted if self._sessions(mac) == 0]
        spare.sort(
            key=lambda mac: (_DROPPED_FIRST[EndpointLaneState(self._lanes[mac].state)], -self._lanes[mac].generation)
        )
        for mac in spare[: max(0, len(counted) - wanted)]:
            self._leave(mac)

    def _is_lost(self, lane: EndpointLane) -> bool:
        since = datetime.fromisoformat(lane.since)
        return lane.state == EndpointLaneState.UNREACHABLE and self._now >= since + REPLACE_AFTER

    def _sessions(self, mac: str) -> int:
        sight = self._snapshot.sights.get(mac)
        return 0 if sight is None else sight.sessions

    def _pin_model(self) -> None:
        """The first warm lane of what lanes are told now fixes the model's digest for all."""
        if self._model_digest is not None:
            return
        current = self._snapshot.spec_digest or self._snapshot.endpoint.status.lane_spec_digest
        for mac, lane in sorted(self._lanes.items()):
            sight = self._snapshot.sights.get(mac)
            answer = None if sight is None else sight.answer
            if lane.state != EndpointLaneState.WARM or lane.spec_digest != current or answer is None:
                continue
            if answer.status is not None and answer.status.model_digest is not None:
                self._model_digest = answer.status.model_digest
                return


_DROPPED_FIRST = {EndpointLaneState.UNREACHABLE: 0, EndpointLaneState.LOADING: 1, EndpointLaneState.WARM: 2}
