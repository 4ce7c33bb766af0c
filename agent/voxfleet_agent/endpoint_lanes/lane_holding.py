"""What happens to one endpoint's lane between its PUT and its end: it is loaded, watched, and given back.

Here a lane is taken for an endpoint (`take`) and given back (`_give_back`), and nowhere else: its time is metered
between the two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterable

from voxfleet_agent.attempts.background_tasks import BackgroundTasks
from voxfleet_agent.attempts.services import AttemptServices
from voxfleet_agent.endpoint_lanes.lane_metering import LaneMetering
from voxfleet_agent.endpoint_lanes.lane_model import find_model
from voxfleet_agent.endpoint_lanes.live_lane import LiveLane
from voxfleet_agent.endpoint_lanes.state_machine import LaneEvent, lane_transition
from voxfleet_agent.lane_protocol.messages import SessionLimits
from voxfleet_agent.lanes.interactive_lane import InteractiveLane
from voxfleet_agent.lanes.reload_backoff import reload_delay_seconds
from voxfleet_agent.logs import frames, logger
from voxfleet_agent.scratch import AttemptScratch
from voxfleet_agent.stages.stage_runner import failure_of
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.endpoint_lanes import LaneKey, LaneState
from voxfleet_api.failures import VoxFleetError
from voxfleet_api.quantities import quantity_bytes

STOP_SECONDS = 20.0
"""How long a lane that loads may take to notice that it is to end; it is left behind after that."""

_log = logger("voxfleet.endpoint_lanes")


class LaneHolding:
    """Changes the state of live lanes, each by `lane_transition`."""

    def __init__(
        self, services: AttemptServices, background: BackgroundTasks, control_plane: Callable[[], str]
    ) -> None:
        self._services = services
        self._pools = services.interactive
        self._background = background
        self._metering = LaneMetering(services, background, control_plane)
        self._residue: set[LaneKey] = set()
        """Lanes that are over, and whose scratch is still there and reserved."""

    def take(self, live: LiveLane, from_older: LiveLane | None = None) -> bool:
        """Takes a lane with enough memory for `live` and begins to load it; returns whether there was one.

        `from_older`: an older generation, which is ended. Its lane goes to `live` if it has enough memory; its child
        and its sessions are ended before anything is loaded.
        """
        cap_bytes = quantity_bytes(live.spec.memory_cap)
        lane = None if from_older is None else from_older.lane
        if from_older is not None and lane is not None and lane.memory_cap_bytes >= cap_bytes:
            from_older.lane, from_older.handed_on = None, lane
            lane.changed = lane.used = lambda: None
            if from_older.meter is not None:
                from_older.meter.stop()
        else:
            lane = self._pools.acquire(cap_bytes)
        if lane is None:
            return False
        live.lane, live.older = lane, from_older
        self._metering.begin(live, lane)
        live.task = self._background.start(self._load(live, lane))
        return True

    async def tick(self, lives: Iterable[LiveLane]) -> None:
        await self._metering.tick(lives)

    def end(self, live: LiveLane, event: LaneEvent) -> None:
        """Ends the lane and gives it back, in the background; `live.gone` tells when. A second call does nothing."""
        step = lane_transition(live.state, event)
        live.state = step.state
        if step.gives_back:
            live.log().info("lane of an endpoint ends", event_type=event.value)
            self._metering.cleans_up(live)
            live.task = self._background.start(self._end(live, live.task))

    async def _load(self, live: LiveLane, lane: InteractiveLane) -> None:
        await _until_older_is_gone(live)
        spec, scratch = live.spec, None
        try:
            scratch = self._open_scratch(live)
            async with self._services.open_storage(live.credentials, live.uri_prefixes) as storage:
                found = await find_model(spec, live.model_digest, storage, self._services.models, scratch)
            if live.lane is not lane:  # it was left behind, and the lane may be another's by now
                return
            self._own_child(live, lane)
            loaded = await lane.load(
                found.model,
                found.spec,
                limits=SessionLimits(
                    most_sessions=spec.max_sessions, max_turn_milliseconds=spec.max_turn_seconds * 1000
                ),
                memory_cap_bytes=quantity_bytes(spec.memory_cap),
            )
        except Exception as error:  # noqa: BLE001 -- whatever it raises ends this lane, never the agent
            await self._failed(live, error)
        else:
            live.sample_rate_hz, live.failure, live.failures = loaded.sample_rate_hz, None, 0
            live.log().info("lane of an endpoint is ready", model=found.model.digest)
        finally:
            if scratch is not None:
                scratch.close()

    def _own_child(self, live: LiveLane, lane: InteractiveLane) -> None:
        live.owns_child = True
        lane.changed = lambda: self._lane_changed(live)
        lane.used = lambda: self._metering.changed(live, opened=True)

    def _open_scratch(self, live: LiveLane) -> AttemptScratch | None:
        """A folder for the voice's recording, named after the lane as an attempt's is; None: there is no recording."""
        if live.spec.synthesis is None or live.spec.synthesis.reference is None:
            return None
        max_bytes = quantity_bytes(live.spec.contract.scratch.max_bytes)
        return self._services.scratch.open_attempt(AttemptKey(*live.key), max_bytes)

    async def _failed(self, live: LiveLane, error: Exception) -> None:
        failure = failure_of(error)
        live.log().warning(
            "lane of an endpoint failed",
            failure_class=str(failure.failure_class),
            reason=failure.message,
            error=type(error).__qualname__,
            frames=frames(error),
        )
        await self._give_back(live)
        live.failures += 1
        live.retry_at_seconds = self._services.clock.lease_seconds() + reload_delay_seconds(live.failures + 1)
        live.failure = failure
        live.state = lane_transition(live.state, LaneEvent.FAILED).state

    async def _end(self, live: LiveLane, loading: asyncio.Task[None] | None) -> None:
        if loading is not None:
            loading.cancel()
            _, late = await asyncio.wait({loading}, timeout=STOP_SECONDS)
            if late:
                live.log().error("a lane's load does not end and is left behind")
        await _until_older_is_gone(live)
        await self._give_back(live)
        live.gone.set()

    async def _give_back(self, live: LiveLane) -> None:
        lane = live.lane
        if live.handed_on is not None:
            await live.handed_on.kill()
            live.handed_on = None
        if lane is not None:
            lane.changed = lane.used = lambda: None
            self._metering.cleans_up(live)
            await lane.kill()
            if live.lane is lane:  # a newer generation may have taken it over meanwhile
                if live.meter is not None:
                    live.meter.stop()
                self._pools.release(lane)
                live.lane, live.sample_rate_hz, live.owns_child = None, None, False
        await self._metering.end(live)
        await self._remove_scratch(live.key)

    async def remove_residue(self, known: Container[LaneKey]) -> None:
        """Tries again to remove what could not be removed of lanes that are not `known` any more."""
        for key in [key for key in self._residue if key not in known]:
            await self._remove_scratch(key)

    async def _remove_scratch(self, key: LaneKey) -> None:
        self._residue.discard(key)
        try:
            await self._services.scratch.remove_attempt(AttemptKey(*key))
        except OSError as error:
            self._residue.add(key)
            _log.warning("a lane's scratch cannot be removed yet", scratch=str(key), error=error.strerror)

    def _lane_changed(self, live: LiveLane) -> None:
        lane = live.lane
        if lane is None:
            return
        self._metering.changed(live)
        event = LaneEvent.WARM if lane.warm and not lane.abandoned else LaneEvent.COLD
        live.state = lane_transition(live.state, event).state
        if lane.abandoned and lane.trouble is not None and live.state is LaneState.LOADING:
            error = VoxFleetError(lane.trouble.failure_class, lane.trouble.reason)
            live.task = self._background.start(self._failed(live, error))


async def _until_older_is_gone(live: LiveLane) -> None:
    """Its end is bounded. It is forgotten then, so that no chain of generations stays in memory."""
    if live.older is not None:
        await live.older.gone.wait()
        live.older = None
