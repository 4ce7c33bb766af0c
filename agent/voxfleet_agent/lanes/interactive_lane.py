"""A lane that keeps one model warm and serves many sessions: one child after another, each loaded anew by itself."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from voxfleet_agent.confinement.confinement import Confinement, unconfined
from voxfleet_agent.lane_protocol.messages import SessionLimits, WorkerReadings
from voxfleet_agent.lane_protocol.session_messages import OpenFile, OpenHearing, OpenSpeaking
from voxfleet_agent.lanes.child_exits import ChildEnd, load_failure_class
from voxfleet_agent.lanes.child_process import ChildEndedError, ChildProcess
from voxfleet_agent.lanes.child_start import WORKER, ChildStart
from voxfleet_agent.lanes.lane_reports import ReadingsTotal
from voxfleet_agent.lanes.lane_session import FileSession, HearingSession, SessionBounds, SpeakingSession
from voxfleet_agent.lanes.lane_types import LaneSpec, LoadedModel
from voxfleet_agent.lanes.lane_user import LaneUser
from voxfleet_agent.lanes.reload_backoff import early_ends, reload_delay_seconds
from voxfleet_agent.lanes.serving_child import ServingChild
from voxfleet_agent.lanes.session_hangs import SessionTimeouts
from voxfleet_agent.lanes.session_table import RETRY_AFTER_SECONDS, SessionTable
from voxfleet_agent.lanes.warm_up_clip import work_through_clip
from voxfleet_agent.logs import frames
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.run_record import LaneReadings

DEFAULT_LIMITS = SessionLimits(most_sessions=8, max_turn_milliseconds=30_000)
DEFAULT_TIMEOUTS = SessionTimeouts()
DEFAULT_BOUNDS = SessionBounds()
WARM_UP_SECONDS = 300.0
BATCH_SIZE = 1

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What the lane keeps warm."""

    model: ResolvedModel
    spec: LaneSpec
    limits: SessionLimits
    memory_cap_bytes: int


@dataclass(frozen=True, slots=True)
class LaneTrouble:
    """Why the lane is not warm."""

    failure_class: FailureClass
    reason: str


