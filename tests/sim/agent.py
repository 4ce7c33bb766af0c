"""A modelled agent: one incarnation of the process, which decides as the real one does.

Admission, state machine, leases, closing, slots, lane meter, spec check and the chain of rows are the agent's own; what
stands between them (journal, supervisor, execution) is written anew in a few lines, in the order of the real ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from tests.sim.agent_attempt import Live, NamedLanes, put_facts
from tests.sim.agent_disk import AgentDisk, TimedHold
from tests.sim.agent_stage import StageFailed, run_stage

from voxfleet_agent.attempts import leases, spec_check
from voxfleet_agent.attempts.admission import (
    OUTDATED,
    TAKES_NOTHING,
    Binding,
    Caller,
    Refusal,
    RepeatedPut,
    decide_mutation,
    decide_put,
)
from voxfleet_agent.attempts.closing import MacClosing
from voxfleet_agent.attempts.lane_meter import LaneMeter
from voxfleet_agent.attempts.meter_clock import MeterClock
from voxfleet_agent.attempts.slots import ControlSlots, SlotQueue
from voxfleet_agent.attempts.state_machine import Action, AttemptEvent
from voxfleet_agent.attempts.work_permit import LeasedPermit
from voxfleet_agent.journal.attempt_table import JournaledAttempt
from voxfleet_agent.journal.lane_holds import LaneHold
from voxfleet_agent.storage import Storage
from voxfleet_api.attempt_spec import AttemptKey, AttemptSpec
from voxfleet_api.ledger import Activity
from voxfleet_api.order_age import ClockReading
from voxfleet_api.protocol import (
    AttemptFailure,
    AttemptRequest,
    AttemptState,
    AttemptStatus,
    Problem,
    RenewRequest,
    ShardProgress,
    ShardResult,
)

if TYPE_CHECKING:
    from tests.sim.machine import Machine

TICK_SECONDS = 3.0
STOP_SECONDS = 25.0
"""The longest that a stage takes to end once it is told to."""


def _storage(_: None, prefixes: Sequence[str] | None) -> Storage:
    return Storage(["file:///data/"], namespace=prefixes)


class Agent:
    def __init__(self, machine: Machine, lanes: int) -> None:
        self.machine = machine
        self.disk: AgentDisk = machine.disk
        self.random: Random = machine.random
        self.lanes: SlotQueue[str | None] = SlotQueue(NamedLanes(lanes))
        self.control: SlotQueue[str | None] = SlotQueue(ControlSlots(2))
        self.live: dict[AttemptKey, Live] = {}
        self.changed = asyncio.Event()
        """Set and replaced whenever there are new events."""
        self.draining = False
        self.closing = MacClosing(machine)
        self.clock = MeterClock(machine)
        self._admission = asyncio.Lock()
        self._recover()

    # Calls

    async def admit(self, caller: Caller) -> Refusal | None:
        async with self._admission:
            bound = Binding(self.disk.control_plane, self.disk.epoch)
            refusal = decide_mutation(caller, bound)
            if refusal is not None:
                return refusal

            def bind() -> None:
                self.disk.control_plane, self.disk.epoch = bound.control_plane or caller.control_plane, caller.epoch

            if (bound.control_plane, bound.epoch) != (caller.control_plane, caller.epoch):
                await self._write(bind)
            return None

    async def put(
        self, key: AttemptKey, request: AttemptRequest, good_until: ClockReading | None
    ) -> AttemptStatus | Refusal:
        spec = spec_check.check_spec(request, key, self.machine.local_machine(), _storage)
        async with self._admission:
            asked_at_seconds = self.machine.lease_seconds()
            decision = decide_put(put_facts(self, key, request, spec, good_until))
            if isinstance(decision, Refusal):
                return decision
            if not isinstance(decision, RepeatedPut) and isinstance(spec, AttemptSpec):
                live = await self._start(key, request, spec, asked_at_seconds)
                for number in decision.supersedes:
                    self._spawn(self.park(self.live[AttemptKey(key.shard_uid, number)]))
                return self.disk.status(live.record)
        return await self._put_again(self.live[key], request, asked_at_seconds)

    def renew(self, request: RenewRequest, good_until: ClockReading | None) -> int | Refusal:
        if self.is_outdated(good_until):
            return OUTDATED
        self.closing.renewed(request)
        self._look_again_in(request.return_after_seconds)
        self._look_again_in(request.stop_after_seconds)
        self.look_at_leases()
        now = self.machine.lease_seconds()
        held = [live.lease() for live in self.live.values()]
        renewed = leases.renewable(held, now, self.closing.stop_at_seconds)
        for live in [self.live[key] for key in renewed]:
            live.renewed_at_seconds = now
            self._watch(live)
        return len(renewed)

    def is_outdated(self, good_until: ClockReading | None) -> bool:
        return good_until is not None and good_until.is_over(self.machine.reading())

    def look_at_leases(self, lives: Iterable[Live] | None = None) -> set[AttemptKey]:
        """Parks the attempts whose lease has expired; returns them. None: looks at all."""
        self.closing.look()
        held = [live.lease() for live in (self.live.values() if lives is None else lives)]
        lapsed = leases.expired(held, self.machine.lease_seconds(), self.closing.stop_at_seconds)
        for live in [self.live[key] for key in lapsed]:
            if not live.lapsed:
                live.lapsed = True
                self.machine.count("agent.lease expired")
                self._will_end(live)
                self._spawn(self.park(live))
        return set(lapsed)

    async def delete(self, key: AttemptKey) -> bool:
        async with self._admission:
            live = self.live.get(key)
            if live is None:
                if self.disk.tombstones.get(key.shard_uid, 0) < key.attempt:
                    await self._write(lambda: self.disk.bury(key, self.machine.wall()))
                return True
            if live.record.state is AttemptState.DELETING:
                return False
            async with live.lock:
                actions = self.machine.transition(live.record.state, AttemptEvent.DELETE).actions
                await self._commit(live, AttemptEvent.DELETE, also=lambda: self.disk.bury(key, self.machine.wall()))
                self.machine.history.work_will_end(self.disk.hardware_id, key)
            stop = Action.STOP in actions
            erasing = self._spawn(self._erase(live, stop=stop))
            if stop or (live.task is not None and not live.task.done()):
                return False
            await erasing
            return True

    async def park(self, live: Live) -> None:
        async with live.lock:
            if Action.STOP not in self.machine.transition(live.record.state, AttemptEvent.LAPSED).actions:
                return
            await self._stop(live)
            await self._commit(live, AttemptEvent.LAPSED, lambda record: replace(record, lane=None), seal=True)

    async def shut_down(self) -> None:
        """Parks everything; the process ends afterwards."""
        self.draining = True
        await asyncio.gather(*(self.park(live) for live in list(self.live.values())))

    def free_lanes(self) -> int:
        return self.lanes.free

    def has_lane(self) -> bool:
        return self.lanes.free > 0 and not self.machine.lanes_are_taken

    # The life of an attempt

    def _recover(self) -> None:
        disk = self.disk
        for timed in list(disk.holds.values()):
            disk.seal([timed], disk.attempts[timed.hold.key])
        for record in list(disk.attempts.values()):
            change = self.machine.transition(record.state, AttemptEvent.RESTARTED)
            if Action.FORGET in change.actions:
                disk.forget(record.key)
                continue
            state = change.state
            if Action.FINISH in change.actions:
                event = AttemptEvent.CLEANED_FAILURE if record.failure is not None else AttemptEvent.CLEANED_SUCCESS
                state = self.machine.transition(state, event).state
            if state is not record.state:
                record = replace(record, state=state, lane=None)
                disk.save(record)
            self.live[record.key] = Live(record)
        self._spawn(self._tick())

    async def _tick(self) -> None:
        while True:
            if not any(live.meter is not None for live in self.live.values()):
                await self.changed.wait()  # there is nothing to record until a lane is held
                continue
            await asyncio.sleep(TICK_SECONDS)
            for live in self.live.values():
                if live.meter is not None:
                    ended = self._timed(live, live.meter.tick())
                    known, running = self.disk.holds.get(live.key), self._running(live)[0]
                    same = known is not None and known.hold.activity == running.hold.activity
                    if self.disk.seal(ended, live.record) if ended else same:
                        self.disk.holds[live.key] = running

    async def _start(
        self, key: AttemptKey, request: AttemptRequest, spec: AttemptSpec, asked_at_seconds: float
    ) -> Live:
        live = Live(
            JournaledAttempt(
                key=key,
                spec_digest=request.spec_digest,
                control_plane=self.disk.control_plane or "",
                spec=spec,
                state=AttemptState.ACCEPTED,
            )
        )
        async with live.lock:
            await self._write(lambda: self.disk.save(live.record))
            self.machine.history.accepted.setdefault(key, set()).add(self.disk.hardware_id)
            self.live[key] = live
            self._lease(live, request, asked_at_seconds)
            self._launch(live)
        return live

    async def _put_again(self, live: Live, request: AttemptRequest, asked_at_seconds: float) -> AttemptStatus | Refusal:
        async with live.lock:
            if live.record.state is AttemptState.DELETING:
                return Refusal(410, Problem(message="deleted here", held_attempt=live.key.attempt))
            if (self.draining or self.closing.stopped) and live.record.state is AttemptState.PARKED:
                return Refusal(503, Problem(message=TAKES_NOTHING), retry_after_seconds=5)
            step = self.machine.transition(live.record.state, AttemptEvent.PUT)
            if step.state in leases.LEASED_STATES:
                self._lease(live, request, asked_at_seconds)
            if Action.START in step.actions:
                await self._commit(live, AttemptEvent.PUT)
                self._launch(live)
        return self.disk.status(live.record)

    def _launch(self, live: Live) -> None:
        needs_lane = live.record.spec.process is not None
        live.slots = self.lanes if needs_lane else self.control
        live.claim = live.slots.claim()
        live.task = self._spawn(self._run(live))

    async def _run(self, live: Live) -> None:
        assert live.claim is not None
        grant = await live.claim
        try:
            await self.machine.wait_to_begin()
            await self._run_in_slot(live, grant.slot)
        except asyncio.CancelledError:
            if self.machine.process.alive and live.meter is not None:  # the lane's child takes its time to die
                await asyncio.sleep(self.random.choice([0.01, 0.2, self.random.uniform(1, STOP_SECONDS)]))
            raise
        finally:
            self._release(live)

    async def _run_in_slot(self, live: Live, lane: str | None) -> None:
        async with live.lock:
            if lane is not None:
                live.metered_from = self.machine.metered_milliseconds()
                live.meter = LaneMeter(self.clock, self.machine.boot_id, live.key, lane)
            await self._commit(live, AttemptEvent.GRANTED, lambda record: replace(record, lane=lane))
            if live.record.state is AttemptState.RUNNING and not live.lapsed:
                self.machine.history.work_began(self.disk.hardware_id, live.key)
        if live.record.state is not AttemptState.RUNNING or live.lapsed:
            return

        async def working() -> None:
            async with live.lock:
                if live.meter is not None and live.meter.activity is Activity.SETUP:
                    await self._switch(live, Activity.WORK)

        def progressed(done: int, total: int) -> None:
            live.record = replace(live.record, progress=ShardProgress(done=done, total=total))
            self._wake()

        outcome: ShardResult | AttemptFailure
        try:
            permit = LeasedPermit(self.closing, lambda: bool(self.look_at_leases([live])))
            outcome = await run_stage(self, live.record, live.meter, permit, working, progressed)
        except StageFailed as failed:
            outcome = AttemptFailure(failure_class=failed.failure_class, message=str(failed))

        def ended(record: JournaledAttempt) -> JournaledAttempt:
            if isinstance(outcome, ShardResult):
                return replace(record, result=outcome)
            return replace(record, failure=outcome)

        async with live.lock:
            sealed = [] if live.meter is None else self._timed(live, live.meter.switch(Activity.CLEANUP))
            await self._commit(live, AttemptEvent.ENDED, ended, holds=sealed)
            self._will_end(live)
        await asyncio.sleep(self.random.uniform(0.05, 1.0))
        if live.meter is not None:
            live.meter.stop()
        async with live.lock:
            failed_event = live.record.failure is not None
            event = AttemptEvent.CLEANED_FAILURE if failed_event else AttemptEvent.CLEANED_SUCCESS
            await self._commit(live, event, lambda record: replace(record, lane=None), seal=True)

    async def _switch(self, live: Live, activity: Activity) -> None:
        assert live.meter is not None
        sealed = self._timed(live, live.meter.switch(activity))
        began = self._running(live)

        def apply() -> None:
            self.disk.seal(sealed, live.record)
            for hold in began:
                self.disk.holds[live.key] = hold

        await self._write(apply)

    async def _stop(self, live: Live) -> None:
        """Ends the task; the caller holds the lock."""
        self._will_end(live)
        if live.task is None:
            return
        live.task.cancel()
        await asyncio.wait({live.task})
        self._release(live)
        live.task = None

    async def _erase(self, live: Live, *, stop: bool) -> None:
        async with live.lock:
            if stop:
                await self._stop(live)
        if live.task is not None:
            await asyncio.wait({live.task})
        async with live.lock:
            sealed = self._end_meter(live)

            def apply() -> None:
                self.disk.seal(sealed, live.record)
                self.disk.forget(live.key)

            await self._write(apply)
            self.live.pop(live.key, None)

    def _release(self, live: Live) -> None:
        """Time is metered no longer than the slot is held."""
        if live.meter is not None:
            live.meter.stop()
        if live.claim is not None and live.slots is not None:
            claim, live.claim = live.claim, None
            live.slots.withdraw(claim)

    def _will_end(self, live: Live) -> None:
        self.machine.history.work_ended(self.disk.hardware_id, live.key)

    # Leases

    def _lease(self, live: Live, request: AttemptRequest, asked_at_seconds: float) -> None:
        live.lapsed = False
        live.lease_seconds = request.lease_seconds
        live.renewed_at_seconds = asked_at_seconds
        self._watch(live)

    def _watch(self, live: Live) -> None:
        """Looks at the lease up to a second after it may have expired, as the real agent does every second."""
        if live.watch is not None:
            live.watch.cancel()
        wait = live.renewed_at_seconds + live.lease_seconds - self.machine.lease_seconds() + self.random.random()
        live.watch = asyncio.get_running_loop().call_later(max(0.0, wait), self._look_at, live)

    def _look_again_in(self, seconds: int | None) -> None:
        """When the last renewal's time comes, and up to a second later."""
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds + self.random.random(), self._look)

    def _look(self) -> None:
        if self.machine.process.paused:
            self._call_when_awake(self._look)
        elif self._is_running():
            self.look_at_leases()

    def _call_when_awake(self, look: Callable[[], None]) -> None:
        """In its own context, because a timer runs in that of the caller, whose process may well be awake."""
        asyncio.get_running_loop().call_soon(look, context=self.machine.process.context.copy())

    def _is_running(self) -> bool:
        return self.machine.process.alive and self.machine.agent is self

    def _look_at(self, live: Live) -> None:
        if not self._is_running():
            return
        if self.machine.process.paused:
            self._call_when_awake(lambda: self._look_at(live))
            return
        if live.key not in self.look_at_leases() and live.record.state in leases.LEASED_STATES:
            self._watch(live)

    # The journal

    def _timed(self, live: Live, ended: Sequence[LaneHold]) -> list[TimedHold]:
        """The holds that ended, one after the other."""
        timed = []
        for hold in ended:
            timed.append(TimedHold(hold, live.metered_from))
            live.metered_from += hold.milliseconds
        return timed

    def _running(self, live: Live) -> list[TimedHold]:
        return [] if live.meter is None else [TimedHold(live.meter.hold, live.metered_from)]

    def _end_meter(self, live: Live) -> list[TimedHold]:
        meter, live.meter = live.meter, None
        return [] if meter is None else self._timed(live, meter.end())

    async def _commit(
        self,
        live: Live,
        event: AttemptEvent,
        change: Callable[[JournaledAttempt], JournaledAttempt] = lambda record: record,
        *,
        holds: list[TimedHold] | None = None,
        seal: bool = False,
        also: Callable[[], None] = lambda: None,
    ) -> None:
        step = self.machine.transition(live.record.state, event)
        record = change(replace(live.record, state=step.state))
        sealed = holds or []
        if seal:
            sealed = self._end_meter(live)
        began = self._running(live)

        def apply() -> None:
            self.disk.seal(sealed, record)
            for hold in began:
                self.disk.holds[live.key] = hold
            also()
            self.disk.save(record)

        await self._write(apply)
        live.record = record
        self.machine.history.note(f"{self.machine.host} {live.key} {event.value} -> {step.state.value}")

    async def _write(self, apply: Callable[[], None]) -> None:
        await asyncio.sleep(self.random.uniform(0.0, self.machine.longest_write_seconds))
        self.machine.process.check_alive()
        apply()
        self._wake()
        await asyncio.sleep(0)

    def _wake(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        return self.machine.process.spawn(coroutine)
