"""Where a VoiceEndpoint may have lanes: filters, then the best Macs first. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from voxfleet_api.quantities import quantity_bytes
from voxfleet_operator.placement.filters import (
    CLOSES_TOO_SOON,
    COOLING,
    DELETED,
    DRAINING,
    LEAST_LEFT_SECONDS,
    NO_ACCESS,
    OTHER_BILLING_KEYS,
    OUTSIDE_RENTAL,
    OUTSIDE_WINDOW,
    SELECTOR,
    closed_to,
    pending_reason,
    static_reason,
)
from voxfleet_operator.placement.snapshot import JobNeeds, MacSlot, ShardDemand, Unavailable
from voxfleet_operator.reconcile.lane_places import GivenUp, LanePlaces
from voxfleet_operator.reconcile.namespace_access import opened

NO_POOL = Unavailable("has no Interactive pool", "have no Interactive pool")
NO_LANE = Unavailable("has no free interactive lane", "have no free interactive lane")
KNOWS_NO_LANES = Unavailable(
    "has an agent too old to keep lanes warm; upgrade it", "have agents too old to keep lanes warm; upgrade them"
)
HAS_ONE = Unavailable("has a lane of it already", "have a lane of it already")
FAILED_IT = Unavailable("failed a lane of it and pauses", "failed a lane of it and pause")
CLOSES_SOON = Unavailable("closes within ten minutes", "close within ten minutes")
OF_AN_ENDPOINT: Mapping[Unavailable, Unavailable] = {
    SELECTOR: Unavailable("does not match the endpoint's macSelector", "do not match the endpoint's macSelector"),
    NO_ACCESS: Unavailable(
        "gives this namespace no access to the endpoint's model and recordings (spec.access of MacAgent)",
        "give this namespace no access to the endpoint's model and recordings (spec.access of MacAgent)",
    ),
    OTHER_BILLING_KEYS: Unavailable(
        "does not take the endpoint's billing key (spec.access[].billingKeys of MacAgent)",
        "do not take the endpoint's billing key (spec.access[].billingKeys of MacAgent)",
    ),
    CLOSES_TOO_SOON: CLOSES_SOON,
}
"""What filters say of jobs, in the words of an endpoint."""
CLOSED = frozenset({DELETED, OUTSIDE_WINDOW, OUTSIDE_RENTAL})
"""Of a whole Mac: why it must not keep a lane that it has."""
NO_SHARD = ShardDemand(needs_lane=False, is_piece=False, expected_seconds=None)
"""An endpoint asks for no lane of the batch."""


class LanesTooSmall(Unavailable):
    """None of the Mac's interactive lanes has the memory that the endpoint asks for."""

    @classmethod
    def of(cls, memory_cap: str) -> LanesTooSmall:
        end = f"interactive lanes too small (need {memory_cap})"
        return cls(f"has {end}", f"have {end}")


@dataclass(frozen=True, slots=True)
class InteractiveRoom:
    """The interactive lanes of a Mac, and what holds them."""

    lane_caps: tuple[int | None, ...] = ()
    """The memory cap of each lane in bytes; None: the agent does not say."""
    held_caps: tuple[int, ...] = ()
    """The memory that each lane needs that other endpoints have there, in bytes."""
    knows_lanes: bool = True
    """Whether its agent keeps lanes warm for endpoints."""

    def free_for(self, need_bytes: int) -> int:
        """How many lanes are left for such a lane, if each holder has the smallest that it fits into."""
        free = sorted((2**63 if cap is None else cap) for cap in self.lane_caps)
        for held in sorted(self.held_caps, reverse=True):
            place = next((place for place, cap in enumerate(free) if cap >= held), None)
            if place is not None:
                del free[place]
        return sum(cap >= need_bytes for cap in free)

    def has_fitting(self, need_bytes: int) -> bool:
        return any(cap is None or cap >= need_bytes for cap in self.lane_caps)


@dataclass(frozen=True, slots=True)
class EndpointNeeds:
    """What an endpoint asks of a Mac."""

    needs: JobNeeds
    uris: tuple[str, ...]
    billing_key: str | None
    memory_cap: str
    model_digest: str | None = None

    @property
    def memory_cap_bytes(self) -> int:
        return quantity_bytes(self.memory_cap)


@dataclass(frozen=True, slots=True)
class LaneRoomSnapshot:
    """All Macs at one moment, as one endpoint meets them."""

    needs: EndpointNeeds
    macs: Sequence[MacSlot]
    rooms: Mapping[str, InteractiveRoom]
    """By Mac, of those whose pools are known."""
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    holders: Collection[str] = ()
    """The Macs that have a lane of the endpoint, or from which one goes."""
    paused: Mapping[str, float] = field(default_factory=dict)
    """By Mac, of those that failed a lane of it: for how many more seconds they are not tried; 0 or less: they are."""


