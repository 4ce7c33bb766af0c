"""A lane as the supervisor sees it: one child process that holds a model and transcribes one clip at a time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import structlog

from voxfleet_agent.pools.exits import GPU_ABORTS, ChildEnd, classify
from voxfleet_agent.pools.messages import (
    ANSWER,
    LENGTH,
    Decoded,
    Load,
    Loaded,
    Message,
    Refused,
    Transcribe,
    Verdict,
    checked_length,
    frame,
)
from voxfleet_agent.stages.stage import ClipTask, ClipVerdict, ResolvedModel
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.quantities import duration_milliseconds

LOAD_TIMEOUT_SECONDS = 900.0
ANSWER_TIMEOUT_SECONDS = 120.0
"""On top of the clip's own length: decoding may take a tenth of it, inference ten times as long."""
_STDERR_TAIL_BYTES = 16_384
_LAST_WORDS_SECONDS = 5.0

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class ChildEndedError(Exception):
    """The child is gone; `end` says why."""

    def __init__(self, end: ChildEnd) -> None:
        super().__init__(end.reason)
        self.end = end


class Lane:
    """One unit of parallel work. Calls queue up; `kill` may come at any time.

    Cancelling a call ends the child, because its answer would otherwise meet the next call.
    """

    def __init__(self, name: str, folder: Path) -> None:
        """`folder` is the lane's own: lock file and temporary files; it is made when missing."""
        self.name = name
        self.folder = folder
        self._child: _Child | None = None
        self._model: ResolvedModel | None = None
        self._calls = asyncio.Lock()

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

    async def load(self, model: ResolvedModel) -> None:
        """Starts the child when there is none and has it load the model; a no-op when it holds it.

        Raises VoxFleetError(MODEL_UNAVAILABLE | RUNTIME_MISMATCH | GPU_ABORT_*).
        """
        async with self._calls:
            self._model = model
            try:
                await self._with_restart(model, _nothing)
            except ChildEndedError as error:
                # No clip is at fault, as LANE_CRASHED would say: another Mac may do better.
                fault = error.end.failure_class
                raise VoxFleetError(
                    fault if fault in GPU_ABORTS else FailureClass.RUNTIME_MISMATCH,
                    f"lane {self.name} ended twice as it loaded its model: {error.end.reason}",
                ) from error

    async def transcribe(self, task: ClipTask) -> ClipVerdict:
        """One clip, on the model last given to `load`.

        A child that dies is started again and the clip tried once more; a second death is the verdict LANE_CRASHED,
        or raises GPU_ABORT_* where the GPU is at fault. Raises VoxFleetError for what another clip would meet too.
        """
        async with self._calls:
            model = self._model
            if model is None:
                raise self._stopped()
            try:
                verdict = await self._with_restart(model, lambda child: child.transcribe(task))
            except ChildEndedError as error:
                if error.end.failure_class in GPU_ABORTS:
                    raise VoxFleetError(
                        error.end.failure_class, f"lane {self.name} ended twice on one clip: {error.end.reason}"
                    ) from error
                verdict = Verdict(
                    failure_class=error.end.failure_class, reason=f"twice on this clip: {error.end.reason}"
                )
            return ClipVerdict(
                index=task.index,
                text=verdict.text,
                failure_class=verdict.failure_class,
                reason=verdict.reason,
                audio_milliseconds=verdict.audio_milliseconds,
                attestation=verdict.attestation,
                decode_milliseconds=verdict.decode_milliseconds,
                infer_milliseconds=verdict.infer_milliseconds,
                batch_size=1,
            )

    async def kill(self) -> None:
        """Ends the child with SIGKILL and waits for its end; a second call does nothing. A later `load` starts anew."""
        self._model = None
        if self._child is not None:
            await self._child.end()
        async with self._calls:  # a call in flight has seen the end by now and starts no other child
            child, self._child = self._child, None
            if child is not None:
                await child.end()

    async def _with_restart(self, model: ResolvedModel, work: Callable[[_Child], Awaitable[T]]) -> T:
        """Works with a child that holds the model; a child that ends is replaced once. Raises ChildEndedError."""
        try:
            return await self._once(model, work)
        except ChildEndedError:
            return await self._once(model, work)

    async def _once(self, model: ResolvedModel, work: Callable[[_Child], Awaitable[T]]) -> T:
        try:
            child = await self._ready(model)
            return await work(child)
        except ChildEndedError as error:
            if self._model is None:
                raise self._stopped() from error
            _log.warning("lane ended", lane=self.name, failure=error.end.failure_class, reason=error.end.reason)
            raise

    async def _ready(self, model: ResolvedModel) -> _Child:
        """A living child that holds the model."""
        if self._child is not None and not self._child.alive:
            await self._child.end()
            self._child = None
        if self._child is None:
            child = await _Child.start(self.folder)
            self._child = child
            _log.info("lane started", lane=self.name, pid=child.pid)
            if self._model is None:  # `kill` came while it started
                await child.end()
                raise self._stopped()
        child = self._child
        if child.loaded_digest != model.digest:
            await child.load(model)
        return child

    def _stopped(self) -> VoxFleetError:
        return VoxFleetError(FailureClass.LANE_CRASHED, f"the agent stopped lane {self.name}")


