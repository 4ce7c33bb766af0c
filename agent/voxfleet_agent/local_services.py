"""Opens the journal, scratch, lanes and models of an agent, for `serve` and `run` alike, and closes them in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from voxfleet_agent.clock import Clock, SystemClock
from voxfleet_agent.config import AgentConfig, ModelCacheConfig, PoolConfig
from voxfleet_agent.failure_budget import MacFailureBudget, MacFailureBudgets
from voxfleet_agent.journal.journal import Journal
from voxfleet_agent.ladder.ladder_book import MacLadderBook
from voxfleet_agent.lanes.lane_user import LaneReadableModels, LaneUser, make_reachable
from voxfleet_agent.lanes.pools import LanePools
from voxfleet_agent.logs import logger
from voxfleet_agent.machine import LocalMachine, read_machine
from voxfleet_agent.models.resolved_model import ModelResolver
from voxfleet_agent.models.store import ModelStore
from voxfleet_agent.quarantine import QuarantineStore
from voxfleet_agent.scratch import Scratch
from voxfleet_api.protocol import AttemptSpec

_log = logger("voxfleet.services")


@dataclass(frozen=True, slots=True)
class ServicePaths:
    """Where an agent keeps what it works with, and within which bounds."""

    state: Path
    journal: Path
    scratch: Path
    scratch_quota_bytes: int
    scratch_min_free_bytes: int
    lanes: Path
    """Holds the folder of each lane, where MLX keeps what it compiled."""
    models: ModelCacheConfig
    ladders: Path
    quarantine: Path
    quarantine_quota_bytes: int
    pools: tuple[PoolConfig, ...]
    lane_user: str | None = None

    @classmethod
    def of(cls, config: AgentConfig) -> ServicePaths:
        return cls(
            state=config.state_dir,
            journal=config.journal_file,
            scratch=config.scratch.path,
            scratch_quota_bytes=config.scratch.quota_bytes,
            scratch_min_free_bytes=config.scratch.min_free_bytes,
            lanes=config.lane_dir,
            models=config.models,
            ladders=config.ladder_dir,
            quarantine=config.quarantine_dir,
            quarantine_quota_bytes=config.scratch.quarantine_quota_bytes,
            pools=config.pools,
            lane_user=config.lane_user,
        )


@dataclass(frozen=True, slots=True)
class LocalServices:
    """The services that `open_services` has opened on this Mac."""

    journal: Journal
    scratch: Scratch
    clock: Clock
    machine: LocalMachine
    pools: LanePools
    models: ModelResolver
    ladders: MacLadderBook
    quarantine: QuarantineStore
    open_budget: Callable[[AttemptSpec], MacFailureBudget]


@asynccontextmanager
async def open_services(paths: ServicePaths) -> AsyncIterator[LocalServices]:
    """Opens the services, and first ends the lanes' children that an earlier agent left behind.

    Raises FolderInUseError, JournalError, LaneUserError, LaneBusyError.
    """
    async with AsyncExitStack() as stack:
        journal = await Journal.open(paths.state, paths.journal)
        stack.push_async_callback(journal.close)
        user = None if paths.lane_user is None else LaneUser.from_name(paths.lane_user)
        scratch = Scratch(paths.scratch, paths.scratch_quota_bytes, paths.scratch_min_free_bytes)
        stack.callback(scratch.close)
        models = ModelStore(paths.models.path, paths.models.quota_bytes)
        stack.callback(models.close)
        if user is not None:
            make_reachable(paths.lanes, below=paths.scratch.parent)
            make_reachable(scratch.attempts_path, below=paths.scratch.parent)
            make_reachable(paths.models.path, below=paths.models.path.parent)
        pools = LanePools(paths.pools, paths.lanes, quarantine=paths.quarantine, lane_user=user)
        stack.push_async_callback(pools.close)
        for pid in await pools.reap_stale():
            _log.warning("ended a lane that an earlier agent left behind", pid=pid)
        machine = await asyncio.to_thread(read_machine, paths.state)
        clock = SystemClock()
        least_memory_bytes = min(pool.memory_cap_bytes for pool in paths.pools)  # a batch size must hold in every pool
        yield LocalServices(
            journal=journal,
            scratch=scratch,
            clock=clock,
            machine=machine,
            pools=pools,
            models=models if user is None else LaneReadableModels(models, user, paths.models.path),
            ladders=MacLadderBook(paths.ladders, machine.chip, machine.versions, least_memory_bytes),
            quarantine=QuarantineStore(paths.quarantine, paths.quarantine_quota_bytes, clock),
            open_budget=MacFailureBudgets(clock).open,
        )
