"""Measures how long an attempt, or an endpoint, holds its lane, by activity and by month, and who pays for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from voxfleet_agent.attempts.meter_clock import MeterClock
from voxfleet_agent.attempts.metered_span import Border, MeteredSpan, next_month, split_at
from voxfleet_agent.attempts.paused_time import Payer, with_paused
from voxfleet_agent.clock import timestamp
from voxfleet_agent.journal.lane_holds import EndpointHolder, LaneHold
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.ledger import Activity

TICK_SECONDS = 3.0
"""How often lanes are measured: so much a crash may lose."""


class LaneMeter:
    """Measures from its creation on; each hold starts at the millisecond at which the one before it ends.

    Only `tick`, `switch`, `pay` and `end` read the clocks. The holds that they return ended and are to be sealed: one
    for the activity, or one for each month (or what else `border_after` says) if a border was passed. A wall clock that
    was set back ends a hold, too. Each is followed by those of the endpoints that it stood still for.
    """

    def __init__(
        self,
        clock: MeterClock,
        boot_id: str,
        key: AttemptKey,
        lane: str,
        price_class: str | None = None,
        *,
        border_after: Border = next_month,
        holder: EndpointHolder | None = None,
    ) -> None:
        self._clock = clock
        self._key = key
        self._lane = lane
        self._boot_id = boot_id
        self._price_class = price_class
        self._border_after = border_after
        self._holder = holder
        self._read = clock.read()
        self._ended: list[LaneHold] = []
        self._stopped = False
        self._payer: Payer | None = None
        self._paused_milliseconds: dict[Payer, int] = {}
        """Of the current hold: what others pay for."""
        self.activity = Activity.SETUP
        self._hold = self._begun(MeteredSpan(self._read.wall, self._read.wall, 0))

    def add(self, audio_milliseconds: int = 0, clips: int = 0) -> None:
        """Counts audio that the lane has worked through, and clips that got their row."""
        hold = self._hold
        self._hold = replace(
            hold, audio_milliseconds=hold.audio_milliseconds + audio_milliseconds, clips=hold.clips + clips
        )

    def pay(self, payer: Payer | None) -> None:
        """From now on the lane stands still for `payer`; None: whoever holds it uses it."""
        if payer != self._payer:
            self._measure()
            self._payer = payer

    @property
    def stopped(self) -> bool:
        """Whether the lane was released."""
        return self._stopped

    @property
    def hold(self) -> LaneHold:
        """The current one, up to the last reading."""
        return self.running[0]

    @property
    def running(self) -> list[LaneHold]:
        """The current hold, followed by those of the endpoints that it stood still for."""
        return with_paused(self._hold, self._paused_milliseconds)

    def tick(self) -> list[LaneHold]:
        """Measures up to now."""
        self._measure()
        return self._take_ended()

    def switch(self, activity: Activity) -> list[LaneHold]:
        """Ends the current activity and begins the next."""
        self._measure()
        self._end_hold()
        self.activity = activity
        self._hold = self._begun(MeteredSpan(self._read.wall, self._read.wall, 0))
        return self._take_ended()

    def stop(self) -> None:
        """Ends the measurement when the lane is released; a second call does nothing."""
        self._measure()
        self._stopped = True

    def end(self) -> list[LaneHold]:
        """Ends the measurement, and the current activity."""
        self.stop()
        return [*self._take_ended(), *self.running]

    def _measure(self) -> None:
        if self._stopped:
            return
        before, self._read = self._read, self._clock.read()
        milliseconds = self._read.milliseconds - before.milliseconds
        awake_until = before.wall + timedelta(milliseconds=milliseconds)
        self._extend(MeteredSpan(before.wall, max(self._read.wall, awake_until), milliseconds))
        if self._read.wall < awake_until:
            self._begin_anew(self._read.wall)

    def _extend(self, span: MeteredSpan) -> None:
        if span.wall_start >= self._ends_at and span.wall_end > span.wall_start:  # the last reading was at the border
            self._begin_anew(span.wall_start)
        first, *others = split_at(span, self._border_after)
        self._hold = replace(
            self._hold, wall_end=timestamp(first.wall_end), milliseconds=self._hold.milliseconds + first.milliseconds
        )
        self._charge(first.milliseconds)
        for other in others:
            self._end_hold()
            self._hold = self._begun(other)
            self._charge(other.milliseconds)

    def _charge(self, milliseconds: int) -> None:
        if self._payer is not None and milliseconds:
            before = self._paused_milliseconds.get(self._payer, 0)
            self._paused_milliseconds[self._payer] = before + milliseconds

    def _end_hold(self) -> None:
        self._ended += self.running
        self._paused_milliseconds = {}

    def _begin_anew(self, wall: datetime) -> None:
        """The time so far keeps the dates that the clock had when it passed."""
        self._end_hold()
        self._hold = self._begun(MeteredSpan(wall, wall, 0))

    def _begun(self, span: MeteredSpan) -> LaneHold:
        self._ends_at = self._border_after(span.wall_start)
        return LaneHold(
            key=self._key,
            lane=self._lane,
            activity=self.activity,
            boot_id=self._boot_id,
            wall_start=timestamp(span.wall_start),
            wall_end=timestamp(span.wall_end),
            milliseconds=span.milliseconds,
            price_class=self._price_class,
            holder=self._holder,
        )

    def _take_ended(self) -> list[LaneHold]:
        ended, self._ended = self._ended, []
        return ended
