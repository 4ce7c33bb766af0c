"""A lane as the supervisor sees it: one child process after another that holds a model and works on clips."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path

import structlog

from voxfleet_agent.lane_protocol.failure_marks import GPU_ABORTS
from voxfleet_agent.lane_protocol.messages import (
    SYNTHESIZED_PREFIX,
    BatchDone,
    BatchMessage,
    ClipMessage,
    Load,
    VerdictMessage,
    WorkerAnswer,
    WorkerRefusal,
)
from voxfleet_agent.lanes.batch_size import BatchSize
from voxfleet_agent.lanes.child_environment import child_environment, runbook_names
from voxfleet_agent.lanes.child_exits import TOO_MUCH_AT_ONCE, Blame, ChildEnd
from voxfleet_agent.lanes.child_process import ChildEndedError, ChildProcess
from voxfleet_agent.lanes.clip_queue import ClipQueue, SentBatch
from voxfleet_agent.lanes.hang_detection import CHECK_SECONDS, HangTimeouts, endless_decode, silence_seconds
from voxfleet_agent.lanes.lane_reports import ReadingsTotal, clip_verdict, endless_decode_verdict, poison_verdicts
from voxfleet_agent.lanes.lane_types import ClipTask, ClipVerdict, LaneSpec, LoadedModel, StepDown
from voxfleet_agent.lanes.lane_user import LaneUser
from voxfleet_agent.lanes.memory_guard import MemoryStep
from voxfleet_agent.lanes.work_call import BatchFeed, WorkCall
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.quantities import duration_milliseconds, quantity_bytes
from voxfleet_api.results import LaneReadings

WORKER = (sys.executable, "-m", "voxfleet_agent.worker.main")
DEFAULT_MEMORY_CAP_BYTES = 8 * 2**30
DEFAULT_BATCH_SIZE = 4
DEFAULT_TIMEOUTS = HangTimeouts()

_log = structlog.get_logger(__name__)


class ProcessLane:
    """One unit of parallel work; implements stages.stage.Lane. `kill` may come at any time."""

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        memory_cap_bytes: int = DEFAULT_MEMORY_CAP_BYTES,
        batch_size: int = DEFAULT_BATCH_SIZE,
        quarantine: Path | None = None,
        account: LaneUser | None = None,
        worker: Sequence[str] = WORKER,
        patience: HangTimeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        """`folder` is the lane's own: lock file and temporary files; it is made when missing."""
        self.name = name
        self.folder = folder
        self._pool_cap_bytes = memory_cap_bytes
        self._sizing = BatchSize(batch_size)
        self._quarantine = quarantine
        self._account = account
        self._worker = tuple(worker)
        self._patience = patience
        self._child: ChildProcess | None = None
        self._held: tuple[ResolvedModel, LaneSpec] | None = None
        """None: the lane is stopped, and a call in flight ends."""
        self._told: tuple[ResolvedModel, LaneSpec] | None = None
        """What the living child was given."""
        self._tally = ReadingsTotal()
        self._calls = asyncio.Lock()
        self._starting = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The child's process id while it lives."""
        child = self._child
        return child.pid if child is not None and child.alive else None

    @property
    def loaded_digest(self) -> str | None:
        """The digest of the model that the living child holds."""
        child = self._child
        return child.loaded_digest if child is not None and child.alive else None

    @property
    def batch_size(self) -> int:
        return self._sizing.size

    @batch_size.setter
    def batch_size(self, size: int) -> None:
        self._sizing = BatchSize(size)

    @property
    def stepped_down(self) -> StepDown | None:
        return self._sizing.stepped_down

    def readings(self) -> LaneReadings:
        return self._tally.readings(self.batch_size)

    async def load(self, model: ResolvedModel, order: LaneSpec) -> LoadedModel:
        """Starts the child when there is none and has it load the model, unless it holds it already.

        Raises VoxFleetError(MODEL_UNAVAILABLE | RUNTIME_MISMATCH | GPU_ABORT_* | CONTRACT_VIOLATION | ...).
        """
        async with self._calls:
            self._held = (model, order)
            self._tally = ReadingsTotal()
            if self._account is not None and order.reference is not None:
                await asyncio.to_thread(self._account.let_read, order.reference)
            loaded = (await self._ready()).loaded
            if loaded is None:
                raise self._stopped()
            return LoadedModel(
                sample_rate_hz=loaded.sample_rate_hz,
                family=loaded.family,
                batches=loaded.batches,
                parameters=loaded.parameters,
                ring_bytes=loaded.ring_bytes,
                seed=loaded.seed,
                environment=dict(loaded.environment),
            )

    async def work(self, batches: AsyncIterator[Sequence[ClipTask]]) -> AsyncGenerator[ClipVerdict, None]:
        """Exactly one verdict for each clip of each batch, as they come, in any order.

        A child that dies is replaced. The clips that it had under its hands are given to a child one at a time; one
        that ends two of them so has the verdict LANE_CRASHED or MEMORY_EXCEEDED, after a GPU fault only if the GPU
        then works without it. Raises VoxFleetError for what another clip would meet too, such as a GPU that fails
        them all, or memory that others on the Mac took. Closing the iterator early ends the child.
        """
        async with self._calls:
            call = WorkCall(ClipQueue(), BatchFeed(batches))
            try:
                while not (call.feed.ended and call.docket.empty):
                    for verdict in await self._advance(call):
                        if verdict.failure_class is FailureClass.MEMORY_EXCEEDED:
                            self._sizing.explained_by(verdict.index)
                        yield verdict
            finally:
                await call.feed.close()
                if not call.docket.idle:
                    self._tally.resets["Cancelled"] += 1
                    await self._end_child()
                await call.stop_hearing()

    async def renew(self) -> None:
        async with self._calls:
            child = self._child
            if child is not None:
                await child.leave()
                self._forget(child)

    async def kill(self) -> None:
        """Ends the child with SIGKILL and waits for its end; a second call does nothing. A later `load` starts anew."""
        self._held = None
        await self._end_child()
        async with self._starting:  # one that was being started when the call came
            await self._end_child()

    async def _advance(self, call: WorkCall) -> Sequence[ClipVerdict]:
        """One step: sends what the child may have, asks for the next batch, and waits for what comes first."""
        child: ChildProcess | None = None
        try:
            if call.recycling and call.docket.idle:
                await self._recycle()
                call.recycling = False
            if call.docket.needs_check:
                await self._ready()
                call.docket.works()
                return poison_verdicts(call.docket)
            if not call.docket.empty:
                # A child that has clips is buried by what was heard of it, not replaced behind their back.
                child = await self._ready() if call.docket.idle else self._child
                if child is None:
                    raise self._stopped()
                while not call.recycling and (sent := call.docket.next(self.batch_size)) is not None:
                    await self._send(child, sent)
                    call.gave()
            if call.docket.wants_more and not call.recycling:
                call.feed.ask()
            return await self._wait(call, child)
        except ChildEndedError as error:
            if child is None:
                raise RuntimeError("a child ended that nobody waited for") from error
            return await self._bury(call, child, error.end)

    async def _wait(self, call: WorkCall, child: ChildProcess | None) -> Sequence[ClipVerdict]:
        if child is not None and not call.docket.idle and call.hearing is None:
            call.hearing = asyncio.create_task(child.hear())
        waiting = {task for task in (call.hearing, call.feed.asked) if task is not None}
        look_seconds = None if call.docket.idle else CHECK_SECONDS
        done, _ = await asyncio.wait(waiting, timeout=look_seconds, return_when=asyncio.FIRST_COMPLETED)
        if not done and child is not None:
            return self._doubt(call, child)
        if call.feed.asked in done:
            call.docket.add(await call.feed.take())
        if child is not None and call.hearing is not None and call.hearing in done:
            return await self._take(call, child, await call.heard())
        return ()

    def _doubt(self, call: WorkCall, child: ChildProcess) -> Sequence[ClipVerdict]:
        """Ends a child that was silent for too long, or whose decoder comes to no end. No answer can come meanwhile."""
        allowed_seconds = silence_seconds(self._patience, call, child, self._longest_milliseconds)
        if call.silent_seconds(child) >= allowed_seconds:
            child.abandon(f"gave no sign of life for {allowed_seconds:.0f} s")
            return ()
        clip = endless_decode(self._patience, call, child, self._longest_milliseconds)
        if clip is None:
            return ()
        # Its own doing, whatever else the machine does: there is no second try.
        call.docket.settle(clip.index, heard=False)
        child.abandon("came to no end with decoding a clip")
        return (endless_decode_verdict(clip, call.docket.deaths_alone(clip.index)), *poison_verdicts(call.docket))

    async def _take(self, call: WorkCall, child: ChildProcess, answer: WorkerAnswer) -> Sequence[ClipVerdict]:
        match answer:
            case VerdictMessage() if (
                clip := call.docket.settle(answer.index, heard=answer.failure_class is None)
            ) is not None:
                if self._account is not None and answer.spoken is not None:
                    await asyncio.to_thread(self._account.adopt, self._path_for_child(clip), clip.path)
                verdict = clip_verdict(answer, call.docket.deaths_alone(answer.index))
                return (verdict, *poison_verdicts(call.docket))
            case BatchDone() if (together := call.docket.close(answer.number)) is not None:
                self._tally.living = answer.readings
                if answer.memory_short:
                    # Of a child that leaked, the leak may have been the cause.
                    self._shrink(together, "memory ran short inside the model", own_fault=not call.recycling)
                step = child.resting.note(child.memory_cap_bytes, answer.footprint_bytes)
                call.recycling = call.recycling or step is MemoryStep.RECYCLE
                return ()
            case WorkerRefusal():
                raise VoxFleetError(answer.failure_class, answer.message)
        raise await child.broken(f"sent a {answer.kind} that nobody asked for")

    async def _bury(self, call: WorkCall, child: ChildProcess, end: ChildEnd) -> Sequence[ClipVerdict]:
        """Decides about the clips that a dead child had."""
        await call.stop_hearing()
        if not call.docket.idle:
            self._tally.resets["Restart"] += 1
        if end.failure_class in TOO_MUCH_AT_ONCE and len(child.inferring) > 1:
            together = call.docket.together(child.inferring)
            own_fault = end.own_shortage and not call.recycling
            self._shrink(together, end.reason, own_fault=own_fault, suspects=child.touched)
        await self._note_end(child, end)
        if call.docket.died(child.touched, end):
            raise VoxFleetError(
                end.failure_class, f"lane {self.name} ended twice on one clip, and no clip is at fault: {end.reason}"
            )
        if call.docket.stormy:
            raise VoxFleetError(
                FailureClass.RUNTIME_MISMATCH if end.blame is Blame.CLIP else end.failure_class,
                f"lane {self.name} ended again and again without finishing a clip: {end.reason}; look at the Mac",
            )
        return poison_verdicts(call.docket)

    async def _ready(self) -> ChildProcess:
        """A living child that holds model and order; one that ends as it loads is replaced once.

        Raises VoxFleetError.
        """
        try:
            return await self._once_ready()
        except ChildEndedError as first:
            if self._child is not None:
                await self._note_end(self._child, first.end)
        try:
            return await self._once_ready()
        except ChildEndedError as error:
            if self._child is not None:
                await self._note_end(self._child, error.end)
            # No clip is at fault, as LANE_CRASHED would say: another Mac may do better.
            fault = error.end.failure_class
            raise VoxFleetError(
                fault if fault in GPU_ABORTS else FailureClass.RUNTIME_MISMATCH,
                f"lane {self.name} ended twice as it loaded its model: {error.end.reason}",
            ) from error

    async def _once_ready(self) -> ChildProcess:
        if self._held is None:
            raise self._stopped()
        model, order = self._held
        if self._child is not None and not self._child.alive:
            if self._child.discarded:
                await self._end_child()
            else:  # it ended while it had nothing to do
                await self._note_end(self._child, (await self._child.gone()).end)
        if self._child is None:
            await self._start(order)
        child = self._child
        if child is None:
            raise self._stopped()
        if self._told is not self._held:
            request = self._request(model, order)
            self._tally.ring_bytes = (await child.load(request)).ring_bytes
            self._told = self._held
        return child

    async def _start(self, order: LaneSpec) -> None:
        async with self._starting:
            environment = child_environment(os.environ, self.folder) | self._names(order)
            child = await ChildProcess.start(
                self._worker, self.folder, environment, self._cap_bytes(order), self._account
            )
            self._child, self._told = child, None
            _log.info("lane started", lane=self.name, pid=child.pid)

    def _request(self, model: ResolvedModel, order: LaneSpec) -> Load:
        return Load(
            folder=model.path,
            digest=model.digest,
            task=order.task,
            contract=order.contract,
            transcription=order.transcription,
            synthesis=order.synthesis,
            reference=order.reference,
            memory_cap_bytes=self._cap_bytes(order),
            environment=self._names(order),
        )

    def _names(self, order: LaneSpec) -> dict[str, str]:
        return runbook_names(order, self.batch_size, self.folder, self._quarantine)

    def _cap_bytes(self, order: LaneSpec) -> int:
        declared = order.contract.batching.memory_cap
        return self._pool_cap_bytes if declared is None else min(self._pool_cap_bytes, quantity_bytes(declared))

    async def _send(self, child: ChildProcess, sent: SentBatch) -> None:
        if self._account is not None:
            for clip in sent.clips:
                if clip.text is None:
                    await asyncio.to_thread(self._account.let_read, clip.path)
        clips = tuple(
            ClipMessage(index=clip.index, path=self._path_for_child(clip), text=clip.text, max_bytes=clip.max_bytes)
            for clip in sent.clips
        )
        child.send(BatchMessage(number=sent.number, clips=clips, together=sent.together))

    def _path_for_child(self, clip: ClipTask) -> Path:
        """A lane with an account of its own writes into its own folder, from where the agent takes the file."""
        if self._account is None or clip.text is None:
            return clip.path
        return self.folder / f"{SYNTHESIZED_PREFIX}{clip.index}{clip.path.suffix}"

    @property
    def _longest_milliseconds(self) -> int:
        return 0 if self._held is None else duration_milliseconds(self._held[1].contract.input.max_clip)

    def _shrink(self, together: int, reason: str, *, own_fault: bool, suspects: frozenset[int] = frozenset()) -> None:
        if self._sizing.halve(together, reason, own_fault=own_fault, suspects=suspects):
            _log.warning("batch size halved", lane=self.name, batch_size=self.batch_size, reason=reason)

    async def _recycle(self) -> None:
        child = self._child
        if child is not None:
            _log.info("lane recycled, its memory grew", lane=self.name)
            await child.leave()
            self._tally.restarts["Recycled"] += 1
            self._forget(child)

    async def _note_end(self, child: ChildProcess, end: ChildEnd) -> None:
        """A child ended by itself, or was ended for what it did."""
        if self._held is None:
            raise self._stopped()
        await child.end()
        self._forget(child)
        self._tally.restarts[end.failure_class.value] += 1
        _log.warning("lane ended", lane=self.name, failure=end.failure_class, reason=end.reason)

    async def _end_child(self) -> None:
        child = self._child
        if child is not None:
            await child.end()
            self._forget(child)

    def _forget(self, child: ChildProcess) -> None:
        if self._child is child:
            self._child, self._told = None, None
            self._tally.child_gone()

    def _stopped(self) -> VoxFleetError:
        return VoxFleetError(FailureClass.LANE_CRASHED, f"the agent stopped lane {self.name}")
