"""Runs one attempt: slot, stage, durable outcome, cleanup, sealed rows, end."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace

from voxfleet_agent import crash_points
from voxfleet_agent.attempts.event_feed import append_status
from voxfleet_agent.attempts.lane_meter import LaneMeter
from voxfleet_agent.attempts.live_attempt import LiveAttempt
from voxfleet_agent.attempts.services import AttemptServices
from voxfleet_agent.attempts.slots import SlotGrant, SlotQueue
from voxfleet_agent.attempts.state_machine import AttemptEvent, transition
from voxfleet_agent.journal import attempt_table, lane_holds
from voxfleet_agent.journal.attempt_table import JournaledAttempt
from voxfleet_agent.journal.stage_journal import SqliteStageJournal
from voxfleet_agent.lanes.lane_types import LaneHandle
from voxfleet_agent.logs import frames
from voxfleet_agent.scratch import AttemptScratch
from voxfleet_agent.stages.context import Provenance, StageContext
from voxfleet_agent.stages.stage_runner import failure_of
from voxfleet_api.ledger import Activity
from voxfleet_api.protocol import AttemptFailure, AttemptState, ShardResult
from voxfleet_api.quantities import quantity_bytes

STOP_SECONDS = 20
"""How long a cancelled stage may take before its lane is killed under it."""


class Execution:
    """What the supervisor does to single attempts; every change of state goes through `commit`."""

    def __init__(
        self,
        equipment: AttemptServices,
        lanes: SlotQueue[LaneHandle],
        control: SlotQueue[None],
        progressed: Callable[[LiveAttempt], None],
        fatal: Callable[[BaseException], None],
    ) -> None:
        """`fatal` gets what must end the agent: after it, only a restart knows what is true."""
        self._equipment = equipment
        self._progressed = progressed
        self._fatal = fatal
        self._lanes = lanes
        self._control = control

    def start(self, live: LiveAttempt) -> None:
        """Claims a slot, now, and runs the attempt once it is granted."""
        live.stopping = False
        process = live.record.spec.process
        if process is not None:
            lane_claim = self._lanes.claim(process.model_digest)
            self._launch(live, self._run_on_lane(live, lane_claim), lambda: self._lanes.withdraw(lane_claim))
        else:
            control_claim = self._control.claim()
            self._launch(live, self._run_in_control(live, control_claim), lambda: self._control.withdraw(control_claim))

    def _launch(self, live: LiveAttempt, run: Coroutine[None, None, None], withdraw: Callable[[], None]) -> None:
        def release() -> None:
            if live.meter is not None:
                live.meter.stop()
            withdraw()
            live.release = None

        live.release = release
        live.task = asyncio.create_task(run, name=f"attempt {live.key}")
        # Not a `finally` in the task: one that is cancelled before its first step never enters it.
        live.task.add_done_callback(lambda task: self._ended(live, task))

    def _ended(self, live: LiveAttempt, task: asyncio.Task[None]) -> None:
        if live.release is not None:
            live.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fatal(error)

    async def stop(self, live: LiveAttempt) -> None:
        """Ends the attempt's task and, with it, the lane's child. The caller holds `live.lock`."""
        if live.task is None:
            return
        live.stopping = True
        live.task.cancel()
        _, late = await asyncio.wait({live.task}, timeout=STOP_SECONDS)
        if late:
            raise RuntimeError(f"attempt {live.key} does not stop within {STOP_SECONDS} s")
        live.task = None

    async def clean(self, live: LiveAttempt) -> int:
        """Removes the attempt's scratch, if there is any; returns the bytes that stayed behind: 0."""
        await self._equipment.scratch.remove_attempt(live.key)
        return self._equipment.scratch.residue_bytes(live.key)

    async def accept(self, live: LiveAttempt) -> None:
        """Makes a new attempt durable."""
        record = live.record

        def work(db: sqlite3.Connection) -> None:
            attempt_table.save(db, record)
            append_status(db, self._equipment.ledger.chain_id, record)

        await self._equipment.journal.write(work)
        live.log().info("attempt", state=record.state.value)

    async def commit(
        self,
        live: LiveAttempt,
        event: AttemptEvent,
        change: Callable[[JournaledAttempt], JournaledAttempt] = lambda record: record,
        *,
        seal: Sequence[lane_holds.LaneHold] = (),
        also: Callable[[sqlite3.Connection], None] = lambda db: None,
    ) -> None:
        """One transaction: the new state, its event, the sealed rows of what ended, the hold of what began."""
        step = transition(live.record.state, event)
        ledger = self._equipment.ledger
        record = change(replace(live.record, state=step.state))
        began = live.meter.hold() if live.meter is not None else None

        def work(db: sqlite3.Connection) -> None:
            for hold in seal:
                ledger.seal(db, hold, record)
            if began is not None:
                lane_holds.save(db, began)
            also(db)
            attempt_table.save(db, record)
            append_status(db, ledger.chain_id, record)

        await self._equipment.journal.write(
            work, after_commit=lambda: crash_points.point("row-sealed") if seal else None
        )
        live.record = record
        live.log().info("attempt", state=step.state.value, event_type=event.value, lane=record.lane)

    def end_hold(self, live: LiveAttempt) -> list[lane_holds.LaneHold]:
        """Stops the meter; what is to be sealed."""
        meter, live.meter = live.meter, None
        return [] if meter is None else [meter.stop()]

    async def _run_on_lane(self, live: LiveAttempt, claim: asyncio.Future[SlotGrant[LaneHandle]]) -> None:
        lane = (await claim).slot
        try:
            await self._run(live, lane)
        except BaseException:
            await lane.kill()
            raise

    async def _run_in_control(self, live: LiveAttempt, claim: asyncio.Future[SlotGrant[None]]) -> None:
        await claim
        await self._run(live, None)

    async def _run(self, live: LiveAttempt, lane: LaneHandle | None) -> None:
        async with live.lock:
            if lane is not None:
                machine, clock = self._equipment.machine, self._equipment.clock
                live.meter = LaneMeter(clock, machine.boot_id, live.key, lane.name)
            name = None if lane is None else lane.name
            await self.commit(live, AttemptEvent.GRANTED, lambda record: replace(record, lane=name))
        if live.record.state is not AttemptState.RUNNING:
            return
        outcome, high_water_bytes = await self._outcome(live, lane)
        if live.stopping:
            raise asyncio.CancelledError

        def ended(record: JournaledAttempt) -> JournaledAttempt:
            high = max(record.scratch_high_water_bytes, high_water_bytes)
            record = replace(record, scratch_high_water_bytes=high)
            if isinstance(outcome, ShardResult):
                return replace(record, result=outcome)
            return replace(record, failure=outcome)

        async with live.lock:
            work = [] if live.meter is None else [live.meter.switch(Activity.CLEANUP)]
            await self.commit(live, AttemptEvent.ENDED, ended, seal=work)
        crash_points.point("outcome-recorded")
        residue_bytes = await self.clean(live)
        if live.release is not None:
            live.release()
        async with live.lock:
            failed = live.record.failure is not None
            await self.commit(
                live,
                AttemptEvent.CLEANED_FAILURE if failed else AttemptEvent.CLEANED_SUCCESS,
                lambda record: replace(record, lane=None, scratch_residue_bytes=residue_bytes),
                seal=self.end_hold(live),
                also=lambda db: attempt_table.delete_stage_data(db, live.key),
            )

    async def _outcome(self, live: LiveAttempt, lane: LaneHandle | None) -> tuple[ShardResult | AttemptFailure, int]:
        """(what the stage returned or why it failed, high water of its scratch in bytes)."""
        scratch: AttemptScratch | None = None
        outcome: ShardResult | AttemptFailure
        try:
            limit_bytes = quantity_bytes(live.record.spec.contract.scratch.max_bytes)
            scratch = self._equipment.scratch.open_attempt(live.key, limit_bytes)
            outcome = await self._stage(live, lane, scratch)
        except Exception as error:  # noqa: BLE001 -- whatever a stage raises ends this attempt, never the agent
            outcome = failure_of(error)
            live.log().warning(
                "attempt failed",
                failure_class=outcome.failure_class.value,
                reason=outcome.message,
                error=type(error).__qualname__,
                frames=frames(error),
            )
        finally:
            if scratch is not None:
                scratch.close()
        return outcome, 0 if scratch is None else scratch.high_water_bytes

    async def _stage(self, live: LiveAttempt, lane: LaneHandle | None, scratch: AttemptScratch) -> ShardResult:
        equipment, meter, spec = self._equipment, live.meter, live.record.spec

        def progress(done: int, total: int) -> None:
            live.set_progress(done, total)
            self._progressed(live)

        async def working() -> None:
            if meter is not None and meter.activity is Activity.SETUP:
                async with live.lock:
                    await self._begin_work(live, meter)

        async with equipment.open_storage(live.credentials) as storage:
            context = StageContext(
                spec=spec,
                storage=storage,
                journal=SqliteStageJournal(equipment.journal, live.key),
                scratch=scratch,
                models=equipment.models,
                lane=lane,
                working=working,
                ladders=equipment.ladders,
                quarantine=equipment.quarantine.open(spec),
                budget=equipment.open_budget(spec),
                provenance=Provenance(
                    chip=equipment.machine.chip,
                    versions=equipment.machine.versions,
                    memory_bytes=equipment.machine.memory_bytes,
                    os=equipment.machine.os,
                ),
                progress=progress,
                audio_meter=meter.add_audio if meter is not None else lambda audio_milliseconds: None,
            )
            return await equipment.stages[spec.stage](context)

    async def _begin_work(self, live: LiveAttempt, meter: LaneMeter) -> None:
        setup = meter.switch(Activity.WORK)
        began = meter.hold()
        record = live.record

        def work(db: sqlite3.Connection) -> None:
            self._equipment.ledger.seal(db, setup, record)
            lane_holds.save(db, began)

        await self._equipment.journal.write(work, after_commit=lambda: crash_points.point("row-sealed"))