def lane_places(snapshot: LaneRoomSnapshot, now: float) -> LanePlaces:
    """`now`: monotonic seconds, as the slots have them."""
    refusals: list[tuple[MacSlot, Unavailable]] = []
    fitting: list[MacSlot] = []
    given_up: dict[str, GivenUp] = {}
    for mac in snapshot.macs:
        closed = _closed(snapshot, mac)
        reason = _static(snapshot, mac, closed)
        if mac.name in snapshot.holders:
            found = _given_up(snapshot, mac, closed, now)
            if found is not None:
                given_up[mac.name] = found
            reason = reason or HAS_ONE
        else:
            reason = reason or _capacity(snapshot, mac, now)
        if reason is None:
            fitting.append(mac)
        else:
            refusals.append((mac, reason))
    need = snapshot.needs.memory_cap_bytes
    fitting.sort(
        key=lambda mac: (
            snapshot.needs.model_digest not in mac.loaded_models,
            -snapshot.rooms[mac.name].free_for(need),
            mac.name,
        )
    )
    return LanePlaces(
        candidates=tuple(mac.name for mac in fitting),
        given_up=given_up,
        pending_reason=pending_reason(refusals, len(snapshot.macs)),
        wake_after_seconds=_wake_after(snapshot, now),
    )


def _closed(snapshot: LaneRoomSnapshot, mac: MacSlot) -> Unavailable | None:
    """Why the Mac does not open what the endpoint names; None if it does."""
    needs = snapshot.needs
    return closed_to(opened(mac.traits.access, snapshot.namespace_labels, needs.billing_key), needs.uris)


def _static(snapshot: LaneRoomSnapshot, mac: MacSlot, closed: Unavailable | None) -> Unavailable | None:
    """Why the Mac cannot have a lane of the endpoint even with all its lanes free."""
    reason = static_reason(snapshot.needs.needs, mac.traits, mac.labels, NO_SHARD, closed=closed)
    if reason is not None:
        return OF_AN_ENDPOINT.get(reason, reason)
    return _room_reason(snapshot, snapshot.rooms.get(mac.name))


def _room_reason(snapshot: LaneRoomSnapshot, room: InteractiveRoom | None) -> Unavailable | None:
    """Why none of its interactive lanes would do."""
    if room is None or not room.lane_caps:
        return NO_POOL
    if not room.knows_lanes:
        return KNOWS_NO_LANES
    needs = snapshot.needs
    return None if room.has_fitting(needs.memory_cap_bytes) else LanesTooSmall.of(needs.memory_cap)


def _capacity(snapshot: LaneRoomSnapshot, mac: MacSlot, now: float) -> Unavailable | None:
    """Why the Mac cannot take a lane of the endpoint now."""
    if snapshot.paused.get(mac.name, 0.0) > 0:
        return FAILED_IT
    if mac.not_before_seconds > now:
        return COOLING
    if mac.closes_seconds is not None and mac.closes_seconds - now < LEAST_LEFT_SECONDS:
        return CLOSES_SOON
    if snapshot.rooms[mac.name].free_for(snapshot.needs.memory_cap_bytes) < 1:
        return NO_LANE
    return None


def _given_up(snapshot: LaneRoomSnapshot, mac: MacSlot, closed: Unavailable | None, now: float) -> GivenUp | None:
    """Of a Mac that has a lane of the endpoint: why it must not keep it; None: it may.

    What keeps new lanes off, as a cordon or a taint does, hides nothing here: each reason is looked at by itself, and
    those come first for which a lane goes at once.
    """
    traits = mac.traits
    left_seconds = math.inf if mac.closes_seconds is None else mac.closes_seconds - now
    if closed is not None:
        return GivenUp(OF_AN_ENDPOINT[closed].singular, at_once=True)
    if traits.unavailable in CLOSED:
        return GivenUp(traits.unavailable.singular, at_once=True)
    moves = _moves(snapshot, mac)
    if moves is not None:
        return GivenUp(moves.singular, at_once=left_seconds <= 0)
    if left_seconds < LEAST_LEFT_SECONDS:
        return GivenUp(CLOSES_SOON.singular, at_once=left_seconds <= 0)
    return None


def _moves(snapshot: LaneRoomSnapshot, mac: MacSlot) -> Unavailable | None:
    """Why the Mac's lane goes once another one is warm in its place."""
    if mac.traits.drains:
        return DRAINING
    if not snapshot.needs.needs.mac_selector.matches(mac.labels):
        return OF_AN_ENDPOINT[SELECTOR]
    room = snapshot.rooms.get(mac.name)
    if room is None:  # nobody has seen its pools yet
        return None
    reason = _room_reason(snapshot, room)
    return None if reason is KNOWS_NO_LANES else reason


def _wake_after(snapshot: LaneRoomSnapshot, now: float) -> float | None:
    instants = [
        at
        for mac in snapshot.macs
        for at in (mac.not_before_seconds, mac.opens_seconds, mac.closes_seconds, _closes_soon(mac))
        if at is not None and at > now
    ]
    pauses = [seconds for seconds in snapshot.paused.values() if seconds > 0]
    return min([*(at - now for at in instants), *pauses], default=None)


def _closes_soon(mac: MacSlot) -> float | None:
    return None if mac.closes_seconds is None else mac.closes_seconds - LEAST_LEFT_SECONDS