class InteractiveLane:
    """Ready for sessions while it is `warm`. `kill` may be called at any time; `load` and `unload` wait in turn."""

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        memory_cap_bytes: int,
        quarantine: Path | None = None,
        lane_user: LaneUser | None = None,
        confinement: Confinement | None = None,
        worker: Sequence[str] = WORKER,
        timeouts: SessionTimeouts = DEFAULT_TIMEOUTS,
        bounds: SessionBounds = DEFAULT_BOUNDS,
    ) -> None:
        """`folder`: the lane's own, created when missing. `confinement`: None: whatever its account may reach."""
        self.name = name
        self.folder = folder
        self.memory_cap_bytes = memory_cap_bytes
        self._lane_user = lane_user
        bounds_of_account = confinement or unconfined()
        self._children = ChildStart(folder, tuple(worker), bounds_of_account, lane_user, quarantine, memory_cap_bytes)
        self._timeouts = timeouts
        self._bounds = bounds
        self._numbers = itertools.count()
        self._serving: ServingChild | None = None
        """The child that is ready."""
        self._assignment: Assignment | None = None
        self._life: asyncio.Task[None] | None = None
        self._starting: ChildProcess | None = None
        """The child that is being made ready."""
        self._kills = 0
        """Calls of `kill` that go on: no child starts meanwhile."""
        self._totals = ReadingsTotal()
        self._lock = asyncio.Lock()
        self.abandoned = False
        """Whether nothing replaces its children any more, after an unforeseen error; until `kill` or `unload`."""
        self.trouble: LaneTrouble | None = None
        """Why the last child ended, or did not become ready; None while the lane is warm, and without a model."""
        self.changed: Callable[[], None] = lambda: None
        """Called when the lane becomes warm or ceases to be, and when it is abandoned."""
        self.used: Callable[[], None] = lambda: None
        """Called when a session was opened."""
        self.sessions_changed: Callable[[], None] = lambda: None
        """Called when `open_sessions` changes, and when `speaking` may have."""

    @property
    def pid(self) -> int | None:
        """The process id of the child that is ready."""
        return None if self._serving is None else self._serving.child.pid

    @property
    def warm(self) -> bool:
        return self._serving is not None and self._serving.child.alive

    @property
    def loaded_digest(self) -> str | None:
        """The digest of the model that the lane keeps warm, also while its child is being replaced."""
        return None if self._assignment is None else self._assignment.model.digest

    @property
    def open_sessions(self) -> int:
        return 0 if self._serving is None else self._serving.sessions.open_count

    @property
    def speaking(self) -> bool:
        """Whether a person waits for the model, or is about to."""
        return self._serving is not None and self._serving.sessions.speaking

    def readings(self) -> LaneReadings:
        """Over all children since the last `load`."""
        if self._serving is not None:
            peak_bytes = self._serving.child.peak_footprint_bytes
            self._totals.current_child = WorkerReadings(peak_rss_bytes=peak_bytes)
        return self._totals.readings(BATCH_SIZE)

    async def load(
        self,
        model: ResolvedModel,
        spec: LaneSpec,
        *,
        limits: SessionLimits = DEFAULT_LIMITS,
        memory_cap_bytes: int | None = None,
    ) -> LoadedModel:
        """Loads the model, works through a warm-up clip, and keeps the lane warm until `unload` or `kill`.

        A lane that holds another model gives that up first, with its sessions. `memory_cap_bytes`: less than the
        pool allows. Raises VoxFleetError with the class of a refusal, or of the end of the second child; the lane has
        no model then.
        """
        async with self._lock:
            await self._give_up(in_order=True)
            cap_bytes = min(self._children.memory_cap_bytes(spec), memory_cap_bytes or self.memory_cap_bytes)
            assignment = Assignment(model, spec, limits, cap_bytes)
            if self._lane_user is not None and spec.reference is not None:
                await asyncio.to_thread(self._lane_user.grant_read, spec.reference)
            self._totals = ReadingsTotal()
            try:
                serving = await self._bring_up(assignment)
            except ChildEndedError as first:
                self._count(first.end)
                serving = await self._bring_up_again(assignment)
            self._assignment = assignment
            self._life = asyncio.create_task(self._keep_warm(assignment, serving), name=f"lane {self.name}")
            self._life.add_done_callback(self._life_ended)
            self._set_warm(serving)
            loaded = serving.child.loaded
            if loaded is None:
                raise RuntimeError("a child that serves has loaded nothing")
            return loaded

    def open_hearing(self, request: OpenHearing) -> HearingSession:
        """The number in a request is replaced by one that the lane never had.

        Raises VoxFleetError(THROTTLED), with retry_after_seconds, while the lane is full or not warm.
        """
        session = self._sessions().open_hearing(request)
        self.used()
        return session

    def open_file(self, request: OpenFile) -> FileSession:
        """Raises VoxFleetError(THROTTLED) as `open_hearing`."""
        session = self._sessions().open_file(request)
        self.used()
        return session

    def open_speaking(self, request: OpenSpeaking) -> SpeakingSession:
        """Raises VoxFleetError: THROTTLED as `open_hearing`, INVALID_INPUT for a text that is too long."""
        session = self._sessions().open_speaking(request)
        self.used()
        return session

    async def unload(self) -> None:
        """Ends the sessions, and the child in order."""
        async with self._lock:
            await self._give_up(in_order=True)

    async def kill(self) -> None:
        """Ends sessions and child at once. A second call does nothing; a later `load` starts anew."""
        self._kills += 1
        try:
            if self._starting is not None:
                self._starting.kill()  # the `load` that waits for it ends, too
            await self._give_up(in_order=False)
            async with self._lock:
                await self._give_up(in_order=False)
        finally:
            self._kills -= 1

    def _is_being_killed(self) -> bool:
        return self._kills > 0

    def _sessions(self) -> SessionTable:
        serving = self._serving
        if serving is None or not serving.child.alive:
            why = "" if self.trouble is None else f": {self.trouble.reason}"
            raise VoxFleetError(
                FailureClass.THROTTLED,
                f"lane {self.name} is not warm{why}",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        return serving.sessions

    # The life of a child

    async def _bring_up(self, assignment: Assignment) -> ServingChild:
        """Starts a child and makes it ready. Raises ChildEndedError, or VoxFleetError for a refusal."""
        model, spec, cap_bytes = assignment.model, assignment.spec, assignment.memory_cap_bytes
        if self._is_being_killed():
            raise VoxFleetError(FailureClass.LANE_CRASHED, f"the agent stopped lane {self.name}")
        try:
            child = await self._children.start(spec, model.readable, BATCH_SIZE, cap_bytes)
        except OSError as error:
            raise VoxFleetError(
                FailureClass.RUNTIME_MISMATCH,
                f"the lane's process cannot start: {error.strerror}; look at this Mac's processes and scratch volume",
            ) from error
        _log.info("lane started", lane=self.name, pid=child.pid)
        serving: ServingChild | None = None
        self._starting = child
        try:
            if self._is_being_killed():  # since the process was asked for
                child.kill()
            names = self._children.names(spec, BATCH_SIZE)
            loaded = await child.load(
                model, spec, memory_cap_bytes=cap_bytes, environment=names, sessions=assignment.limits
            )
            self._totals.ring_bytes = loaded.ring_bytes
            sessions = SessionTable(child, self._numbers, assignment.limits.most_sessions, self._bounds)
            serving = ServingChild(child, sessions, self._timeouts)
            await self._warm_up(serving, assignment, loaded)
        except BaseException:
            if serving is None:
                await child.end()
            else:
                await serving.close(FailureClass.MACHINE_RETURNED, "the lane is given up")
            raise
        finally:
            self._starting = None
        return serving

    async def _warm_up(self, serving: ServingChild, assignment: Assignment, loaded: LoadedModel) -> None:
        """Raises ChildEndedError when the child does not live to its end, VoxFleetError when the clip fails."""
        try:
            async with asyncio.timeout(WARM_UP_SECONDS):
                await work_through_clip(serving.sessions, assignment.spec, loaded)
        except TimeoutError:
            serving.child.kill_for(f"did not work through its warm-up clip within {WARM_UP_SECONDS:.0f} s")
        except VoxFleetError:
            if serving.child.alive:
                raise
        if not serving.child.alive:
            raise ChildEndedError(await serving.ended())

    async def _bring_up_again(self, assignment: Assignment) -> ServingChild:
        try:
            return await self._bring_up(assignment)
        except ChildEndedError as error:
            self._count(error.end)
            raise VoxFleetError(
                load_failure_class(error.end),
                f"lane {self.name} ended twice as it loaded its model: {error.end.reason}",
            ) from error

    async def _keep_warm(self, assignment: Assignment, serving: ServingChild | None) -> None:
        """Replaces each child that ends, with growing pauses while they end soon."""
        now_seconds = asyncio.get_running_loop().time
        ended_early = 0
        while True:
            ready_at_seconds = now_seconds()
            served_seconds = None
            if serving is not None:
                end = await serving.ended()
                served_seconds = now_seconds() - ready_at_seconds
                self._child_ended(serving, end)
            ended_early = early_ends(ended_early, served_seconds)
            await asyncio.sleep(reload_delay_seconds(ended_early))
            try:
                serving = await self._bring_up(assignment)
            except ChildEndedError as error:
                serving = None
                self._count(error.end)
                self.trouble = LaneTrouble(load_failure_class(error.end), error.end.reason)
            except VoxFleetError as error:
                serving = None
                self.trouble = LaneTrouble(error.failure_class, error.message)
                _log.warning("lane does not become ready", lane=self.name, failure=error.failure_class)
            else:
                self._set_warm(serving)

    def _life_ended(self, life: asyncio.Task[None]) -> None:
        if not life.cancelled() and (error := life.exception()) is not None:
            self.trouble = LaneTrouble(FailureClass.RUNTIME_MISMATCH, f"an unforeseen {type(error).__qualname__}")
            self.abandoned = True
            _log.error("lane is not kept warm", lane=self.name, error=type(error).__qualname__, frames=frames(error))
            self.changed()

    def _set_warm(self, serving: ServingChild) -> None:
        self._serving, self.trouble = serving, None
        serving.sessions.changed = lambda: self.sessions_changed()
        self.changed()

    def _child_ended(self, serving: ServingChild, end: ChildEnd) -> None:
        self._forget(serving)
        self._count(end)
        if serving.lost_sessions:
            self._totals.resets["Restart"] += serving.lost_sessions
        self.trouble = LaneTrouble(end.failure_class, end.reason)
        self.changed()

    def _count(self, end: ChildEnd) -> None:
        self._totals.restarts[end.failure_class.value] += 1
        _log.warning("lane ended", lane=self.name, failure=end.failure_class, reason=end.reason)

    def _forget(self, serving: ServingChild) -> None:
        self._totals.current_child = WorkerReadings(peak_rss_bytes=serving.child.peak_footprint_bytes)
        self._totals.child_ended()
        self._serving = None

    async def _give_up(self, *, in_order: bool) -> None:
        """Ends the life of the lane: no child follows. Sessions end as MachineReturned."""
        life, self._life = self._life, None
        if life is not None:
            life.cancel()
            await asyncio.wait({life})  # a child that was starting ends with it
        serving, self._assignment, self.trouble, self.abandoned = self._serving, None, None, False
        if serving is not None:
            self._forget(serving)
            await serving.close(
                FailureClass.MACHINE_RETURNED, "the lane is given back; open a session on another", in_order=in_order
            )
            self.changed()