class _Child:
    """One process and the channel to it."""

    def __init__(
        self,
        process: Process,
        requests: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        stderr: asyncio.StreamReader,
    ) -> None:
        self._process = process
        self._requests = requests
        self._answers = answers
        self._stderr_tail = b""
        self._stderr = asyncio.create_task(self._keep_tail(stderr))
        self._killed = False
        self.loaded_digest: str | None = None

    @classmethod
    async def start(cls, folder: Path) -> _Child:
        await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "voxfleet_agent.pools.worker",
            "--lane-dir",
            str(folder),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=child_environment(os.environ, folder),
            cwd=folder,
            start_new_session=True,  # a Ctrl-C in the agent's terminal is the agent's business
        )
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise RuntimeError("asyncio made a process without the pipes that were asked for")
        return cls(process, process.stdin, process.stdout, process.stderr)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and not self._killed

    async def load(self, model: ResolvedModel) -> None:
        self.loaded_digest = None
        request = Load(folder=model.path, digest=model.digest)
        answer = await self._ask(request, LOAD_TIMEOUT_SECONDS)
        if isinstance(answer, Refused):
            raise VoxFleetError(answer.failure_class, answer.message)
        if not isinstance(answer, Loaded):
            raise await self._broken(f"answered Load with {answer.kind}")
        self.loaded_digest = model.digest

    async def transcribe(self, task: ClipTask) -> Verdict:
        longest_seconds = duration_milliseconds(task.contract.input.max_clip) / 1000
        request = Transcribe(path=task.path, contract=task.contract)
        answer = await self._ask(request, ANSWER_TIMEOUT_SECONDS + longest_seconds / 10)
        if isinstance(answer, Decoded):
            answer = await self._hear(ANSWER_TIMEOUT_SECONDS + answer.audio_milliseconds / 100)
        if isinstance(answer, Refused):
            raise VoxFleetError(answer.failure_class, answer.message)
        if not isinstance(answer, Verdict):
            raise await self._broken(f"answered Transcribe with {answer.kind}")
        return answer

    async def end(self) -> None:
        """SIGKILL, and the process is reaped; safe to repeat."""
        self._kill()
        await self._process.wait()
        await self._finish_stderr()
        self._requests.close()

    def _kill(self) -> None:
        self._killed = True
        if self._process.returncode is None:
            # A process that ended by itself and is not reaped yet is no error.
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _ask(self, request: Message, timeout_seconds: float) -> Loaded | Decoded | Verdict | Refused:
        try:
            self._requests.write(frame(request))
            await self._requests.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise await self._gone() from error
        except BaseException:
            self._kill()
            raise
        return await self._hear(timeout_seconds)

    async def _hear(self, timeout_seconds: float) -> Loaded | Decoded | Verdict | Refused:
        try:
            async with asyncio.timeout(timeout_seconds):
                (length_bytes,) = LENGTH.unpack(await self._answers.readexactly(LENGTH.size))
                return ANSWER.validate_json(await self._answers.readexactly(checked_length(length_bytes)))
        except TimeoutError:
            raise await self._broken(f"gave no answer within {timeout_seconds:.0f} s") from None
        except (asyncio.IncompleteReadError, ConnectionResetError) as error:
            raise await self._gone() from error
        except ValueError as error:
            raise await self._broken("broke the channel to the agent") from error
        except BaseException:
            self._kill()
            raise

    async def _gone(self) -> ChildEndedError:
        """The child closed its channel, so it is dying: waits for its end and says why it came."""
        try:
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                await self._process.wait()
        except TimeoutError:
            return await self._broken("closed its channel to the agent")
        await self._finish_stderr()
        return ChildEndedError(classify(self._process.returncode, self._stderr_tail.decode(errors="replace")))

    async def _broken(self, what: str) -> ChildEndedError:
        await self.end()
        return ChildEndedError(ChildEnd(FailureClass.LANE_CRASHED, f"the lane's process {what}"))

    async def _finish_stderr(self) -> None:
        """Reads to the end of stderr, unless something that the child started holds it open."""
        _, pending = await asyncio.wait({self._stderr}, timeout=_LAST_WORDS_SECONDS)
        for task in pending:
            task.cancel()

    async def _keep_tail(self, stream: asyncio.StreamReader) -> None:
        """Keeps the end of stderr, where the reason of a crash stands. It may name files: it is never logged."""
        while part := await stream.read(4096):
            self._stderr_tail = (self._stderr_tail + part)[-_STDERR_TAIL_BYTES:]


def child_environment(inherited: Mapping[str, str], folder: Path) -> dict[str, str]:
    """What the child sees of the agent's environment: no secret, and nothing that changes a conversion."""
    environment = {
        "PATH": inherited.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "HF_HUB_OFFLINE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if sys.platform == "linux" and "LD_PRELOAD" in inherited:
        environment["LD_PRELOAD"] = inherited["LD_PRELOAD"]
    return environment


async def _nothing(_: _Child) -> None:
    """Loading is all that was asked for."""
