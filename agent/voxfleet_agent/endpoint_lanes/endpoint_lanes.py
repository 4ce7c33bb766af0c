"""All lanes of VoiceEndpoints on this Mac: admits, renews and deletes them, and lets go of those nobody renews.

Lanes are not kept over a restart of the agent: the operator's next PUT brings them back. What was deleted is.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable

from voxfleet_agent.attempts.admission import Refusal
from voxfleet_agent.attempts.background_tasks import BackgroundTasks
from voxfleet_agent.attempts.closing import MacClosing
from voxfleet_agent.attempts.lane_meter import TICK_SECONDS
from voxfleet_agent.attempts.services import AttemptServices
from voxfleet_agent.endpoint_lanes.admission import KnownLane, LanePutFacts, RepeatedLanePut, decide_lane_put
from voxfleet_agent.endpoint_lanes.lane_check import check_lane
from voxfleet_agent.endpoint_lanes.lane_holding import LaneHolding
from voxfleet_agent.endpoint_lanes.latencies import LaneLatencies
from voxfleet_agent.endpoint_lanes.live_lane import LiveLane
from voxfleet_agent.endpoint_lanes.session_admission import SessionFacts, decide_session
from voxfleet_agent.endpoint_lanes.session_place import SessionPlace
from voxfleet_agent.endpoint_lanes.state_machine import LaneEvent, lane_transition
from voxfleet_agent.journal import lane_tombstones
from voxfleet_agent.lanes.interactive_lane import InteractiveLane
from voxfleet_api.endpoint_lanes import EndpointLaneSpec, LaneKey, LaneRequest, LaneState, LaneStatus
from voxfleet_api.order_age import ClockReading
from voxfleet_api.protocol import TOMBSTONE_DAYS, Problem
from voxfleet_api.quantities import quantity_bytes

WATCH_SECONDS = 1.0
SWEEP_SECONDS = 300.0
SHUT_DOWN_SECONDS = 40.0
"""How long all lanes together may take to end as the agent stops."""


class EndpointLanes:
    def __init__(
        self,
        services: AttemptServices,
        closing: MacClosing,
        failed: Callable[[BaseException], None],
        control_plane: Callable[[], str | None],
    ) -> None:
        """`failed` hears of an error that must end the agent. `control_plane`: the one that the agent is bound to."""
        self._services = services
        self._pools = services.interactive
        self._closing = closing
        self._background = BackgroundTasks(failed)
        self._holding = LaneHolding(services, self._background, lambda: control_plane() or "")
        self._live: dict[LaneKey, LiveLane] = {}
        self._tombstones: dict[str, int] = {}
        self._admission = asyncio.Lock()
        self._draining = False

    # The agent starts and stops

    async def start(self) -> None:
        self._tombstones = await self._services.journal.read(lane_tombstones.load_all)
        self._background.repeat(WATCH_SECONDS, self.watch)
        self._background.repeat(TICK_SECONDS, self.tick)
        self._background.repeat(SWEEP_SECONDS, self.sweep)

    async def shut_down(self) -> None:
        """Ends every lane, and with it its sessions."""
        self._draining = True
        self._background.stop_repeating()
        lives = list(self._live.values())
        for live in lives:
            self._holding.end(live, LaneEvent.LAPSED)
        if lives:
            ends = [asyncio.ensure_future(live.gone.wait()) for live in lives]
            _, late = await asyncio.wait(ends, timeout=SHUT_DOWN_SECONDS)
            for end in late:
                end.cancel()

    # Calls that change something

    async def put(
        self, key: LaneKey, request: LaneRequest, good_until: ClockReading | None = None
    ) -> LaneStatus | Refusal:
        """Begins to load a lane, renews the one that there is, or tries one that failed again."""
        services = self._services
        # Runs in a thread, because it reads folders to check addresses.
        spec = await asyncio.to_thread(
            check_lane, request, key, services.machine, self._pools.largest_cap_bytes, services.open_storage
        )
        async with self._admission:
            self._let_go()
            facts = self._facts(key, request, spec, good_until)
            decision = decide_lane_put(facts)
            if isinstance(decision, Refusal):
                return decision
            if isinstance(decision, RepeatedLanePut):
                live = self._live[key]
                self._lease(live, request)
                if decision.retry and self._holding.take(live):
                    live.state = lane_transition(live.state, LaneEvent.RETRIED).state
                return live.status()
            if isinstance(spec, Problem):
                raise RuntimeError("a lane is started whose spec was refused")
            return self._start(spec, request, [self._live[LaneKey(key.endpoint_uid, n)] for n in decision.supersedes])

    def renew(self) -> int:
        """Renews the leases of all lanes; returns their number. A lease that has expired stays so."""
        self._let_go()
        now_seconds = self._services.clock.lease_seconds()
        renewed = [live for live in self._live.values() if live.state is not LaneState.DELETING]
        for live in renewed:
            live.renewed_at_seconds = now_seconds
        return len(renewed)

    async def delete(self, key: LaneKey) -> bool:
        """Leaves a tombstone and ends this generation and older ones. Returns True once nothing is left of them."""
        async with self._admission:
            if self._tombstones.get(key.endpoint_uid, 0) < key.generation:
                now_seconds = int(self._services.clock.wall().timestamp())
                await self._services.journal.write(lambda db: lane_tombstones.add(db, key, now_seconds), wake=False)
                self._tombstones[key.endpoint_uid] = key.generation
            ending = [live for live in self._of(key.endpoint_uid) if live.key.generation <= key.generation]
            for live in ending:
                self._holding.end(live, LaneEvent.DELETE)
            return not ending

    # Sessions

    def place(self, key: LaneKey) -> SessionPlace | Refusal:
        """A place for a session on the lane, for who enters it at once."""
        live = self._live.get(key)
        if live is None or live.gone.is_set():
            facts = SessionFacts(None, False, self._draining, 0, 0, 0, 0)
        else:
            facts = SessionFacts(
                state=live.state,
                warm=live.warm,
                stopping=self._draining,
                open_sessions=live.open_sessions,
                awaited_sessions=live.awaited_sessions,
                sockets=live.sockets,
                most_sessions=live.spec.max_sessions,
            )
        refusal = decide_session(facts)
        if refusal is not None:
            return refusal
        if live is None:
            raise RuntimeError("a session was let in without a lane")
        return SessionPlace(live)

    # Calls that only read

    def lane(self, key: LaneKey) -> InteractiveLane | None:
        """The lane of a pool that is ready for this endpoint's sessions; None without one."""
        live = self._live.get(key)
        return None if live is None else live.lane_for_sessions

    def live_lanes(self) -> list[LiveLane]:
        return list(self._live.values())

    def status(self, key: LaneKey) -> LaneStatus | None:
        live = self._live.get(key)
        return None if live is None or live.gone.is_set() else live.status()

    def statuses(self) -> list[LaneStatus]:
        """By their keys."""
        return [live.status() for _, live in sorted(self._live.items()) if not live.gone.is_set()]

    def states(self) -> Counter[LaneState]:
        return Counter(live.state for live in self._live.values())

    def open_sessions(self) -> int:
        return sum(live.open_sessions for live in self._live.values())

    def scratch_owners(self) -> set[str]:
        """The names of the scratch folders that lanes hold."""
        return {str(key) for key in self._live}

    # Timers

    async def watch(self) -> None:
        self._let_go()

    async def tick(self) -> None:
        """Records how long lanes have been held."""
        await self._holding.tick(list(self._live.values()))

    async def sweep(self) -> None:
        """Forgets what was deleted so long ago that no PUT can still come; removes what could not be removed yet."""
        before = int(self._services.clock.wall().timestamp()) - TOMBSTONE_DAYS * 86_400

        def work(db: sqlite3.Connection) -> dict[str, int]:
            lane_tombstones.drop(db, before)
            return lane_tombstones.load_all(db)

        async with self._admission:
            self._tombstones = await self._services.journal.write(work, wake=False)
            await self._holding.remove_residue(self._live.keys())

    # Helpers

    def _let_go(self) -> None:
        """Begins to end the lanes whose lease has expired, and forgets those that are gone."""
        now_seconds = self._services.clock.lease_seconds()
        for key, live in list(self._live.items()):
            if live.gone.is_set():
                del self._live[key]
            elif live.has_lapsed(now_seconds, self._closing.stop_at_seconds):
                self._holding.end(live, LaneEvent.LAPSED)

    def _of(self, endpoint_uid: str) -> list[LiveLane]:
        self._let_go()
        return [live for live in self._live.values() if live.key.endpoint_uid == endpoint_uid]

    def _facts(
        self, key: LaneKey, request: LaneRequest, spec: EndpointLaneSpec | Problem, good_until: ClockReading | None
    ) -> LanePutFacts:
        clock, machine = self._services.clock, self._services.machine
        now_seconds = clock.lease_seconds()
        known = self._of(key.endpoint_uid)
        needs_scratch, lane_free = False, False
        if isinstance(spec, EndpointLaneSpec):
            cap_bytes = quantity_bytes(spec.memory_cap)
            needs_scratch = spec.synthesis is not None and spec.synthesis.reference is not None
            held = [live.lane for live in known if live.lane is not None and live.state is not LaneState.DELETING]
            lane_free = self._pools.has_free(cap_bytes) or any(lane.memory_cap_bytes >= cap_bytes for lane in held)
        return LanePutFacts(
            generation=key.generation,
            spec_digest=request.spec_digest,
            outdated=good_until is not None
            and good_until.is_over(ClockReading(machine.boot_id, int(now_seconds * 1000))),
            tombstone=self._tombstones.get(key.endpoint_uid),
            known_lanes=[
                KnownLane(live.key.generation, live.spec_digest, live.state, now_seconds >= live.retry_at_seconds)
                for live in known
            ],
            spec_problem=spec if isinstance(spec, Problem) else None,
            draining=self._draining or self._closing.takes_nothing,
            scratch_shortage=self._services.scratch.shortage() if needs_scratch else None,
            lane_free=lane_free,
        )

    def _start(self, spec: EndpointLaneSpec, request: LaneRequest, older: list[LiveLane]) -> LaneStatus:
        clock = self._services.clock
        latencies = LaneLatencies(spec.contract, clock.wall(), clock.lease_seconds)
        live = LiveLane(spec, request.spec_digest, latencies)
        self._lease(live, request)
        heir = max(older, key=lambda one: one.key.generation, default=None)
        if not self._holding.take(live, heir):
            raise RuntimeError("a lane is started without one that is free")
        self._live[live.key] = live
        for one in older:
            self._holding.end(one, LaneEvent.SUPERSEDED)
        return live.status()

    def _lease(self, live: LiveLane, request: LaneRequest) -> None:
        live.lease_seconds = request.lease_seconds
        live.renewed_at_seconds = self._services.clock.lease_seconds()
        live.credentials = request.credentials
        live.uri_prefixes = request.uri_prefixes
        live.model_digest = request.model_digest
