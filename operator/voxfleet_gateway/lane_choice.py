"""Which lane of an endpoint gets a session, and what is answered when none does. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from voxfleet_api.endpoint_lanes import LaneKey
from voxfleet_gateway.mac_links.link_state import LinkState
from voxfleet_gateway.mac_links.refused_openings import FULL_SECONDS, OpeningRefused, Refusal
from voxfleet_gateway.refusals import CallRefused

UNREACHABLE_SECONDS = 2.0
_LINK_RANK = {LinkState.UP: 0, LinkState.CLOSED: 1, LinkState.DIALLING: 1}


@dataclass(frozen=True, slots=True)
class Avoidance:
    """A lane refused a session lately."""

    until_seconds: float
    is_full: bool


@dataclass(frozen=True, slots=True)
class OfferedLane:
    """A warm lane, as this gateway knows it. Another gateway's sessions on it are not known; its agent counts all."""

    mac: str
    key: LaneKey
    link: LinkState
    open_sessions: int
    """This gateway's own, those included that are being opened."""
    avoided: Avoidance | None = None


def lane_order(offered: Sequence[OfferedLane], max_per_lane: int, now_seconds: float) -> tuple[OfferedLane, ...]:
    """The lanes to ask: the least busy first, of equals those with an open link, then in the order of `offered`."""
    free = [
        lane
        for lane in offered
        if lane.link is not LinkState.DOWN and lane.open_sessions < max_per_lane and not _is_avoided(lane, now_seconds)
    ]
    return tuple(sorted(free, key=lambda lane: (lane.open_sessions, _LINK_RANK[lane.link])))


def nobody_took_it(
    offered: Sequence[OfferedLane], max_per_lane: int, refusals: Sequence[OpeningRefused], now_seconds: float
) -> CallRefused:
    """What the caller is told: 429 where some lane is full, so that waiting helps; else 503."""
    waits = [refusal.retry_after_seconds for refusal in refusals if refusal.refusal is Refusal.FULL]
    for lane in offered:
        if lane.link is LinkState.DOWN:
            continue
        if lane.open_sessions >= max_per_lane:
            waits.append(FULL_SECONDS)
        elif lane.avoided is not None and lane.avoided.is_full and _is_avoided(lane, now_seconds):
            waits.append(lane.avoided.until_seconds - now_seconds)
    if waits:
        return CallRefused(
            429,
            "rate_limit_exceeded",
            "all warm lanes of the endpoint have as many sessions as they take",
            retry_after_seconds=min(waits),
        )
    of_lanes = (Refusal.NOT_READY, Refusal.SILENT)
    told = [f"; the last one: {refusal.message}" for refusal in refusals if refusal.refusal in of_lanes]
    return CallRefused(
        503,
        "no_warm_lane",
        "no Mac with a warm lane of the endpoint takes the session now" + "".join(told[-1:]),
        retry_after_seconds=UNREACHABLE_SECONDS,
    )


def _is_avoided(lane: OfferedLane, now_seconds: float) -> bool:
    return lane.avoided is not None and lane.avoided.until_seconds > now_seconds
