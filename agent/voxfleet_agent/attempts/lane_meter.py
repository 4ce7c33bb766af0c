"""Measures how long an attempt holds its lane, by activity."""

from __future__ import annotations

from voxfleet_agent.clock import Clock, timestamp
from voxfleet_agent.journal.lane_holds import LaneHold
from voxfleet_api.ledger import Activity
from voxfleet_api.protocol import AttemptKey


class LaneMeter:
    """Measures from its creation on; each activity starts at the millisecond at which the previous one ends."""

    def __init__(self, clock: Clock, boot_id: str, key: AttemptKey, lane: str) -> None:
        self._clock = clock
        self._boot_id = boot_id
        self._key = key
        self._lane = lane
        self._begin(Activity.SETUP, clock.metered_milliseconds())

    def _begin(self, activity: Activity, at_milliseconds: int) -> None:
        self.activity = activity
        self._started_milliseconds = at_milliseconds
        self._wall_start = timestamp(self._clock.wall())
        self._audio_milliseconds = 0
        self._stopped: LaneHold | None = None

    def add_audio(self, audio_milliseconds: int) -> None:
        self._audio_milliseconds += audio_milliseconds

    def hold(self) -> LaneHold:
        """Returns the hold of the current activity up to now, or up to `stop`."""
        return self._stopped or self._measure(self._clock.metered_milliseconds())

    def switch(self, activity: Activity) -> LaneHold:
        """Ends the current activity and begins the next; returns the hold of the ended one."""
        now = self._clock.metered_milliseconds()
        ended = self._measure(now)
        self._begin(activity, now)
        return ended

    def stop(self) -> LaneHold:
        """Ends the measurement when the lane is released; later calls return the same hold."""
        self._stopped = self.hold()
        return self._stopped

    def _measure(self, now_milliseconds: int) -> LaneHold:
        return LaneHold(
            key=self._key,
            lane=self._lane,
            activity=self.activity,
            boot_id=self._boot_id,
            wall_start=self._wall_start,
            wall_end=timestamp(self._clock.wall()),
            milliseconds=now_milliseconds - self._started_milliseconds,
            audio_milliseconds=self._audio_milliseconds,
        )
