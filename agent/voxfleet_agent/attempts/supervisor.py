"""All attempts of this agent: admits, renews, parks, deletes and recovers them, and publishes their changes."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from voxfleet_agent.attempts import leases, spec_check
from voxfleet_agent.attempts.admission import (
    OUTDATED,
    RETRY_AFTER_SECONDS,
    TAKES_NOTHING,
    Binding,
    Caller,
    KnownAttempt,
    PutFacts,
    Refusal,
    RepeatedPut,
    decide_mutation,
    decide_put,
)
from voxfleet_agent.attempts.background_tasks import BackgroundTasks
from voxfleet_agent.attempts.closing import MacClosing
from voxfleet_agent.attempts.event_feed import EventFeed, status_of
from voxfleet_agent.attempts.execution import Execution
from voxfleet_agent.attempts.lane_meter import TICK_SECONDS
from voxfleet_agent.attempts.live_attempt import LiveAttempt
from voxfleet_agent.attempts.recovery import recover
from voxfleet_agent.attempts.services import AttemptServices
from voxfleet_agent.attempts.slots import ControlSlots, SlotQueue, offline
from voxfleet_agent.attempts.state_machine import Action, AttemptEvent, transition
from voxfleet_agent.journal import attempt_table, settings_table
from voxfleet_agent.journal.attempt_table import JournaledAttempt
from voxfleet_agent.lanes.lane_types import LaneHandle
from voxfleet_agent.logs import frames, logger
from voxfleet_api.attempt_spec import AttemptKey, AttemptSpec
from voxfleet_api.order_age import ClockReading
from voxfleet_api.protocol import TOMBSTONE_DAYS, AttemptRequest, AttemptState, AttemptStatus, Problem, RenewRequest

CONTROL_SLOTS = 2
MAX_WAITING_CONTROL = 64
WATCH_SECONDS = 1.0
SWEEP_SECONDS = 300.0
UNLOAD_SECONDS = 10.0

_log = logger("voxfleet.supervisor")


class Supervisor:
    def __init__(self, services: AttemptServices) -> None:
        self._services = services
        self.lanes: SlotQueue[LaneHandle] = SlotQueue(services.lanes)
        self.control: SlotQueue[None] = SlotQueue(ControlSlots(CONTROL_SLOTS))
        self.feed = EventFeed(services.journal, services.ledger.chain_id, lambda: self._live.values())
        self.closing = MacClosing(services.clock)
        self._execution = Execution(
            services, self.lanes, self.control, self.closing, self.feed.note_progress, self._has_lapsed, self.fail
        )
        self._live: dict[AttemptKey, LiveAttempt] = {}
        self._tombstones: dict[str, int] = {}
        self._bound = Binding(None, None)
        self._admission = asyncio.Lock()
        self._background = BackgroundTasks(self.fail)
        self._lapsing: dict[AttemptKey, asyncio.Task[None]] = {}
        """Attempts whose lease has expired and that are being parked."""
        self._other_scratch: Callable[[], Collection[str]] = frozenset
        self.ready = False
        self.draining = False
        """Whether the agent stops."""
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Holds the exception that must end the agent."""

    # The agent starts and stops

    async def start(self, control_plane: str | None = None) -> None:
        """Recovers what the previous process left behind; then the agent may answer.

        Raises ValueError when the agent is bound to another control plane.
        """
        services = self._services
        recovered = await recover(services.journal, services.ledger, services.scratch)
        await services.quarantine.expire()
        self._live = {record.key: LiveAttempt(record) for record in recovered.records}

        def work(db: sqlite3.Connection) -> tuple[str | None, str | None, dict[str, int]]:
            return (
                settings_table.get(db, "control_plane"),
                settings_table.get(db, "epoch"),
                attempt_table.tombstones(db),
            )

        owner, epoch, self._tombstones = await services.journal.read(work)
        if owner is not None and control_plane not in (None, owner):
            raise ValueError(f"controlPlane: this agent is bound to {owner}; remove the field, or use a new stateDir")
        self._bound = Binding(owner or control_plane, None if epoch is None else int(epoch))
        self._background.repeat(WATCH_SECONDS, self.watch)
        self._background.repeat(TICK_SECONDS, self.tick)
        self._background.repeat(SWEEP_SECONDS, self.sweep)
        self._background.repeat(UNLOAD_SECONDS, self.unload_idle)
        self.ready = True
        _log.info(
            "recovered",
            attempts=len(self._live),
            sealed_rows=recovered.sealed_rows,
            swept_entries=recovered.swept_entries,
        )

    def share_scratch_with(self, owners: Callable[[], Collection[str]]) -> None:
        """`owners`: names of folders in scratch that are no attempt's, and are not swept."""
        self._other_scratch = owners

    async def shut_down(self) -> None:
        """Stops admitting attempts, parks those that wait or run, and seals their lane time."""
        self.ready, self.draining = False, True
        self._background.stop_repeating()
        await asyncio.gather(*(self.park(live, "the agent stops") for live in list(self._live.values())))
        running = [live.task for live in self._live.values() if live.task is not None]
        # Attempts whose outcome is recorded still finish, and so do deletions.
        await asyncio.gather(*running, self._background.wait(), return_exceptions=True)

    # Calls that change something

    @property
    def bound(self) -> Binding:
        return self._bound

    async def admit(self, caller: Caller) -> Refusal | None:
        """Decides whether this caller may change anything; if so, binds the agent to it and raises the epoch."""
        async with self._admission:
            refusal = decide_mutation(caller, self._bound)
            if refusal is not None:
                return refusal
            bound = Binding(self._bound.control_plane or caller.control_plane, caller.epoch)
            if bound != self._bound:

                def work(db: sqlite3.Connection) -> None:
                    settings_table.put(db, "control_plane", bound.control_plane or "")
                    settings_table.put(db, "epoch", str(bound.epoch))

                await self._services.journal.write(work)
                self._bound = bound
            return None

    def clock(self) -> ClockReading:
        """What the lease clock shows."""
        services = self._services
        return ClockReading(services.machine.boot_id, int(services.clock.lease_seconds() * 1000))

    async def put(
        self, key: AttemptKey, request: AttemptRequest, good_until: ClockReading | None = None
    ) -> AttemptStatus | Refusal:
        """Starts an attempt, resumes a parked one, or renews a running one."""
        # Runs in a thread, because a spec may name thousands of clips.
        spec = await asyncio.to_thread(
            spec_check.check_spec, request, key, self._services.machine, self._services.open_storage
        )
        if request.ladder is not None and isinstance(spec, AttemptSpec) and spec.process is not None:
            # Before the attempt starts: its stage finds the table where it would have put its own.
            await self._services.shared_ladders.take_over(
                request.ladder, spec.process.model_digest, spec.contract_digest
            )
        async with self._admission:
            asked_at_seconds = self._services.clock.lease_seconds()
            decision = decide_put(self._facts(key, request, spec, good_until))
            if isinstance(decision, Refusal):
                return decision
            if not isinstance(decision, RepeatedPut) and isinstance(spec, AttemptSpec):
                live = await self._start(key, request, spec, asked_at_seconds)
                for number in decision.supersedes:
                    older = self._live[AttemptKey(key.shard_uid, number)]
                    self._background.start(self.park(older, "a newer attempt of its shard came"))
                return await self.status(live)
        live = self._live[key]
        if self._has_lapsed(live):  # it resumes as any parked attempt does
            await self._lapsing[key]
        return await self._put_again(live, request, asked_at_seconds)

    async def renew(self, request: RenewRequest, good_until: ClockReading | None = None) -> int | Refusal:
        """Renews the leases of attempts that wait or run, and does what else the renewal asks; returns their number.

        A lease that has expired stays so, although its attempt is not parked yet.
        """
        if self._is_outdated(good_until):
            return OUTDATED
        self.closing.renewed(request)
        self._park_lapsed()
        now = self._services.clock.lease_seconds()
        renewed = leases.renewable((live.lease for live in self._live.values()), now, self.closing.stop_at_seconds)
        for key in renewed:
            self._live[key].renewed_at_seconds = now
        return len(renewed)

    async def delete(self, key: AttemptKey) -> bool:
        """Leaves a tombstone and erases the attempt. Returns True once nothing is left of it."""
        async with self._admission:
            live = self._live.get(key)
            if live is None:
                if self._tombstones.get(key.shard_uid, 0) < key.attempt:
                    await self._services.journal.write(lambda db: self._bury(db, key))
                    self._tombstones[key.shard_uid] = key.attempt
                return True
            if live.record.state is AttemptState.DELETING:
                return False
            async with live.lock:
                actions = transition(live.record.state, AttemptEvent.DELETE).actions
                await self._execution.commit(live, AttemptEvent.DELETE, also=lambda db: self._bury(db, key))
                self._tombstones[key.shard_uid] = max(self._tombstones.get(key.shard_uid, 0), key.attempt)
            stop = Action.STOP in actions
            if stop or (live.task is not None and not live.task.done()):
                self._background.start(self._erase(live, stop=stop))
                return False
            await self._background.start(
                self._erase(live, stop=False)
            )  # if it fails, the agent ends: only a restart erases the rest
            return True

    async def park(self, live: LiveAttempt, why: str) -> None:
        """Stops an attempt that waits or runs and keeps its work. Does nothing in any other state."""
        async with live.lock:
            if Action.STOP not in transition(live.record.state, AttemptEvent.LAPSED).actions:
                return
            live.log().warning("parking", reason=why)
            await self._execution.stop(live)
            residue_bytes = await self._execution.clean(live)
            await self._execution.commit(
                live,
                AttemptEvent.LAPSED,
                lambda record: replace(record, lane=None, scratch_residue_bytes=residue_bytes),
                seal=self._execution.end_hold(live),
            )
            live.set_credentials(None)

    # Calls that only read

    def attempt(self, key: AttemptKey) -> LiveAttempt | None:
        return self._live.get(key)

    def states(self) -> list[JournaledAttempt]:
        return [live.record for live in self._live.values()]

    async def status(self, live: LiveAttempt) -> AttemptStatus:
        record = live.record
        return await self._services.journal.read(lambda db: status_of(db, self._services.ledger.chain_id, record))

    # Timers

    async def watch(self) -> None:
        """Parks attempts whose lease has expired and publishes progress to event streams."""
        self.closing.look()
        self._park_lapsed()
        if self._lapsing:
            # One that hangs must not keep the others' leases from expiring.
            await asyncio.wait(self._lapsing.values(), timeout=WATCH_SECONDS)
        self.feed.publish_progress()

    async def tick(self) -> None:
        """Records how long lanes have been held: after a crash, this is the time that is billed.

        What ended with a month gets its row now, so that nobody waits with that month for a long attempt.
        """
        ledger = self._services.ledger
        ticks = [
            (live.record, live.meter.tick(), live.meter.running)
            for live in self._live.values()
            if live.meter is not None
        ]
        if ticks:

            def work(db: sqlite3.Connection) -> None:
                for record, ended, running in ticks:
                    ledger.tick(db, ended, running, record)

            await self._services.journal.write(work, wake=any(ended for _, ended, _ in ticks))

    async def unload_idle(self, after_seconds: float | None = None) -> None:
        """Gives back the memory of models that nothing has used for so long; None: as configured."""
        seconds = self._services.unload_after_seconds if after_seconds is None else after_seconds
        unloaded = await self._services.pools.unload_idle(seconds)
        if unloaded:
            _log.info("unloaded idle models", lanes=unloaded)
            self.lanes.grant_waiting()

    async def sweep(self) -> None:
        """Removes scratch that no attempt owns, expired quarantined clips, and old tombstones."""
        await self._services.scratch.sweep(owned={str(key) for key in self._live} | set(self._other_scratch()))
        await self._services.quarantine.expire()
        before = int(self._services.clock.wall().timestamp()) - TOMBSTONE_DAYS * 86_400

        def work(db: sqlite3.Connection) -> dict[str, int]:
            attempt_table.drop_tombstones(db, before)
            return attempt_table.tombstones(db)

        async with self._admission:
            self._tombstones = await self._services.journal.write(work)

    # Helpers

    def _has_lapsed(self, live: LiveAttempt) -> bool:
        """Whether the attempt's lease has expired; it is being parked then."""
        self._park_lapsed([live])
        return live.key in self._lapsing

    def _park_lapsed(self, lives: Iterable[LiveAttempt] | None = None) -> None:
        """Begins to park the attempts whose lease has expired; None: of all."""
        held = [live.lease for live in (self._live.values() if lives is None else lives)]
        for key in leases.expired(held, self._services.clock.lease_seconds(), self.closing.stop_at_seconds):
            if key not in self._lapsing:
                self._lapsing[key] = self._background.start(self.park(self._live[key], "its lease expired"))
                self._lapsing[key].add_done_callback(lambda task, key=key: self._lapsing.pop(key))  # type: ignore[misc] # bound here

    def _is_outdated(self, good_until: ClockReading | None) -> bool:
        return good_until is not None and good_until.is_over(self.clock())

    def _facts(
        self, key: AttemptKey, request: AttemptRequest, spec: AttemptSpec | Problem, good_until: ClockReading | None
    ) -> PutFacts:
        held = [
            KnownAttempt(live.key.attempt, live.record.spec_digest, live.record.state)
            for live in self._live.values()
            if live.key.shard_uid == key.shard_uid
        ]
        needs_lane = isinstance(spec, AttemptSpec) and spec.process is not None
        return PutFacts(
            attempt=key.attempt,
            spec_digest=request.spec_digest,
            outdated=self._is_outdated(good_until),
            tombstone=self._tombstones.get(key.shard_uid),
            known_attempts=held,
            spec_problem=spec if isinstance(spec, Problem) else None,
            draining=self.draining
            or self.closing.takes_nothing
            or (isinstance(spec, AttemptSpec) and self._yields(spec)),
            scratch_shortage=self._services.scratch.shortage() if needs_lane else None,
            slot_free=self.lanes.free > 0 if needs_lane else self.control.waiting < MAX_WAITING_CONTROL,
            lacks_lanes=needs_lane and not offline(self._services.pools),
        )

    async def _start(
        self, key: AttemptKey, request: AttemptRequest, spec: AttemptSpec, asked_at_seconds: float
    ) -> LiveAttempt:
        record = JournaledAttempt(
            key=key,
            spec_digest=request.spec_digest,
            control_plane=self._bound.control_plane or "",
            spec=spec,
            state=AttemptState.ACCEPTED,
        )
        live = LiveAttempt(record)
        async with live.lock:
            await self._execution.accept(live)
            self._live[key] = live
            self._lease(live, request, asked_at_seconds)
            self._execution.start(live)
        return live

    def _yields(self, spec: AttemptSpec) -> bool:
        """Whether it is a batch, and people come first on this Mac."""
        return spec.process is not None and not self._services.yields.takes_batches

    async def _put_again(
        self, live: LiveAttempt, request: AttemptRequest, asked_at_seconds: float
    ) -> AttemptStatus | Refusal:
        async with live.lock:
            if live.record.state is AttemptState.DELETING:
                message = f"attempts of this shard up to {live.key.attempt} were deleted here"
                return Refusal(410, Problem(message=message, held_attempt=live.key.attempt))
            takes_none = self.draining or self.closing.stopped or self._yields(live.record.spec)
            if takes_none and live.record.state is AttemptState.PARKED:
                return Refusal(503, Problem(message=TAKES_NOTHING), RETRY_AFTER_SECONDS)
            step = transition(live.record.state, AttemptEvent.PUT)
            if step.state in leases.LEASED_STATES:
                self._lease(live, request, asked_at_seconds)
            if Action.START in step.actions:
                await self._execution.commit(live, AttemptEvent.PUT)
                self._execution.start(live)
        return await self.status(live)

    def _lease(self, live: LiveAttempt, request: AttemptRequest, asked_at_seconds: float) -> None:
        """It counts from when the PUT was found to hold: this Mac may have slept since."""
        live.lease_seconds = request.lease_seconds
        live.renewed_at_seconds = asked_at_seconds
        live.set_credentials(request.credentials)
        live.set_uri_prefixes(request.uri_prefixes)
        live.batch_halvings = request.batch_halvings
        live.machine_time = request.machine_time

    async def _erase(self, live: LiveAttempt, *, stop: bool) -> None:
        async with live.lock:
            if stop:
                await self._execution.stop(live)
        if live.task is not None:  # its outcome is recorded, so it ends by itself
            await asyncio.wait({live.task})
        async with live.lock:
            await self._execution.clean(live)
            sealed = self._execution.end_hold(live)
            record = live.record

            def work(db: sqlite3.Connection) -> None:
                self._services.ledger.seal(db, sealed, record)
                attempt_table.delete(db, live.key)

            await self._services.journal.write(work)
            del self._live[live.key]
            live.log().info("deleted")

    def _bury(self, db: sqlite3.Connection, key: AttemptKey) -> None:
        attempt_table.add_tombstone(db, key, int(self._services.clock.wall().timestamp()))

    def fail(self, error: BaseException) -> None:
        """Ends the agent for an unforeseen error: memory may differ from the journal now, and only the next process can
        recover."""
        _log.error("the agent cannot go on", error=type(error).__qualname__, frames=frames(error))
        for live in self._live.values():
            live.stopping = True  # its stage may fail because the agent ends, so its outcome is not recorded
        if not self.failed.done():
            self.failed.set_exception(error)
