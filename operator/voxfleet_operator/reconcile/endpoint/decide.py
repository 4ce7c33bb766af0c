"""Which lanes a VoiceEndpoint has, gets and loses. Pure.

`lane_course` says of each lane by itself what is to become of it; what is done now is decided here, so that as many
lanes as are wanted stay warm. A new spec is tried with one lane: on a free Mac if there is one, else in the place of a
warm one. The next one follows when the newest lane of that spec is warm, so that a bad edit costs one lane at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.audio_shard import MachineIdentity
from voxfleet_api.kinds.endpoint_status import STATUS_MACS, EndpointLane, EndpointLaneState
from voxfleet_api.moments import timestamp
from voxfleet_operator.reconcile.endpoint.lane_course import REPLACE_AFTER, Course, is_lost, lane_course
from voxfleet_operator.reconcile.endpoint.lane_life import HELD, LaneSight, changed, is_due, lane_after, used_generation
from voxfleet_operator.reconcile.lane_places import LanePlaces


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
        found = {lane.mac: lane_after(lane, sights[lane.mac], self._digest_for(lane), now) for lane in status.macs}
        self._lanes: dict[str, EndpointLane] = {mac: lane for mac, lane in found.items() if lane is not None}
        """By Mac."""
        gone = [lane for lane in status.macs if found[lane.mac] is None]
        self._frees_macs = any(sights[lane.mac].exists and self._may_stay(lane.mac) for lane in gone)
        """Whether a Mac that is of no use now is free with the next status."""
        self._remember(gone)

    def plan(self) -> LanePlan:
        wanted, spec_digest, missing = self._snapshot.wanted, self._snapshot.spec_digest, 0
        if wanted == 0:
            self._leave(self._held())
        else:
            self._leave(self._on(Course.GO))
            self._drop_old()
            if spec_digest is not None:
                self._forgive(spec_digest)
                missing = self._fill(spec_digest)
            self._drop_surplus()
        lanes = tuple(self._lanes[mac] for mac in sorted(self._lanes))
        return LanePlan(lanes, self._last, self._pinned_model(), missing)

    def _digest_for(self, lane: EndpointLane) -> str | None:
        """The digest that the lane's model must have. One that is told something else may have another model."""
        current = self._snapshot.endpoint.status.lane_spec_digest
        return self._model_digest if lane.spec_digest == current else None

    def _remember(self, gone: Iterable[EndpointLane]) -> None:
        """A failure that cost a lane of what was told before is kept until one is warm in its place: once forgotten,
        it would cost the next one.
        """
        spec_digest = self._snapshot.spec_digest
        is_old = [lane.spec_digest != spec_digest for lane in self._lanes.values() if lane.state in HELD]
        if spec_digest is None or not any(is_old) or len(self._warm(self._held())) >= self._snapshot.wanted:
            return
        failures = [
            lane
            for lane in gone
            if _failed_with(lane, spec_digest)
            and lane.failure_class is not None
            and self._snapshot.sights[lane.mac].exists
        ]
        if failures:
            newest = max(failures, key=_generation)
            self._lanes[newest.mac] = newest

    def _held(self) -> list[str]:
        return [mac for mac, lane in self._lanes.items() if lane.state in HELD]

    def _on(self, *courses: Course) -> list[str]:
        """The lanes with one of these courses."""
        given_up, spec_digest = self._snapshot.places.given_up, self._snapshot.spec_digest
        return [
            mac
            for mac in self._held()
            if lane_course(self._lanes[mac], given_up.get(mac), spec_digest, self._now) in courses
        ]

    def _may_stay(self, mac: str) -> bool:
        return mac not in self._snapshot.places.given_up

    def _warm(self, macs: Iterable[str]) -> list[str]:
        return [mac for mac in macs if self._lanes[mac].state == EndpointLaneState.WARM]

    def _sessions(self, mac: str) -> int:
        sight = self._snapshot.sights.get(mac)
        return 0 if sight is None else sight.sessions

    def _leave(self, macs: Iterable[str]) -> None:
        for mac in macs:
            self._lanes[mac] = changed(self._lanes[mac], EndpointLaneState.LEAVING, self._now)

    def _drop_old(self) -> None:
        """A lane of what was told before goes when a warm one of what is told now stands in its place. Until there is
        one, no session ends for it.
        """
        new, old = self._warm(self._on(Course.STAY)), self._on(Course.RENEW)
        old.sort(key=lambda mac: (_DROPPED_FIRST[self._state(mac)], self._sessions(mac), mac))
        spare = len(old) - max(0, self._snapshot.wanted - len(new))
        self._leave([mac for mac in old if new or self._sessions(mac) == 0][: max(0, spare)])

    def _forgive(self, spec_digest: str) -> None:
        """What a Mac is told now may do better there than what failed before. Where that was warm on no other Mac, it
        was to blame, and not the Mac.
        """
        sound = {self._lanes[mac].spec_digest for mac in self._warm(self._held())}
        for mac, lane in list(self._lanes.items()):
            if lane.state != EndpointLaneState.FAILED or lane.spec_digest == spec_digest:
                continue
            if lane.spec_digest not in sound and self._snapshot.sights[mac].is_gone:
                del self._lanes[mac]
                self._frees_macs = True
            else:
                forgiven = {"retry_time": timestamp(self._now), "failures": 0, "spec_digest": spec_digest}
                self._lanes[mac] = lane.model_copy(update=forgiven)

    def _fill(self, spec_digest: str) -> int:
        """Assigns lanes; returns how many are still missing."""
        missing = self._snapshot.wanted - len(self._on(Course.STAY, Course.RENEW))
        free = self._free_macs()
        cold = [mac for mac in self._on(Course.RENEW) if self._lanes[mac].state == EndpointLaneState.LOADING]
        told = [*cold, *free[: max(0, missing)]]
        for mac in told or self._next_to_renew(spec_digest, free):
            self._assign(mac, spec_digest)
        return max(0, missing - len(free))

    def _free_macs(self) -> list[str]:
        """Those that can take a lane now, the best one first; where one failed, last."""
        room = STATUS_MACS - len(self._lanes)
        candidates = self._snapshot.places.candidates
        new = [mac for mac in candidates if mac not in self._lanes][:room]
        return new + [mac for mac in candidates if mac in self._lanes and is_due(self._lanes[mac], self._now)]

    def _next_to_renew(self, spec_digest: str, free: list[str]) -> list[str]:
        """Where the next lane of a new spec is loaded, if one may be now: at most one."""
        new, old = self._on(Course.STAY), self._on(Course.RENEW)
        if not old or len(new) >= self._snapshot.wanted or len(self._warm(new)) < len(new):
            return []
        tried = [
            lane
            for lane in self._lanes.values()
            if _failed_with(lane, spec_digest)
            or (lane.state in HELD and lane.spec_digest == spec_digest and not is_lost(lane, self._now))
        ]
        newest = max(tried, key=_generation, default=None)
        if newest is not None and newest.state != EndpointLaneState.WARM:
            return free[:1] if is_due(newest, self._now) else []
        untried = [mac for mac in free if mac not in self._lanes]
        if not untried and self._soon_free():
            return []
        return untried[:1] or sorted(self._warm(old), key=lambda mac: (self._sessions(mac), mac))[:1]

    def _soon_free(self) -> bool:
        """Whether a lane leaves a Mac that may then take another one."""
        return self._frees_macs or any(
            lane.state == EndpointLaneState.LEAVING
            and self._snapshot.sights[mac].connected
            and self._may_stay(mac)
            and self._now < datetime.fromisoformat(lane.since) + REPLACE_AFTER
            for mac, lane in self._lanes.items()
        )

    def _assign(self, mac: str, spec_digest: str) -> None:
        """What failed there before is kept until a lane is warm."""
        self._last += 1
        old = self._lanes.get(mac)
        kept = (
            {}
            if old is None or old.state == EndpointLaneState.WARM
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

    def _drop_surplus(self) -> None:
        """What has to go, or is lost, goes once as many are warm as are wanted; then those beyond that without a
        session, the newest first.
        """
        wanted = self._snapshot.wanted
        if len(self._warm(self._on(Course.STAY, Course.RENEW))) >= wanted:
            self._leave(self._on(Course.MOVE))
        counted = self._on(Course.STAY)
        spare = [mac for mac in counted if self._sessions(mac) == 0]
        spare.sort(key=lambda mac: (_DROPPED_FIRST[self._state(mac)], -self._lanes[mac].generation))
        self._leave(spare[: max(0, len(counted) - wanted)])

    def _state(self, mac: str) -> EndpointLaneState:
        return EndpointLaneState(self._lanes[mac].state)

    def _pinned_model(self) -> str | None:
        """The first warm lane of what lanes are told now fixes the model's digest for all, while one has it loaded."""
        current = self._snapshot.spec_digest or self._snapshot.endpoint.status.lane_spec_digest
        holders = [
            mac for mac, lane in sorted(self._lanes.items()) if lane.state in _LOADED and lane.spec_digest == current
        ]
        if self._model_digest is not None and holders:
            return self._model_digest
        for mac in self._warm(holders):
            sight = self._snapshot.sights.get(mac)
            status = None if sight is None or sight.answer is None else sight.answer.status
            if status is not None and status.model_digest is not None:
                return status.model_digest
        return None


def _failed_with(lane: EndpointLane, spec_digest: str) -> bool:
    """Whether this very spec failed there."""
    return lane.state == EndpointLaneState.FAILED and lane.spec_digest == spec_digest and lane.failures > 0


def _generation(lane: EndpointLane) -> int:
    return lane.generation


_DROPPED_FIRST = {EndpointLaneState.UNREACHABLE: 0, EndpointLaneState.LOADING: 1, EndpointLaneState.WARM: 2}
_LOADED = frozenset({EndpointLaneState.WARM, EndpointLaneState.UNREACHABLE})
