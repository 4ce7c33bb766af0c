"""What attempts run with; put together once, in main."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from voxfleet_agent.attempts.slots import PoolView, SlotSource
from voxfleet_agent.clock import Clock
from voxfleet_agent.journal.journal import Journal
from voxfleet_agent.lanes.lane_types import LaneHandle
from voxfleet_agent.ledger import Ledger
from voxfleet_agent.machine import LocalMachine
from voxfleet_agent.models.resolved_model import ModelResolver
from voxfleet_agent.quarantine import QuarantineStore
from voxfleet_agent.scratch import Scratch
from voxfleet_agent.stages.context import JobFailureBudget, LadderBook, StageContext
from voxfleet_agent.storage import Storage
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.protocol import AttemptSpec, S3Credentials, ShardResult

StageFunction = Callable[[StageContext], Awaitable[ShardResult]]


@dataclass(frozen=True, slots=True)
class AttemptServices:
    journal: Journal
    ledger: Ledger
    scratch: Scratch
    clock: Clock
    machine: LocalMachine
    lanes: SlotSource[LaneHandle]
    pools: PoolView
    models: ModelResolver
    ladders: LadderBook
    quarantine: QuarantineStore
    open_budget: Callable[[AttemptSpec], JobFailureBudget]
    """One budget a job, however many of its attempts run here."""
    stages: Mapping[Stage, StageFunction]
    open_storage: Callable[[S3Credentials | None], Storage]
    check_address: Callable[[str], None]
    """Raises VoxFleetError(ACCESS_DENIED) for an address that this agent may not touch."""
