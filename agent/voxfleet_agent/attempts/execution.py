"""Runs one attempt: claims a slot, runs the stage, records the outcome durably, cleans up and seals the lane time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace

from voxfleet_agent.attempts.closing import MacClosing
from voxfleet_agent.attempts.event_feed import append_status
from voxfleet_agent.attempts.lane_meter import LaneMeter
from voxfleet_agent.attempts.live_attempt import LiveAttempt
from voxfleet_agent.attempts.meter_clock import MeterClock
from voxfleet_agent.attempts.services import AttemptServices
from voxfleet_agent.attempts.slots import SlotGrant, SlotQueue
from voxfleet_agent.attempts.state_machine import AttemptEvent, transition
from voxfleet_agent.attempts.work_permit import LeasedPermit
from voxfleet_agent.journal import attempt_table, lane_holds
from voxfleet_agent.journal.attempt_table import JournaledAttempt
from voxfleet_agent.lanes.lane_types import LaneHandle
from voxfleet_agent.stages.stage_runner import StageEnd, StageRunner
from voxfleet_agent.storage import Storage
from voxfleet_api.ledger import Activity
from voxfleet_api.protocol import AttemptState, ShardProgress, ShardResult
from voxfleet_shared import crash_points

STOP_SECONDS = 20
"""How long a cancelled stage may take to end; after that, `stop` leaves it behind."""
KILL_SECONDS = 5
"""How long the lane of a stage that was left behind may take to end."""
MAX_LEFT_BEHIND = 8
"""With more stages that do not end, the agent does: a new process begins without them."""


class Execution:
    """Starts, stops and cleans single attempts for the supervisor. Every change of state goes through `commit`."""

    def __init__(
        self,
        services: AttemptServices,
        lanes: SlotQueue[LaneHandle],
        control: SlotQueue[None],
        closing: MacClosing,
        progressed: Callable[[LiveAttempt], None],
        lapsed: Callable[[LiveAttempt], bool],
        fatal: Callable[[BaseException], None],
    ) -> None:
        """`lapsed` says whether an attempt's lease has expired, and has it parked if so. `fatal` receives an error that
        must end the agent, because only a restart can recover from it.
        """
        self._services = services
        self._clock = MeterClock(services.clock)
        self._stage_runner = StageRunner(services)
        self._closing = closing
        self._progressed = progressed
        self._lapsed = lapsed
        self._fatal = fatal
        self._lanes = lanes
        self._control = control
        self._left_behind: set[asyncio.Task[None]] = set()
        self._kills: set[asyncio.Future[None]] = set()

    def start(self, live: LiveAttempt) -> None:
        """Claims a slot at once and runs the attempt when it is granted."""
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
        # A `finally` in the task would not do: a task that is cancelled before its first step never enters it.
        live.task.add_done_callback(lambda task: self._ended(live, task, withdraw))

    def _ended(self, live: LiveAttempt, task: asyncio.Task[None], withdraw: Callable[[], None]) -> None:
        if task in self._left_behind:
            # By now, `live` may belong to the next run of the attempt.
            self._left_behind.remove(task)
            withdraw()
            if not task.cancelled():
                task.exception()  # what such a stage meets is no longer of interest
            return
        if live.release is not None:
            live.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fatal(error)

    async def stop(self, live: LiveAttempt) -> None:
        """Ends the attempt's task and with it the lane's child. The caller holds `live.lock`.

        A task that hangs is left behind: it holds its slot until it ends, and changes nothing any more.
        """
        task = live.task
        if task is None:
            return
        live.stopping = True
        task.cancel()
        _, late = await asyncio.wait({task}, timeout=STOP_SECONDS)
        if late:
            await self._leave_behind(live, task)
        live.task = live.storage = None

    async def _leave_behind(self, live: LiveAttempt, task: asyncio.Task[None]) -> None:
        self._left_behind.add(task)
        live.release = None
        live.log().error("the stage does not end and is left behind", left_behind=len(self._left_behind))
        if len(self._left_behind) > MAX_LEFT_BEHIND:
            self._fatal(RuntimeError(f"{len(self._left_behind)} stages do not end"))
        if live.lane is not None:
            killing = asyncio.ensure_future(live.lane.kill())
            self._kills.add(killing)
            killing.add_done_callback(self._kills.discard)
            await asyncio.wait({killing}, timeout=KILL_SECONDS)

    def _is_current(self, live: LiveAttempt) -> bool:
        """Whether the task that asks still runs the attempt."""
        return live.task is asyncio.current_task() and not live.stopping

    async def clean(self, live: LiveAttempt) -> int:
        """Removes the attempt's scratch; returns the bytes that could not be removed, which should be 0."""
        await self._services.scratch.remove_attempt(live.key)
        return self._services.scratch.residue_bytes(live.key)

    async def accept(self, live: LiveAttempt) -> None:
        """Makes a new attempt durable."""
        record = live.record

        def work(db: sqlite3.Connection) -> None:
            attempt_table.save(db, record)
            append_status(db, self._services.ledger.chain_id, record)

        await self._services.journal.write(work)
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
        """Writes the new state, its event, a sealed row for each of `seal`, and the running hold in one transaction.

        `seal`: the holds of one activity.
        """
        step = transition(live.record.state, event)
        ledger = self._services.ledger
        record = change(replace(live.record, state=step.state))
        running = [] if live.meter is None else live.meter.running

        def work(db: sqlite3.Connection) -> None:
            ledger.seal(db, seal, record)
            for hold in running:
                lane_holds.save(db, hold)
            also(db)
            attempt_table.save(db, record)
            append_status(db, ledger.chain_id, record)

        await self._services.journal.write(
            work, after_commit=lambda: crash_points.point("row-sealed") if seal else None
        )
        live.record = record
        live.log().info("attempt", state=step.state.value, event_type=event.value, lane=record.lane)

    def end_hold(self, live: LiveAttempt) -> list[lane_holds.LaneHold]:
        """Stops the meter and returns the holds to seal."""
        meter, live.meter = live.meter, None
        return [] if meter is None else meter.end()

    async def _run_on_lane(self, live: LiveAttempt, claim: asyncio.Future[SlotGrant[LaneHandle]]) -> None:
        grant = await claim
        lane = live.lane = grant.slot
        try:
            await self._run(live, lane, grant.price_class)
        except BaseException:
            await lane.kill()
            raise

    async def _run_in_control(self, live: LiveAttempt, claim: asyncio.Future[SlotGrant[None]]) -> None:
        await claim
        await self._run(live, None)

    async def _run(self, live: LiveAttempt, lane: LaneHandle | None, price_class: str | None = None) -> None:
        async with live.lock:
            if lane is not None:
                boot_id = self._services.machine.boot_id
                live.meter = LaneMeter(self._clock, boot_id, live.key, lane.name, price_class)
                self._services.yields.of(lane.name).attempt_begins(live.meter)
            name = None if lane is None else lane.name
            await self.commit(live, AttemptEvent.GRANTED, lambda record: replace(record, lane=name))
        if live.record.state is not AttemptState.RUNNING:
            return
        end = await self._run_stage(live, lane)
        if not self._is_current(live):
            raise asyncio.CancelledError

        def ended(record: JournaledAttempt) -> JournaledAttempt:
            high_water_bytes = max(record.scratch_high_water_bytes, end.scratch_high_water_bytes)
            record = replace(record, scratch_high_water_bytes=high_water_bytes)
            if isinstance(end.outcome, ShardResult):
                return replace(record, result=end.outcome)
            return replace(record, failure=end.outcome)

        async with live.lock:
            work = [] if live.meter is None else live.meter.switch(Activity.CLEANUP)
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

    async def _run_stage(self, live: LiveAttempt, lane: LaneHandle | None) -> StageEnd:
        meter, task = live.meter, live.task

        def progress(done: int, total: int, audio_milliseconds: int = 0) -> None:
            if live.task is not task or self._lapsed(live):
                return
            if live.record.progress != ShardProgress(done=done, total=total):
                live.set_progress(done, total)
                self._progressed(live)

        async def working() -> None:
            if meter is not None and meter.activity is Activity.SETUP:
                async with live.lock:
                    if live.meter is meter:
                        await self._begin_work(live, meter)

        def open_storage() -> Storage:
            live.storage = self._services.open_storage(live.credentials, live.uri_prefixes)
            return live.storage

        try:
            return await self._stage_runner.run(
                live.record.spec,
                lane,
                open_storage,
                progress=progress,
                working=working,
                work_meter=meter.add if meter is not None else lambda audio_milliseconds=0, clips=0: None,
                batch_halvings=live.batch_halvings,
                machine_time=live.machine_time,
                log=live.log(),
                pace=None if lane is None else self._services.pace.of(lane.name),
                permit=LeasedPermit(
                    self._closing,
                    lambda: live.task is task and self._lapsed(live),
                    None if lane is None else self._services.yields.of(lane.name).called_back,
                ),
            )
        finally:
            if live.task is task:
                live.storage = None

    async def _begin_work(self, live: LiveAttempt, meter: LaneMeter) -> None:
        setup = meter.switch(Activity.WORK)
        began = meter.hold
        record = live.record

        def work(db: sqlite3.Connection) -> None:
            self._services.ledger.seal(db, setup, record)
            lane_holds.save(db, began)

        await self._services.journal.write(work, after_commit=lambda: crash_points.point("row-sealed"))
