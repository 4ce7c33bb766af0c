"""One child process of a lane, and the channel to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil
import structlog

from voxfleet_agent import process_memory
from voxfleet_agent.lane_protocol.channel import ANSWER, LENGTH, MAX_MESSAGE_BYTES, WorkerAnswer, checked_length, frame
from voxfleet_agent.lane_protocol.messages import (
    DecodingClip,
    HeardAudio,
    InferringClips,
    Load,
    Loaded,
    Message,
    SessionLimits,
    WorkerRefusal,
)
from voxfleet_agent.lane_protocol.session_messages import BatchesPaused
from voxfleet_agent.lanes import memory_guard
from voxfleet_agent.lanes.child_exits import (
    STOPPED_BY_AGENT,
    ChildEnd,
    classify,
    load_timed_out,
    not_measurable,
    over_memory_cap,
)
from voxfleet_agent.lanes.lane_reports import loaded_model
from voxfleet_agent.lanes.lane_types import LaneSpec, LoadedModel
from voxfleet_agent.lanes.lane_user import LaneUser
from voxfleet_agent.lanes.model_pace import ModelPace
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.failures import FailureClass, VoxFleetError

LOAD_TIMEOUT_SECONDS = 900.0
_STDERR_TAIL_BYTES = 16_384
_DRAIN_SECONDS = 5.0
_STOP_SECONDS = 10.0
_END_SECONDS = 30.0
"""How long a killed process may take to end. One that waits in the kernel, for a disk or a GPU driver that does not
answer, ends only when that answers."""

_log = structlog.get_logger(__name__)


class ChildEndedError(Exception):
    """The child has ended; `end` says why."""

    def __init__(self, end: ChildEnd) -> None:
        super().__init__(end.reason)
        self.end = end


class ChildProcess:
    """One child process. `kill` may be called at any time; everything else serves one caller at a time."""

    def __init__(
        self,
        process: Process,
        requests: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        stderr: asyncio.StreamReader,
        memory_cap_bytes: int,
    ) -> None:
        self._process = process
        self._requests = requests
        self._answers = answers
        self._stderr_tail = b""
        self._killed = False
        self._channel_end: asyncio.TimerHandle | None = None
        """Ends the channel to a killed child, which could stay open for as long as the process does."""
        self._left_behind = False
        self._kill_reason: ChildEnd | None = None
        """Why the agent killed a child that misbehaved."""
        self._sent_bytes = 0
        self.peak_footprint_bytes = 0
        """The most that the memory guard saw."""
        self.memory_cap_bytes = memory_cap_bytes
        self._stderr = asyncio.create_task(self._keep_tail(stderr))
        self._guard = asyncio.create_task(
            memory_guard.watch(process.pid, lambda: self.memory_cap_bytes, self._over_cap, self._measure)
        )
        self._guard.add_done_callback(self._guard_ended)
        self.loaded: LoadedModel | None = None
        self.loaded_digest: str | None = None
        self.resting = memory_guard.RestingFootprint()
        self.decoding: int | None = None
        self.inferring: tuple[int, ...] = ()
        self.inferring_milliseconds = 0
        self.tells_progress = False
        """The model tells its progress within the clips that it works on."""
        self.pace = ModelPace()
        self.unanswered_pauses = 0
        """How often it was told to pause its batches without having said yet that they stand still."""
        self.paused: Callable[[int], None] = lambda _: None
        """Told the milliseconds of the step that had to end before its batches stood still."""
        self.last_received_seconds = 0.0
        """When the last message came, on the loop's clock."""

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        memory_cap_bytes: int,
        lane_user: LaneUser | None,
    ) -> ChildProcess:
        """Runs `command --lane-dir FOLDER` in the lane's own folder, which is created when missing."""
        await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        if lane_user is not None:
            await asyncio.to_thread(lane_user.give_folder, folder)
        process = await asyncio.create_subprocess_exec(
            *command,
            "--lane-dir",
            str(folder),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=dict(environment),
            cwd=folder,
            limit=MAX_MESSAGE_BYTES,  # a paused reader would not see that a killed child has ended
            start_new_session=True,  # a Ctrl-C in the agent's terminal must reach the agent only
            user=None if lane_user is None else lane_user.uid,
            group=None if lane_user is None else lane_user.gid,
            extra_groups=None if lane_user is None else (),
        )
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise RuntimeError("asyncio made a process without the pipes that were asked for")
        return cls(process, process.stdin, process.stdout, process.stderr, memory_cap_bytes)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and not self._killed

    @property
    def stopped_by_agent(self) -> bool:
        """Whether the agent ended the child though the child was not at fault."""
        return self._killed and self._kill_reason is None

    @property
    def active_clips(self) -> frozenset[int]:
        """Indexes of the clips that the child was decoding or inferring when its last message came."""
        return frozenset(self.inferring if self.decoding is None else (*self.inferring, self.decoding))

    def cpu_seconds(self) -> float:
        """Processor time since the child started; 0 once it is gone."""
        try:
            times = psutil.Process(self.pid).cpu_times()
        except psutil.NoSuchProcess:
            return 0.0
        return float(times.user + times.system)

    async def load(
        self,
        model: ResolvedModel,
        spec: LaneSpec,
        *,
        memory_cap_bytes: int,
        environment: Mapping[str, str],
        sessions: SessionLimits | None = None,
    ) -> LoadedModel:
        """Has the child load a model. `environment`: names that it sets. `sessions`: None: it is loaded for batches.

        Raises ChildEndedError, and VoxFleetError with the class and message of the child's refusal.
        """
        self.loaded, self.loaded_digest = None, None
        self.memory_cap_bytes = memory_cap_bytes
        self.resting = memory_guard.RestingFootprint()
        self.send(
            Load(
                folder=model.path,
                digest=model.digest,
                task=spec.task,
                contract=spec.contract,
                transcription=spec.transcription,
                synthesis=spec.synthesis,
                reference=spec.reference,
                memory_cap_bytes=memory_cap_bytes,
                sessions=sessions,
                environment=dict(environment),
            )
        )
        receiving = asyncio.create_task(self.receive())
        try:
            # Not asyncio.timeout: cancelling `receive` kills the child, and its end would have no reason.
            done, _ = await asyncio.wait({receiving}, timeout=LOAD_TIMEOUT_SECONDS)
            if not done:
                self._kill_because(load_timed_out(LOAD_TIMEOUT_SECONDS))
            answer = await receiving
        except asyncio.CancelledError:
            receiving.cancel()
            self.kill()
            raise
        if isinstance(answer, WorkerRefusal):
            raise VoxFleetError(answer.failure_class, answer.message)
        if not isinstance(answer, Loaded):
            raise await self.protocol_error(f"answered Load with {answer.kind}")
        self.loaded, self.loaded_digest = loaded_model(answer), model.digest
        self.pace = ModelPace(self.loaded.warm_up_seconds)
        return self.loaded

    def send(self, request: Message) -> None:
        """Never waits, because a child that hangs must not hold up its parent; few batches are in flight at a time.

        When the child is already gone, `receive` raises ChildEndedError after it has returned the child's last answers.
        """
        content = frame(request)
        self._sent_bytes += len(content)
        self._requests.write(content)

    @property
    def sent_bytes(self) -> int:
        """All that was sent."""
        return self._sent_bytes

    @property
    def taken_bytes(self) -> int:
        """What has left this process of all that was sent."""
        return self._sent_bytes - self._requests.transport.get_write_buffer_size()

    async def until_taken(self) -> None:
        """Waits until the child has taken most of what was sent, or is gone."""
        with contextlib.suppress(ConnectionError):
            await self._requests.drain()

    async def receive(self) -> WorkerAnswer:
        """The next answer. Announcements before it update `decoding` and `inferring`, and call `paused`.

        Raises ChildEndedError. Cancelling the call ends the child, because half a message may have been read.
        """
        while True:
            answer = await self._read_message()
            self.last_received_seconds = asyncio.get_running_loop().time()
            match answer:
                case DecodingClip():
                    self.decoding = answer.index
                case InferringClips():
                    self.inferring, self.inferring_milliseconds = answer.indexes, answer.audio_milliseconds
                    self.tells_progress = answer.tells_progress
                    self.pace.announced(self.last_received_seconds, works=bool(answer.indexes))
                case BatchesPaused():
                    self.unanswered_pauses = max(0, self.unanswered_pauses - 1)
                    self.paused(answer.step_milliseconds)
                case _:
                    if isinstance(answer, HeardAudio):
                        self.pace.told(self.last_received_seconds)
                    return answer
            await asyncio.sleep(0)  # reading buffered messages never yields, so other tasks get their turn here

    async def _read_message(self) -> WorkerAnswer:
        try:
            (length_bytes,) = LENGTH.unpack(await self._answers.readexactly(LENGTH.size))
            return ANSWER.validate_json(await self._answers.readexactly(checked_length(length_bytes)))
        except (asyncio.IncompleteReadError, ConnectionResetError) as error:
            raise await self.ended_error() from error
        except ValueError as error:
            raise await self.protocol_error("broke the channel to the agent") from error
        except BaseException:
            self.kill()
            raise

    async def ended_error(self) -> ChildEndedError:
        """Waits for the end of a child that has closed its channel, and returns the error that says why it ended."""
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self.kill_for("closed its channel to the agent")
            await self._wait_for_end()
        await self._drain_stderr()
        if self.stopped_by_agent:
            return ChildEndedError(STOPPED_BY_AGENT)
        return ChildEndedError(
            self._kill_reason or classify(self._process.returncode, self._stderr_tail.decode(errors="replace"))
        )

    def kill_for(self, misbehaviour: str) -> None:
        """Kills the child; `receive` then raises ChildEndedError with this reason."""
        self._kill_because(ChildEnd(FailureClass.LANE_CRASHED, f"the lane's process {misbehaviour}"))

    async def protocol_error(self, misbehaviour: str) -> ChildEndedError:
        """Kills the child and returns the error to raise."""
        self.kill_for(misbehaviour)
        return await self.ended_error()

    async def stop(self) -> None:
        """Closes the child's stdin, upon which it ends; kills it when it does not end in time."""
        self._killed = True
        self._requests.close()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            pass  # `end` kills it
        await self.end()

    async def end(self) -> None:
        """Kills the child with SIGKILL and reaps it; a second call does nothing.

        A process that does not end is left behind. It holds the lane's lock, so that no other child works beside it.
        """
        self.kill()
        await self._wait_for_end()
        await self._drain_stderr()
        self._requests.close()

    def kill(self) -> None:
        self._killed = True
        if self._process.returncode is None:
            # Process.kill would reap a child that has just ended, and asyncio would lose its exit status.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
            if self._channel_end is None:
                self._channel_end = asyncio.get_running_loop().call_later(_END_SECONDS, self._answers.feed_eof)

    async def _wait_for_end(self) -> None:
        """Waits for a process that was killed, but not without an end."""
        if self._left_behind:
            return
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._left_behind = True
            _log.error("the process of a lane was killed and does not end; restart the Mac", pid=self.pid)

    def _measure(self, pid: int) -> int:
        footprint_bytes = process_memory.footprint_bytes(pid)
        self.peak_footprint_bytes = max(self.peak_footprint_bytes, footprint_bytes)
        return footprint_bytes

    def _over_cap(self, footprint_bytes: int) -> None:
        self._kill_because(over_memory_cap(footprint_bytes, self.memory_cap_bytes))

    def _guard_ended(self, guard: asyncio.Task[None]) -> None:
        """Kills a child whose memory cannot be measured; after a moment, ends the channel of a child that is gone.

        The channel must be ended because a process that the child started may still hold it open.
        """
        if guard.cancelled():
            return
        error = guard.exception()
        if error is not None:
            self._kill_because(not_measurable(error))
        asyncio.get_running_loop().call_later(_DRAIN_SECONDS, self._answers.feed_eof)

    def _kill_because(self, end: ChildEnd) -> None:
        if self._kill_reason is None and self.alive:
            self._kill_reason = end
        self.kill()

    async def _drain_stderr(self) -> None:
        """Reads stderr to its end, but not for long: a process that the child started may hold it open."""
        self._guard.cancel()
        _, pending = await asyncio.wait({self._stderr}, timeout=_DRAIN_SECONDS)
        for task in pending:
            task.cancel()
        await asyncio.wait({self._guard})

    async def _keep_tail(self, stream: asyncio.StreamReader) -> None:
        """Keeps the end of stderr, which gives the reason of a crash. It may name files, so it is never logged."""
        while part := await stream.read(4096):
            self._stderr_tail = (self._stderr_tail + part)[-_STDERR_TAIL_BYTES:]
