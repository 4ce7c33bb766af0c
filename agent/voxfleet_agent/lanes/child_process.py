"""One child process of a lane, and the channel to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from voxfleet_agent.lane_protocol.messages import (
    ANSWER,
    LENGTH,
    MAX_MESSAGE_BYTES,
    DecodingClip,
    InferringClips,
    Load,
    Loaded,
    Message,
    WorkerAnswer,
    WorkerRefusal,
    checked_length,
    frame,
)
from voxfleet_agent.lanes import memory_guard
from voxfleet_agent.lanes.child_exits import ChildEnd, classify, over_cap
from voxfleet_agent.lanes.lane_user import LaneUser
from voxfleet_api.failures import FailureClass, VoxFleetError

LOAD_TIMEOUT_SECONDS = 900.0
_STDERR_TAIL_BYTES = 16_384
_LAST_WORDS_SECONDS = 5.0
_ORDERLY_SECONDS = 10.0


class ChildEndedError(Exception):
    """The child is gone; `end` says why."""

    def __init__(self, end: ChildEnd) -> None:
        super().__init__(end.reason)
        self.end = end


class ChildProcess:
    """One process. `kill` may come at any time; everything else is for one caller at a time."""

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
        self._why: ChildEnd | None = None
        self.memory_cap_bytes = memory_cap_bytes
        self._stderr = asyncio.create_task(self._keep_tail(stderr))
        self._guard = asyncio.create_task(
            memory_guard.watch(process.pid, lambda: self.memory_cap_bytes, self._too_heavy)
        )
        self._guard.add_done_callback(self._unguarded)
        self.loaded: Loaded | None = None
        self.loaded_digest: str | None = None
        self.resting = memory_guard.RestingFootprint()
        self.decoding: int | None = None
        self.inferring: tuple[int, ...] = ()
        self.inferring_milliseconds = 0
        self.heard_at_seconds = 0.0
        """The last sign of life, on the loop's clock."""

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        memory_cap_bytes: int,
        account: LaneUser | None,
    ) -> ChildProcess:
        """Runs `command --lane-dir FOLDER` in the lane's own folder, which is made when missing."""
        await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        if account is not None:
            await asyncio.to_thread(account.own, folder)
        process = await asyncio.create_subprocess_exec(
            *command,
            "--lane-dir",
            str(folder),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=dict(environment),
            cwd=folder,
            limit=MAX_MESSAGE_BYTES,  # a reader that pauses would not see the end of a killed child
            start_new_session=True,  # a Ctrl-C in the agent's terminal is the agent's business
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else (),
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
    def discarded(self) -> bool:
        """The agent ended it for reasons of its own."""
        return self._killed and self._why is None

    @property
    def touched(self) -> frozenset[int]:
        """Clips that were under the child's hands when it was last heard."""
        return frozenset(self.inferring if self.decoding is None else (*self.inferring, self.decoding))

    def cpu_seconds(self) -> float:
        """Processor time since the child began; 0 once it is gone."""
        try:
            times = psutil.Process(self.pid).cpu_times()
        except psutil.NoSuchProcess:
            return 0.0
        return float(times.user + times.system)

    async def load(self, request: Load) -> Loaded:
        """Raises VoxFleetError as the child refuses, ChildEndedError."""
        self.loaded, self.loaded_digest = None, None
        self.memory_cap_bytes = request.memory_cap_bytes
        self.resting = memory_guard.RestingFootprint()
        self.send(request)
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_SECONDS):
                answer = await self.hear()
        except TimeoutError:
            self.abandon(f"did not load its model within {LOAD_TIMEOUT_SECONDS:.0f} s")
            raise await self.gone() from None
        if isinstance(answer, WorkerRefusal):
            raise VoxFleetError(answer.failure_class, answer.message)
        if not isinstance(answer, Loaded):
            raise await self.broken(f"answered Load with {answer.kind}")
        self.loaded, self.loaded_digest = answer, request.digest
        return answer

    def send(self, request: Message) -> None:
        """Never waits: a child that hangs must not hold up its parent, and is owed few batches at a time.

        Of a child that is gone already, `hear` tells once it has told what the child said before.
        """
        self._requests.write(frame(request))

    async def hear(self) -> WorkerAnswer:
        """The next answer; what the child only announces on the way is noted.

        Raises ChildEndedError. Cancelling it ends the child, because half a message may be read.
        """
        while True:
            answer = await self._hear()
            self.heard_at_seconds = asyncio.get_running_loop().time()
            match answer:
                case DecodingClip():
                    self.decoding = answer.index
                case InferringClips():
                    self.inferring, self.inferring_milliseconds = answer.indexes, answer.audio_milliseconds
                case _:
                    return answer
            await asyncio.sleep(0)  # a reader does not wait for what it has: others get their turn

    async def _hear(self) -> WorkerAnswer:
        try:
            (length_bytes,) = LENGTH.unpack(await self._answers.readexactly(LENGTH.size))
            return ANSWER.validate_json(await self._answers.readexactly(checked_length(length_bytes)))
        except (asyncio.IncompleteReadError, ConnectionResetError) as error:
            raise await self.gone() from error
        except ValueError as error:
            raise await self.broken("broke the channel to the agent") from error
        except BaseException:
            self.kill()
            raise

    def abandon(self, what: str) -> None:
        """Ends a child that misbehaves; who hears it learns why."""
        self._end_for(ChildEnd(FailureClass.LANE_CRASHED, f"the lane's process {what}"))

    async def broken(self, what: str) -> ChildEndedError:
        self.abandon(what)
        return await self.gone()

    async def leave(self) -> None:
        """Lets the child end in order; ends it when it does not."""
        self._killed = True
        self._requests.close()
        try:
            async with asyncio.timeout(_ORDERLY_SECONDS):
                await self._process.wait()
        except TimeoutError:
            pass  # `end` does it
        await self.end()

    async def end(self) -> None:
        """SIGKILL, and the process is reaped; safe to repeat."""
        self.kill()
        await self._process.wait()
        await self._finish()
        self._requests.close()

    def kill(self) -> None:
        self._killed = True
        if self._process.returncode is None:
            # Not by Process.kill: it would reap a child that has just ended, and asyncio would lose the exit status.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    def _too_heavy(self, weight_bytes: int) -> None:
        self._end_for(over_cap(weight_bytes, self.memory_cap_bytes))

    def _unguarded(self, guarding: asyncio.Task[None]) -> None:
        """A child that cannot be measured is not left to itself, and one that is gone says nothing more.

        Something that it started may still hold its channel open.
        """
        if guarding.cancelled():
            return
        error = guarding.exception()
        if error is not None:
            self.abandon(f"could not be measured ({type(error).__name__})")
        asyncio.get_running_loop().call_later(_LAST_WORDS_SECONDS, self._answers.feed_eof)

    def _end_for(self, why: ChildEnd) -> None:
        if self._why is None and self.alive:
            self._why = why
        self.kill()

    async def gone(self) -> ChildEndedError:
        """The child has ended, or closed its channel and is dying: waits for its end and says why it came."""
        try:
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self.abandon("closed its channel to the agent")
            await self._process.wait()
        await self._finish()
        return ChildEndedError(
            self._why or classify(self._process.returncode, self._stderr_tail.decode(errors="replace"))
        )

    async def _finish(self) -> None:
        """Reads to the end of stderr, unless something that the child started holds it open."""
        self._guard.cancel()
        _, pending = await asyncio.wait({self._stderr}, timeout=_LAST_WORDS_SECONDS)
        for task in pending:
            task.cancel()
        await asyncio.wait({self._guard})

    async def _keep_tail(self, stream: asyncio.StreamReader) -> None:
        """Keeps the end of stderr, where the reason of a crash stands. It may name files: it is never logged."""
        while part := await stream.read(4096):
            self._stderr_tail = (self._stderr_tail + part)[-_STDERR_TAIL_BYTES:]
