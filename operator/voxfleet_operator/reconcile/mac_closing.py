"""What a Mac's drain, windows and rental ask of the attempts that it has. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from voxfleet_api.conditions import ConditionType, find
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.mac_agent import DrainMode
from voxfleet_api.opening_hours import UnusableHours, next_opening, rental_ends, same_until, standing
from voxfleet_operator.fleet.closing import Closing, ClosingPhase, returns_at_next_clip
from voxfleet_operator.fleet.mac_view import MacView

RETURN_GRACE = timedelta(minutes=5)
"""From the end of a window or a drain's deadline until what still runs is stopped. A rental's lies before its end."""


LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Recall(StrEnum):
    """How the Mac's closing changes what its attempts may do."""

    NONE = "None"
    AT_NEXT_CLIP = "AtNextClip"  # its agent ends them; none begins
    NOW = "Now"  # they are taken back


def closing(mac: MacAgent, now: datetime) -> Closing:
    """The earliest of what drain, windows and rental ask for. Hours that cannot be read leave alone what runs."""
    if mac.spec.drain is None and mac.spec.availability is None:
        return Closing()
    found = [*_of_drain(mac, now), *_of_hours(mac, now)]
    return Closing(
        takes_nothing=any(item.takes_nothing for item in found),
        return_at=_earliest(item.return_at for item in found),
        stop_at=_earliest(item.stop_at for item in found),
    )


def drain_began(mac: MacAgent, now: datetime) -> datetime:
    """When spec.drain was first seen; its deadline counts from then."""
    draining = find(mac.status.conditions, ConditionType.DRAINING)
    return now if draining is None else datetime.fromisoformat(draining.last_transition_time)


def drain_returns_at(mac: MacAgent, now: datetime) -> datetime:
    """When the attempts on a Mac with spec.drain are called back."""
    drain = mac.spec.drain
    began = drain_began(mac, now)
    if drain is None or drain.mode is DrainMode.RETURN_AT_NEXT_CLIP:
        return began
    return began + timedelta(seconds=drain.deadline_seconds)


def opens_at(mac: MacAgent, now: datetime) -> datetime | None:
    """When a closed Mac opens; None: never, or it is open."""
    try:
        return next_opening(mac.spec.availability, now)
    except UnusableHours:
        return None


def next_change(mac: MacAgent, now: datetime) -> datetime | None:
    """When the Mac opens, closes or enters another phase of its closing, if nobody changes its spec."""
    found = closing(mac, now)
    moments = (found.return_at, found.stop_at, opens_at(mac, now))
    return min((moment for moment in moments if moment is not None and moment > now), default=None)


def steady_until(mac: MacAgent, now: datetime) -> datetime | None:
    """Until when closing and hours of the Mac stay as they are now, if nobody changes it; None: for good."""
    hours = mac.spec.availability
    if mac.spec.drain is None and hours is None:
        return None
    if mac.spec.drain is not None and find(mac.status.conditions, ConditionType.DRAINING) is None:
        return now  # the deadline counts from now on, until status says since when
    closings = (*_of_drain(mac, now), *_of_hours(mac, now))
    moments = [moment for found in closings for moment in (found.return_at, found.stop_at)]
    if hours is not None:
        try:
            moments.append(same_until(hours, now))
        except UnusableHours:
            return None
    return min((moment for moment in moments if moment is not None and moment > now), default=None)


def recall(closes: Closing, stage: Stage, view: MacView, now: datetime) -> Recall:
    """Only a Process attempt on an agent that knows how ends at its next clip; any other is taken back instead."""
    phase = closes.phase(now)
    if phase is ClosingPhase.OPEN:
        return Recall.NONE
    ends_itself = stage is Stage.PROCESS and returns_at_next_clip(view.machine)
    return Recall.AT_NEXT_CLIP if phase is ClosingPhase.RETURNING and ends_itself else Recall.NOW


def _of_drain(mac: MacAgent, now: datetime) -> list[Closing]:
    if mac.spec.drain is None:
        return []
    return_at = drain_returns_at(mac, now)
    return [Closing(takes_nothing=True, return_at=return_at, stop_at=return_at + RETURN_GRACE)]


def _of_hours(mac: MacAgent, now: datetime) -> list[Closing]:
    hours = mac.spec.availability
    try:
        found, rental_end = standing(hours, now), rental_ends(hours)
    except UnusableHours:
        return [Closing(takes_nothing=True)]
    closed, span = found.now is None, found.now or found.last
    rental = [] if rental_end is None else [Closing(return_at=rental_end - RETURN_GRACE, stop_at=rental_end)]
    if span is None:
        return [Closing(takes_nothing=True, return_at=LONG_AGO, stop_at=LONG_AGO)]
    if span.end is None or span.end == rental_end:
        return [*rental, Closing(takes_nothing=closed)]
    return [*rental, Closing(takes_nothing=closed, return_at=span.end, stop_at=span.end + RETURN_GRACE)]


def _earliest(moments: Iterable[datetime | None]) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)
