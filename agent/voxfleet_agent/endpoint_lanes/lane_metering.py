"""Writes down for what endpoints hold lanes: in the journal at each tick, in signed rows where something ended.

A row ends when the lane goes over to another activity, at each full hour (UTC), and when the lane is given back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable

from voxfleet_agent.attempts.background_tasks import BackgroundTasks
from voxfleet_agent.attempts.lane_meter import LaneMeter
from voxfleet_agent.attempts.meter_clock import MeterClock
from voxfleet_agent.attempts.metered_span import next_hour
from voxfleet_agent.attempts.services import AttemptServices
from voxfleet_agent.endpoint_lanes.live_lane import LiveLane
from voxfleet_agent.endpoint_lanes.warm_lane_meter import MeteredChange, WarmLaneMeter
from voxfleet_agent.journal import lane_holds
from voxfleet_agent.journal.lane_holds import EndpointHolder
from voxfleet_agent.lanes.interactive_lane import InteractiveLane
from voxfleet_agent.ledger import Ledger
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.pools import PoolKind


class LaneMetering:
    """What is measured is handed to the journal in the same step of the loop, so it is written in its order."""

    def __init__(
        self, services: AttemptServices, background: BackgroundTasks, control_plane: Callable[[], str]
    ) -> None:
        """`control_plane`: the one that the agent is bound to; empty before it is."""
        self._services = services
        self._background = background
        self._control_plane = control_plane
        self._clock = MeterClock(services.clock)

    def begin(self, live: LiveLane, lane: InteractiveLane) -> None:
        """The lane is held for `live` from now on."""
        services, spec = self._services, live.spec
        holder = EndpointHolder(
            control_plane=self._control_plane(),
            namespace=spec.namespace,
            name=spec.endpoint.name,
            uid=spec.endpoint.uid,
            billing_key=spec.billing_key,
        )
        meter = LaneMeter(
            self._clock,
            services.machine.boot_id,
            AttemptKey(*live.key),
            lane.name,
            PoolKind.INTERACTIVE.value,
            border_after=next_hour,
            holder=holder,
        )
        live.meter, live.holder = WarmLaneMeter(meter, live, services.clock.metered_milliseconds), holder
        self.changed(live)

    def changed(self, live: LiveLane, *, opened: bool = False) -> None:
        """The lane became warm or ceased to be, or a session was `opened`."""
        self._background.start(self.tick([live], opened=opened))

    def cleans_up(self, live: LiveLane) -> None:
        """The lane's child is being ended, so that the lane can be given back."""
        if live.meter is not None:
            live.meter.cleans_up()
            self.changed(live)

    async def tick(self, lives: Iterable[LiveLane], *, opened: bool = False) -> None:
        """Records how long the lanes have been held: after a crash, this is the time that is billed."""
        await self._write(
            [(live.holder, live.meter.look(opened=opened)) for live in lives if live.holder and live.meter]
        )

    async def end(self, live: LiveLane) -> None:
        """Signs what is left of the time; nothing does so twice. To be called once the lane is given back."""
        meter, live.meter = live.meter, None
        if meter is not None and live.holder is not None:
            await self._write([(live.holder, meter.end())])

    async def _write(self, changes: list[tuple[EndpointHolder, MeteredChange]]) -> None:
        if not changes:
            return
        ledger = self._services.ledger

        def work(db: sqlite3.Connection) -> None:
            for holder, change in changes:
                write_change(db, ledger, holder, change)

        await self._services.journal.write(work, wake=any(change.ended for _, change in changes))


def write_change(db: sqlite3.Connection, ledger: Ledger, holder: EndpointHolder, change: MeteredChange) -> None:
    if change.begun is not None:
        lane_holds.save(db, change.begun)
    if change.running is None:
        ledger.seal(db, change.ended, holder)
    else:
        ledger.tick(db, change.ended, [change.running], holder)
