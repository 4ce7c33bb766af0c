"""Has the batches of this Mac give way to its sessions: looks, has it decided, and tells lanes and attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from voxfleet_agent.attempts.background_tasks import BackgroundTasks
from voxfleet_agent.attempts.paused_time import Payer
from voxfleet_agent.attempts.services import AttemptServices
from voxfleet_agent.endpoint_lanes.live_lane import LiveLane
from voxfleet_agent.ladder.quantum import quantum_batch_size
from voxfleet_agent.lanes.giving_way import YieldingLane
from voxfleet_agent.logs import logger
from voxfleet_agent.memory_pressure import memory_is_short
from voxfleet_agent.yielding.decide import BatchLane, Decision, MacSnapshot, Pace, ServingLane, Standing, decide
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.kinds.endpoint_yield import YieldMode

LOOK_SECONDS = 1.0
SHORTEST_LOOK_SECONDS = 0.01
LOG_SECONDS = 60.0
"""How often a lane's long steps are logged at most."""

_log = logger("voxfleet.yielding")


class BatchYield:
    """Decides anew whenever a session opens, ends, begins or ceases to speak, and once a second besides."""

    def __init__(
        self,
        services: AttemptServices,
        live_lanes: Callable[[], Sequence[LiveLane]],
        calls_back: Callable[[], bool],
        unload_idle: Callable[[float], Awaitable[None]],
        failed: Callable[[BaseException], None],
        *,
        memory_short: Callable[[], bool] = memory_is_short,
        burning_since_seconds: Callable[[LiveLane], float | None] = lambda live: live.latencies.burning_since_seconds(),
    ) -> None:
        """`live_lanes`: those of endpoints. `calls_back`: whether the Mac calls all attempts back.
        `unload_idle` gives back the memory of models that nothing has used for so many seconds. `failed` hears of an
        error that must end the agent.

        `burning_since_seconds`: since when, on the lease clock, the turns of a lane have been later than its target.
        """
        self._batch_lanes = services.batch_lanes
        self._session_lanes = services.interactive.lanes
        self._unload_idle = unload_idle
        self._live_lanes = live_lanes
        self._calls_back = calls_back
        self._yields = services.yields
        self._pace = services.pace
        self._memory_short = memory_short
        self._burning_since_seconds = burning_since_seconds
        self._lease_seconds = services.clock.lease_seconds
        self._background = BackgroundTasks(failed)
        self._now_seconds = asyncio.get_running_loop().time
        self._standing = Standing(at_seconds=self._now_seconds())
        self._quantum_milliseconds: int | None = None
        self._paces: dict[str, Pace] = {}
        self._payers: dict[str, Payer] = {}
        """Of the serving lanes, by name."""
        self._is_short = False
        self._timer: asyncio.TimerHandle | None = None
        self._logged_seconds: dict[str, float] = {}

    def start(self) -> None:
        for lane in self._session_lanes:
            lane.sessions_changed = self.look
        for batch_lane in self._batch_lanes:
            self._listen_to(batch_lane)
        self._background.repeat(LOOK_SECONDS, self._look_now_and_then)

    def look(self) -> None:
        """Gathers, decides, acts. Waits for nothing."""
        now_seconds = self._now_seconds()
        decision = decide(self._snapshot(), self._standing, now_seconds)
        if decision.standing.pace is not self._standing.pace:
            _log.debug("batches give way", pace=decision.standing.pace.value, lane=decision.standing.payer)
        self._standing = decision.standing
        self._act(decision)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if decision.look_again_seconds is not None:
            after_seconds = max(SHORTEST_LOOK_SECONDS, decision.look_again_seconds)
            self._timer = asyncio.get_running_loop().call_later(after_seconds, self.look)

    def stop(self) -> None:
        self._background.stop_repeating()
        for lane in self._session_lanes:
            lane.sessions_changed = lambda: None
        if self._timer is not None:
            self._timer.cancel()

    async def _look_now_and_then(self) -> None:
        self.look()
        if self._is_short:
            await self._unload_idle(0.0)

    def _snapshot(self) -> MacSnapshot:
        serving: list[ServingLane] = []
        for live in self._live_lanes():
            lane = live.lane
            if lane is None or live.holder is None or not live.warm:
                continue
            mode = live.spec.yield_.mode
            burning_since = self._burning_since_seconds(live) if mode is YieldMode.EVICT else None
            self._payers[lane.name] = Payer(AttemptKey(*live.key), live.holder)
            serving.append(
                ServingLane(
                    lane.name,
                    mode=mode,
                    quantum_milliseconds=live.spec.yield_.quantum_milliseconds,
                    open_sessions=lane.open_sessions,
                    speaking=lane.speaking,
                    burning_seconds=0.0 if burning_since is None else self._lease_seconds() - burning_since,
                )
            )
        self._is_short = bool(serving) and self._memory_short()
        yields = [(lane.name, self._yields.of(lane.name)) for lane in self._batch_lanes]
        leaves = self._calls_back()
        return MacSnapshot(
            tuple(serving),
            tuple(BatchLane(name, one.held, one.called_back.is_set(), leaves) for name, one in yields),
            self._is_short,
        )

    def _act(self, decision: Decision) -> None:
        self._quantum_milliseconds = decision.quantum_milliseconds
        self._yields.takes_batches = decision.takes_batches
        payer = None if decision.standing.payer is None else self._payers.get(decision.standing.payer)
        for lane in self._batch_lanes:
            one = self._yields.of(lane.name)
            pace = decision.paces[lane.name]
            self._paces[lane.name] = pace
            if pace is Pace.PAUSE:
                one.pays(payer)
                lane.giving_way.pause()
            else:
                lane.giving_way.resume()
        for name, cause in decision.evicted.items():
            _log.warning("a shard goes back: people come first", lane=name, cause=cause.value)
            self._yields.evictions[cause.value] += 1
            self._yields.of(name).called_back.set()

    def _most_clips(self, name: str) -> int | None:
        """None while a ladder may be measured: batches of another size would be another measurement."""
        pace = self._paces.get(name, Pace.RUN)
        if pace is Pace.RUN or not self._yields.of(name).works:
            return None
        if pace is Pace.QUANTA and self._quantum_milliseconds is not None:
            return quantum_batch_size(self._pace.of(name).table, self._quantum_milliseconds)
        return 1

    def _listen_to(self, lane: YieldingLane) -> None:
        name = lane.name
        lane.giving_way.most_clips = lambda: self._most_clips(name)
        lane.giving_way.changed = lambda still: self._yields.of(name).stands(still)
        lane.giving_way.step_ended = lambda milliseconds: self._step_ended(name, milliseconds)

    def _step_ended(self, name: str, milliseconds: int) -> None:
        quantum_milliseconds = self._quantum_milliseconds
        if quantum_milliseconds is None or milliseconds <= quantum_milliseconds:
            return
        self._yields.long_steps[name] += 1
        now_seconds = self._now_seconds()
        if now_seconds - self._logged_seconds.get(name, -LOG_SECONDS) >= LOG_SECONDS:
            self._logged_seconds[name] = now_seconds
            _log.warning(
                "a batch's step takes longer than the quantum of an endpoint",
                lane=name,
                step_milliseconds=milliseconds,
                quantum_milliseconds=quantum_milliseconds,
            )
