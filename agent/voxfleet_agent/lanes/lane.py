"""A lane on the agent's side: one child process after another that loads a model and works on clips."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path

import structlog

from voxfleet_agent.confinement.confinement import Confinement, unconfined
from voxfleet_agent.lane_protocol.channel import WorkerAnswer
from voxfleet_agent.lane_protocol.messages import (
    SYNTHESIZED_PREFIX,
    BatchDone,
    BatchMessage,
    ClipMessage,
    HeardAudio,
    VerdictMessage,
    WorkerRefusal,
)
from voxfleet_agent.lanes.batch_size import BatchSize
from voxfleet_agent.lanes.child_exits import TOO_MUCH_AT_ONCE, Blame, ChildEnd, load_failure_class
from voxfleet_agent.lanes.child_process import ChildEndedError, ChildProcess
from voxfleet_agent.lanes.child_start import WORKER, ChildStart
from voxfleet_agent.lanes.clip_queue import ClipQueue
from voxfleet_agent.lanes.giving_way import GivingWay
from voxfleet_agent.lanes.hang_detection import CHECK_SECONDS, HangTimeouts, allowed_seconds, endless_decode
from voxfleet_agent.lanes.lane_reports import ReadingsTotal, clip_verdict, endless_decode_verdict, poison_verdicts
from voxfleet_agent.lanes.lane_types import ClipTask, ClipVerdict, LaneSpec, LoadedModel, StepDown
from voxfleet_agent.lanes.lane_user import LaneUser, collect_file
from voxfleet_agent.lanes.memory_guard import MemoryStep
from voxfleet_agent.lanes.work_call import BatchFeed, WorkCall
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.quantities import duration_milliseconds
from voxfleet_api.run_record import LaneReadings

DEFAULT_MEMORY_CAP_BYTES = 8 * 2**30
DEFAULT_BATCH_SIZE = 4
DEFAULT_TIMEOUTS = HangTimeouts()

_log = structlog.get_logger(__name__)


class ProcessLane:
    """Implements lanes.lane_types.LaneHandle. `kill` may be called at any time."""

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        memory_cap_bytes: int = DEFAULT_MEMORY_CAP_BYTES,
        batch_size: int = DEFAULT_BATCH_SIZE,
        quarantine: Path | None = None,
        lane_user: LaneUser | None = None,
        confinement: Confinement | None = None,
        worker: Sequence[str] = WORKER,
        timeouts: HangTimeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        """`folder`: the lane's own, for its lock and temporary files; it is created when missing.

        `confinement`: what its children may reach; None: whatever their account may.
        """
        self.name = name
        self.folder = folder
        self._batch_size = BatchSize(batch_size)
        self._lane_user = lane_user
        self._confinement = confinement or unconfined()
        self._children = ChildStart(folder, tuple(worker), self._confinement, lane_user, quarantine, memory_cap_bytes)
        self._timeouts = timeouts
        self._assignment: tuple[ResolvedModel, LaneSpec] | None = None
        """The model and spec that the lane is to work with; None: the lane is stopped, and a call of `work` ends."""
        self._child: ChildProcess | None = None
        self._child_assignment: tuple[ResolvedModel, LaneSpec] | None = None
        """What the living child has loaded."""
        self._child_reads: Path | None = None
        """The model's folder that the living child was started for."""
        self._totals = ReadingsTotal()
        self._giving_way = GivingWay()
        self._call_lock = asyncio.Lock()
        self._start_lock = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The child's process id while it lives."""
        child = self._child
        return child.pid if child is not None and child.alive else None

    @property
    def loaded_digest(self) -> str | None:
        """The digest of the model that the living child has loaded."""
        child = self._child
        return child.loaded_digest if child is not None and child.alive else None

    @property
    def batch_size(self) -> int:
        return self._batch_size.size

    @batch_size.setter
    def batch_size(self, size: int) -> None:
        self._batch_size = BatchSize(size)

    @property
    def giving_way(self) -> GivingWay:
        return self._giving_way

    @property
    def stepped_down(self) -> StepDown | None:
        return self._batch_size.stepped_down

    def readings(self) -> LaneReadings:
        return self._totals.readings(self.batch_size)

    async def load(self, model: ResolvedModel, spec: LaneSpec) -> LoadedModel:
        """Starts a child when there is none, and has it load the model unless it already has.

        Raises VoxFleetError(MODEL_UNAVAILABLE | RUNTIME_MISMATCH | GPU_ABORT_* | CONTRACT_VIOLATION | ...).
        """
        async with self._call_lock:
            self._assignment = (model, spec)
            self._totals = ReadingsTotal()
            if self._lane_user is not None and spec.reference is not None:
                await asyncio.to_thread(self._lane_user.grant_read, spec.reference)
            loaded = (await self._ready_child()).loaded
            if loaded is None:
                raise self._stopped_error()
            return loaded

    async def work(self, batches: AsyncIterator[Sequence[ClipTask]]) -> AsyncGenerator[ClipVerdict, None]:
        """Yields exactly one verdict for each clip of each batch, as they come, in any order.

        A child that dies is replaced. The clips that it was working on go to the next children one at a time. A clip
        gets the verdict LANE_CRASHED or MEMORY_EXCEEDED when two children have died while working on only this clip;
        after a GPU fault, only if the GPU then works without it. Raises VoxFleetError for a failure that another clip
        would meet too, such as a GPU that fails on all clips, or memory that other processes on the Mac took. Closing
        the iterator early ends the child.
        """
        async with self._call_lock:
            call = WorkCall(ClipQueue(), BatchFeed(batches))
            self._giving_way.work_begins(lambda: not call.queue.idle)
            try:
                while not (call.feed.ended and call.queue.empty):
                    for verdict in await self._step(call):
                        if verdict.failure_class is FailureClass.MEMORY_EXCEEDED:
                            self._batch_size.undo_halvings_caused_by(verdict.index)
                        yield verdict
            finally:
                self._giving_way.work_ends()
                await call.feed.close()
                if not call.queue.idle:
                    self._totals.resets["Cancelled"] += 1
                    await self._kill_child()
                await call.cancel_answer()

    async def unload(self) -> None:
        async with self._call_lock:
            if self._child is not None:
                await self._stop_child(self._child)

    async def kill(self) -> None:
        """Ends the child with SIGKILL and waits for its end; a second call does nothing. A later `load` starts anew."""
        self._assignment = None
        await self._kill_child()
        async with self._start_lock:  # a child may have been starting when the call came
            await self._kill_child()

    # One step of `work`

    async def _step(self, call: WorkCall) -> Sequence[ClipVerdict]:
        """Sends the batches that the child may have, requests the next, and handles the first answer or batch."""
        child: ChildProcess | None = None
        try:
            if call.recycling and call.queue.idle:
                await self._recycle_child()
                call.recycling = False
            if call.queue.needs_fresh_child:
                await self._ready_child()
                call.queue.confirm_poison()
                return poison_verdicts(call.queue)
            if not call.queue.empty:
                # A child with batches in flight is not replaced here: its end is handled when `receive` reports it.
                child = await self._ready_child() if call.queue.idle else self._child
                if child is None:
                    raise self._stopped_error()
                await self._send_batches(call, child)
            if call.queue.wants_more and not call.recycling:
                call.feed.request()
            return await self._wait(call, child)
        except ChildEndedError as error:
            if child is None:
                raise RuntimeError("a child ended that nobody waited for") from error
            return await self._handle_child_end(call, child, error.end)

    async def _send_batches(self, call: WorkCall, child: ChildProcess) -> None:
        batch_size = self._giving_way.batch_size(self.batch_size)
        while not call.recycling and (batch := call.queue.next_batch(batch_size)) is not None:
            if self._lane_user is not None:
                for clip in batch.clips:
                    if clip.text is None:
                        await asyncio.to_thread(self._lane_user.grant_read, clip.path)
            clips = tuple(
                ClipMessage(index=clip.index, path=self._path_for_child(clip), text=clip.text, max_bytes=clip.max_bytes)
                for clip in batch.clips
            )
            self._giving_way.before_batch(child)
            child.send(BatchMessage(number=batch.number, clips=clips, batch_size=batch.batch_size))
            call.batch_sent()

    async def _wait(self, call: WorkCall, child: ChildProcess | None) -> Sequence[ClipVerdict]:
        """Waits for an answer of the child or the next batch, and checks for a hang when neither comes."""
        if child is not None and not call.queue.idle and call.pending_answer is None:
            call.pending_answer = asyncio.create_task(child.receive())
        tasks = {task for task in (call.pending_answer, call.feed.pending) if task is not None}
        check_seconds = None if call.queue.idle else CHECK_SECONDS
        done, _ = await asyncio.wait(tasks, timeout=check_seconds, return_when=asyncio.FIRST_COMPLETED)
        if not done and child is not None:
            return self._check_for_hang(call, child)
        if call.feed.pending in done:
            call.queue.add(await call.feed.receive())
        if child is not None and call.pending_answer is not None and call.pending_answer in done:
            return await self._handle_answer(call, child, await call.finished_answer())
        return ()

    def _check_for_hang(self, call: WorkCall, child: ChildProcess) -> Sequence[ClipVerdict]:
        """Kills a child that is silent for too long or decodes without end. Never awaits: no answer can interfere."""
        timeout_seconds = allowed_seconds(self._timeouts, call, child, self._max_clip_milliseconds)
        if call.seconds_since_activity(child) >= timeout_seconds:
            child.kill_for(f"gave no sign of life for {timeout_seconds:.0f} s")
            return ()
        clip = endless_decode(self._timeouts, call, child, self._max_clip_milliseconds)
        if clip is None:
            return ()
        # Processor time depends on the clip alone, however busy the machine is, so there is no second try.
        call.queue.verdict_received(clip.index, inferred=False)
        child.kill_for("came to no end with decoding a clip")
        return (endless_decode_verdict(clip, call.queue.deaths_alone(clip.index)), *poison_verdicts(call.queue))

    async def _handle_answer(self, call: WorkCall, child: ChildProcess, answer: WorkerAnswer) -> Sequence[ClipVerdict]:
        match answer:
            case VerdictMessage() if (
                clip := call.queue.verdict_received(answer.index, inferred=answer.failure_class is None)
            ) is not None:
                if answer.synthesized is not None:
                    owner = os.geteuid() if self._lane_user is None else self._lane_user.uid
                    await asyncio.to_thread(collect_file, self._path_for_child(clip), clip.path, owner)
                verdict = clip_verdict(answer, call.queue.deaths_alone(answer.index))
                return (verdict, *poison_verdicts(call.queue))
            case HeardAudio():
                heard_clip = call.queue.in_flight(answer.index)
                if heard_clip is not None and heard_clip.heard is not None:
                    heard_clip.heard(answer.audio_milliseconds)
                return ()
            case BatchDone() if (sent_batch_size := call.queue.batch_done(answer.number)) is not None:
                self._giving_way.look()
                self._totals.current_child = answer.readings
                if answer.memory_short:
                    # While the child is being replaced because of a leak, the leak may be the cause.
                    reason = "memory ran short inside the model"
                    self._halve_batch_size(sent_batch_size, reason, caused_by_lane=not call.recycling)
                step = child.resting.after_batch(child.memory_cap_bytes, answer.footprint_bytes)
                call.recycling = call.recycling or step is MemoryStep.RECYCLE
                return ()
            case WorkerRefusal():
                raise VoxFleetError(answer.failure_class, answer.message)
        raise await child.protocol_error(f"sent a {answer.kind} that nobody asked for")

    async def _handle_child_end(self, call: WorkCall, child: ChildProcess, end: ChildEnd) -> Sequence[ClipVerdict]:
        """Decides what happens to the clips that a dead child had."""
        await call.cancel_answer()
        if not call.queue.idle:
            self._totals.resets["Restart"] += 1
        if end.failure_class in TOO_MUCH_AT_ONCE and len(child.inferring) > 1:
            self._halve_batch_size(
                call.queue.largest_batch_size(child.inferring),
                end.reason,
                caused_by_lane=end.caused_by_lane and not call.recycling,
                suspects=child.active_clips,
            )
        await self._record_child_end(child, end)
        if call.queue.child_died(child.active_clips, end):
            raise VoxFleetError(
                end.failure_class, f"lane {self.name} ended twice on one clip, and no clip is at fault: {end.reason}"
            )
        if call.queue.too_many_deaths:
            raise VoxFleetError(
                FailureClass.RUNTIME_MISMATCH if end.blame is Blame.CLIP else end.failure_class,
                f"lane {self.name} ended again and again without finishing a clip: {end.reason}; look at the Mac",
            )
        return poison_verdicts(call.queue)

    def _halve_batch_size(
        self, sent_batch_size: int, reason: str, *, caused_by_lane: bool, suspects: frozenset[int] = frozenset()
    ) -> None:
        if self._batch_size.halve(sent_batch_size, reason, caused_by_lane=caused_by_lane, suspects=suspects):
            _log.warning("batch size halved", lane=self.name, batch_size=self.batch_size, reason=reason)

    def _path_for_child(self, clip: ClipTask) -> Path:
        """The clip's path, except for audio that the lane writes: the agent collects it from the lane's folder."""
        if clip.text is None:
            return clip.path
        return self.folder / f"{SYNTHESIZED_PREFIX}{clip.index}{clip.path.suffix}"

    @property
    def _max_clip_milliseconds(self) -> int:
        return 0 if self._assignment is None else duration_milliseconds(self._assignment[1].contract.input.max_clip)

    # The life of a child

    async def _ready_child(self) -> ChildProcess:
        """A living child that has loaded the assignment; a child that ends while it loads is replaced once.

        Raises VoxFleetError.
        """
        try:
            return await self._start_and_load()
        except ChildEndedError as first:
            if self._child is not None:
                await self._record_child_end(self._child, first.end)
        try:
            return await self._start_and_load()
        except ChildEndedError as error:
            if self._child is not None:
                await self._record_child_end(self._child, error.end)
            raise VoxFleetError(
                load_failure_class(error.end),
                f"lane {self.name} ended twice as it loaded its model: {error.end.reason}",
            ) from error

    async def _start_and_load(self) -> ChildProcess:
        """Starts a child and has it load the assignment, each only if needed. Raises ChildEndedError."""
        if self._assignment is None:
            raise self._stopped_error()
        child = self._child
        if child is not None and child.alive and self._child_assignment is self._assignment:
            return child
        with self._giving_way.while_loading():
            return await self._load_anew(*self._assignment)

    async def _load_anew(self, model: ResolvedModel, spec: LaneSpec) -> ChildProcess:
        if self._child is not None and not self._child.alive:
            if self._child.stopped_by_agent:
                await self._kill_child()
            else:  # it ended while it had nothing to do
                await self._record_child_end(self._child, (await self._child.ended_error()).end)
        if self._child is not None and self._confinement.bounds_models and self._child_reads != model.readable:
            await self._stop_child(self._child)  # it can read no other model than its own
        if self._child is None:
            await self._start_child(spec, model.readable)
        child = self._child
        if child is None:
            raise self._stopped_error()
        cap_bytes, names = self._children.memory_cap_bytes(spec), self._children.names(spec, self.batch_size)
        loaded = await child.load(model, spec, memory_cap_bytes=cap_bytes, environment=names)
        self._totals.ring_bytes = loaded.ring_bytes
        self._child_assignment = self._assignment
        return child

    async def _start_child(self, spec: LaneSpec, model_folder: Path) -> None:
        async with self._start_lock:
            cap_bytes = self._children.memory_cap_bytes(spec)
            child = await self._children.start(spec, model_folder, self.batch_size, cap_bytes)
            self._child, self._child_assignment, self._child_reads = child, None, model_folder
            _log.info("lane started", lane=self.name, pid=child.pid)

    async def _recycle_child(self) -> None:
        if self._child is not None:
            _log.info("lane recycled, its memory grew", lane=self.name)
            await self._stop_child(self._child)
            self._totals.restarts["Recycled"] += 1

    async def _record_child_end(self, child: ChildProcess, end: ChildEnd) -> None:
        """Reaps and counts a child that ended by itself or was killed for what it did."""
        if self._assignment is None:
            raise self._stopped_error()
        await child.end()
        self._forget_child(child)
        self._totals.restarts[end.failure_class.value] += 1
        _log.warning("lane ended", lane=self.name, failure=end.failure_class, reason=end.reason)

    async def _stop_child(self, child: ChildProcess) -> None:
        await child.stop()
        self._forget_child(child)

    async def _kill_child(self) -> None:
        child = self._child
        if child is not None:
            await child.end()
            self._forget_child(child)

    def _forget_child(self, child: ChildProcess) -> None:
        if self._child is child:
            self._child, self._child_assignment = None, None
            self._giving_way.look()
            self._totals.child_ended()

    def _stopped_error(self) -> VoxFleetError:
        return VoxFleetError(FailureClass.LANE_CRASHED, f"the agent stopped lane {self.name}")
