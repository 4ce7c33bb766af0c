"""How many lanes a VoiceEndpoint wants now. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds.mac_availability import OpeningHours
from voxfleet_api.kinds.voice_endpoint import LaneRange, VoiceEndpointSpec
from voxfleet_api.opening_hours import UnusableHours, local_text, standing

CROWDED_QUARTERS = 3
"""Of the sessions that its warm lanes can hold, so many quarters are taken before another lane is wanted."""
SPARE_SECONDS = 600.0
"""For so long a lane must not be needed before it is given up: loading one takes as long as some sessions do."""


@dataclass(frozen=True, slots=True)
class Load:
    """What warm lanes do now."""

    warm: int
    sessions: int
    per_lane: int
    """How many sessions share a lane."""

    def crowds(self, lanes: int) -> bool:
        """Whether so many lanes would be crowded by these sessions."""
        return 4 * self.sessions >= CROWDED_QUARTERS * lanes * self.per_lane


def wanted_lanes(lanes: LaneRange, before: int, load: Load, spare_seconds: float) -> int:
    """`before`: how many were wanted so far. `spare_seconds`: for how long `is_spare` has held.

    One lane more or less at a time: what changes is seen before the next step.
    """
    wanted = min(max(before, lanes.min), lanes.max)
    if load.warm >= wanted and load.crowds(load.warm):
        return min(wanted + 1, lanes.max)
    if spare_seconds >= SPARE_SECONDS and is_spare(lanes, wanted, load):
        return wanted - 1
    return wanted


def is_spare(lanes: LaneRange, wanted: int, load: Load) -> bool:
    """Whether a lane less would do."""
    return wanted > lanes.min and not load.crowds(wanted - 1)


@dataclass(frozen=True, slots=True)
class Closed:
    """Why no lane is wanted at all."""

    reason: Reason
    message: str


def closed(spec: VoiceEndpointSpec, now: datetime) -> Closed | None:
    """None: it is open. Raises UnusableHours."""
    if spec.suspend:
        return Closed(Reason.SUSPENDED, "spec.suspend is true; set it to false to load the lanes again")
    hours = hours_of(spec)
    found = standing(hours, now)
    if found.now is not None:
        return None
    opens = "" if found.next_start is None else f"; the next opens at {local_text(hours, found.next_start)}"
    return Closed(Reason.OUTSIDE_WINDOW, f"none of spec.windows is open{opens}")


def next_change(spec: VoiceEndpointSpec, now: datetime) -> datetime | None:
    """When a window opens or closes; None: never, or nobody can read them."""
    if spec.suspend or not spec.windows:
        return None
    try:
        found = standing(hours_of(spec), now)
    except UnusableHours:
        return None
    return found.next_start if found.now is None else found.now.end


def hours_of(spec: VoiceEndpointSpec) -> OpeningHours | None:
    if not spec.windows:
        return None
    return OpeningHours(time_zone=spec.time_zone or "UTC", windows=spec.windows)
