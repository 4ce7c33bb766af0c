"""Measures for what an endpoint holds its lane: it loads, is used, is warm and idle, and is cleaned up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from voxfleet_agent.attempts.lane_meter import LaneMeter
from voxfleet_agent.journal.lane_holds import LaneHold
from voxfleet_api.ledger import Activity

LASTING_MILLISECONDS = 60_000
"""How long nobody may use a lane before it counts as idle, so that short sessions make no row each."""


def activity_of(*, warm: bool, sessions: int, unused_milliseconds: int | None, cleans_up: bool = False) -> Activity:
    """`unused_milliseconds`: since a session was last open; None: none was since the lane became warm. Pure."""
    if cleans_up:
        return Activity.CLEANUP
    if not warm:
        return Activity.SETUP
    lately = unused_milliseconds is not None and unused_milliseconds < LASTING_MILLISECONDS
    return Activity.WORK if sessions > 0 or lately else Activity.IDLE


class UsedLane(Protocol):
    @property
    def warm(self) -> bool: ...

    @property
    def open_sessions(self) -> int: ...


@dataclass(frozen=True, slots=True)
class MeteredChange:
    """What the journal is to be told of a lane."""

    begun: LaneHold | None
    """The first hold of all, which the journal does not have yet."""
    ended: list[LaneHold]
    """Of one activity; they get their rows."""
    running: LaneHold | None
    """None: the lane is given back."""


class WarmLaneMeter:
    """From its creation until `stop`. What a method returns must be written in the order of the calls."""

    def __init__(self, meter: LaneMeter, lane: UsedLane, metered_milliseconds: Callable[[], int]) -> None:
        self._meter = meter
        self._lane = lane
        self._metered_milliseconds = metered_milliseconds
        self._used_at: int | None = None
        self._is_journaled = False
        self._cleans_up = False
        self._stopped = False

    def cleans_up(self) -> None:
        """What follows is the end of the lane's child, whatever the lane still seems to do."""
        self._cleans_up = True

    def look(self, *, opened: bool = False) -> MeteredChange:
        """Measures up to now; what the lane does now goes on from here. `opened`: a session was, and may be over."""
        now, lane = self._metered_milliseconds(), self._lane
        if not lane.warm:
            self._used_at = None
        elif opened or lane.open_sessions > 0:
            self._used_at = now
        unused = None if self._used_at is None else now - self._used_at
        activity = activity_of(
            warm=lane.warm, sessions=lane.open_sessions, unused_milliseconds=unused, cleans_up=self._cleans_up
        )
        begun, meter = self._meter.hold, self._meter
        ended = meter.tick() if self._stopped or activity is meter.activity else meter.switch(activity)
        return self._change(begun, ended, meter.hold)

    def stop(self) -> None:
        """The lane goes to another holder, or back to its pool."""
        self._stopped = True
        self._meter.stop()

    def end(self) -> MeteredChange:
        begun = self._meter.hold
        return self._change(begun, self._meter.end(), None)

    def _change(self, begun: LaneHold, ended: list[LaneHold], running: LaneHold | None) -> MeteredChange:
        first, self._is_journaled = not self._is_journaled, True
        return MeteredChange(begun if first else None, ended, running)
