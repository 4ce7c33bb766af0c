"""Runs one stage with its scratch, journal and storage, and classifies what it raises.

The fleet's attempts and the attempts of a run without a cluster both go through here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from voxfleet_agent.clip_metrics import ClipMetrics
from voxfleet_agent.journal.journal import Journal
from voxfleet_agent.journal.stage_journal import SqliteStageJournal
from voxfleet_agent.lanes.lane_types import Lane
from voxfleet_agent.logs import Logger, frames
from voxfleet_agent.machine import LocalMachine
from voxfleet_agent.models.resolved_model import ModelResolver
from voxfleet_agent.quarantine import QuarantineStore
from voxfleet_agent.scratch import AttemptScratch, Scratch
from voxfleet_agent.scratch_errors import is_disk_error
from voxfleet_agent.stages.finalize.finalize_stage import run_finalize
from voxfleet_agent.stages.plan.plan_stage import run_plan
from voxfleet_agent.stages.process.process_stage import run_process
from voxfleet_agent.stages.stage_context import (
    EndlessPermit,
    JobFailureBudget,
    LadderBook,
    LanePace,
    ProgressSink,
    Provenance,
    StageContext,
    UnwatchedPace,
    WorkMeter,
    WorkPermit,
    WorkSignal,
)
from voxfleet_agent.storage import Storage
from voxfleet_api.attempt_spec import AttemptKey, AttemptSpec
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.machine_time import MachineTime
from voxfleet_api.protocol import AttemptFailure, ShardResult
from voxfleet_api.quantities import quantity_bytes

_MESSAGE_LIMIT = 1024

StageFunction = Callable[[StageContext], Awaitable[ShardResult]]
OpenStorage = Callable[[], AbstractAsyncContextManager[Storage]]

STAGES: Mapping[Stage, StageFunction] = {
    Stage.PLAN: run_plan,
    Stage.PROCESS: run_process,
    Stage.FINALIZE: run_finalize,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StageServices:
    """What every stage on this machine runs with."""

    journal: Journal
    scratch: Scratch
    machine: LocalMachine
    models: ModelResolver
    ladders: LadderBook
    quarantine: QuarantineStore
    open_budget: Callable[[AttemptSpec], JobFailureBudget]
    """Returns the job's only budget on this Mac, however many of its attempts run here."""
    stages: Mapping[Stage, StageFunction]
    clip_metrics: ClipMetrics = field(default_factory=ClipMetrics)


@dataclass(frozen=True, slots=True)
class StageEnd:
    """How a stage ended."""

    outcome: ShardResult | AttemptFailure
    scratch_high_water_bytes: int


class StageRunner:
    def __init__(self, services: StageServices, *, one_machine: bool = False) -> None:
        """`one_machine`: see StageContext."""
        self._services = services
        self._one_machine = one_machine
        machine = services.machine
        self._provenance = Provenance(
            chip=machine.chip, versions=machine.versions, memory_bytes=machine.memory_bytes, os=machine.os
        )

    async def run(
        self,
        spec: AttemptSpec,
        lane: Lane | None,
        open_storage: OpenStorage,
        *,
        progress: ProgressSink,
        working: WorkSignal,
        work_meter: WorkMeter,
        batch_halvings: int = 0,
        machine_time: MachineTime | None = None,
        log: Logger,
        permit: WorkPermit | None = None,
        pace: LanePace | None = None,
    ) -> StageEnd:
        """Runs the stage of `spec` to its end. Only cancellation is raised; the attempt's scratch stays behind.

        `lane` is None for Plan and Finalize. `log` carries the attempt's names. `permit` None: the attempt may work for
        as long as it takes. `pace` None: nobody compares the lane's pace with its ladder.
        """
        key = AttemptKey(spec.shard_uid, spec.attempt)
        scratch: AttemptScratch | None = None
        outcome: ShardResult | AttemptFailure
        try:
            scratch = self._services.scratch.open_attempt(key, quantity_bytes(spec.contract.scratch.max_bytes))
            async with open_storage() as storage:
                context = StageContext(
                    spec=spec,
                    storage=storage,
                    journal=SqliteStageJournal(self._services.journal, key),
                    scratch=scratch,
                    models=self._services.models,
                    lane=lane,
                    working=working,
                    ladders=self._services.ladders,
                    quarantine=self._services.quarantine.open(spec),
                    budget=self._services.open_budget(spec),
                    provenance=self._provenance,
                    progress=progress,
                    work_meter=work_meter,
                    permit=permit or EndlessPermit(),
                    pace=pace or UnwatchedPace(),
                    one_machine=self._one_machine,
                    batch_halvings=batch_halvings,
                    machine_time=machine_time,
                    clip_metrics=self._services.clip_metrics,
                )
                outcome = await self._services.stages[spec.stage](context)
        except Exception as error:  # noqa: BLE001 -- whatever a stage raises ends this attempt, never the agent
            outcome = failure_of(error)
            log.warning(
                "attempt failed",
                failure_class=str(outcome.failure_class),
                reason=outcome.message,
                error=type(error).__qualname__,
                frames=frames(error),
            )
        finally:
            if scratch is not None:
                scratch.close()
        return StageEnd(outcome, 0 if scratch is None else scratch.high_water_bytes)


def failure_of(error: BaseException) -> AttemptFailure:
    """The failure that an attempt ends with when its stage raised `error`. Pure."""
    causes = list(_causes(error))
    known = next((cause for cause in causes if isinstance(cause, VoxFleetError)), None)
    if known is not None:
        return AttemptFailure(failure_class=known.failure_class, message=known.message[:_MESSAGE_LIMIT])
    if any(is_disk_error(cause) for cause in causes):
        return AttemptFailure(
            failure_class=FailureClass.SCRATCH_EXHAUSTED,
            message="this Mac's disk is full, read-only or broken; free space, mount it for writing or replace it",
        )
    # An error without a class is this agent's fault, so another Mac may do better.
    name = type(causes[0]).__qualname__
    return AttemptFailure(
        failure_class=FailureClass.RUNTIME_MISMATCH, message=f"the agent met an unforeseen {name}; its log says where"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error itself, or the members of a TaskGroup's group."""
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _causes(member)
    else:
        yield error
