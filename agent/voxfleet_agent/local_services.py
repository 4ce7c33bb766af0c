"""Opens the journal, scratch, lanes and models of an agent, for `serve` and `run` alike, and closes them in reverse."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from voxfleet_agent.clock import Clock, SystemClock
from voxfleet_agent.config import (
    AgentConfig,
    ModelCacheConfig,
    PoolConfig,
    ReservedConfig,
    require_gpu_memory,
    require_memory,
)
from voxfleet_agent.confinement.confinement import Confinement, in_words, needed_libraries
from voxfleet_agent.confinement.guards import preferred
from voxfleet_agent.confinement.measurement import Measured, Secrets, measure
from voxfleet_agent.engine.compute_dtype import dtype_rule
from voxfleet_agent.failure_budget import MacFailureBudgets
from voxfleet_agent.folder_lock import FolderInUseError, lock_folder, make_private
from voxfleet_agent.journal.journal import Journal
from voxfleet_agent.ladder.ladder_book import MacLadderBook
from voxfleet_agent.lanes.lane_user import LaneReadableModels, LaneUser, LaneUserError, make_reachable
from voxfleet_agent.lanes.pools import LanePools
from voxfleet_agent.logs import logger
from voxfleet_agent.machine import read_machine
from voxfleet_agent.models.model_access import ModelAccess
from voxfleet_agent.models.store import ModelStore
from voxfleet_agent.quarantine import QuarantineStore
from voxfleet_agent.scratch import ATTEMPTS, Scratch
from voxfleet_agent.stages.stage_runner import STAGES, StageServices
from voxfleet_agent.storage import Mounts, require_mounted
from voxfleet_agent.volumes import unmounted_volume
from voxfleet_api.failures import VoxFleetError
from voxfleet_api.pools import PoolKind

_log = logger("voxfleet.agent")


MAX_RUNS_AT_A_TIME = 16


class NoFreeLanesError(Exception):
    """As many runs as share a folder of lanes go on at this moment."""


class VolumeMissingError(Exception):
    """A folder of this agent should lie on a volume that is not mounted; the message names both."""


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Where an agent keeps what it works with, and within which bounds."""

    state: Path
    journal: Path
    scratch: Path
    scratch_quota_bytes: int
    scratch_min_free_bytes: int
    lanes: Path
    """Holds the folder of each lane, where MLX keeps what it compiled."""
    models: ModelCacheConfig
    model_access: ModelAccess
    ladders: Path
    quarantine: Path
    quarantine_quota_bytes: int
    pools: tuple[PoolConfig, ...]
    reserved: tuple[ReservedConfig, ...] = ()
    """What others on the Mac need."""
    lane_user: str | None = None
    secrets: Mapping[str, Path] = field(default_factory=dict)
    """Files that no lane may read, by their field in agent.yaml."""
    of_one_run: bool = False
    """Scratch belongs to one run and is swept before its journal, which may need the room, is opened. `lanes` is
    shared by several runs, each of which claims a numbered folder below it."""

    @classmethod
    def of(cls, config: AgentConfig) -> ServiceSettings:
        return cls(
            state=config.state_dir,
            journal=config.journal_file,
            scratch=config.scratch.path,
            scratch_quota_bytes=config.scratch.quota_bytes,
            scratch_min_free_bytes=config.scratch.min_free_bytes,
            lanes=config.lane_dir,
            models=config.cached_models,
            model_access=ModelAccess(
                config.models.folders, config.models.hub, own_folders=(config.state_dir, config.scratch.path)
            ),
            ladders=config.ladder_dir,
            quarantine=config.quarantine_dir,
            quarantine_quota_bytes=config.scratch.quarantine_quota_bytes,
            pools=config.pools,
            reserved=config.reserved,
            lane_user=config.lane_user,
            secrets=config.secret_files,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalServices(StageServices):
    """What an agent opens on its Mac."""

    clock: Clock
    pools: LanePools
    ladders: MacLadderBook
    confinement: Measured


def require_volumes(settings: ServiceSettings) -> None:
    """Raises VolumeMissingError before anything makes a folder on the start disk in the volume's place."""
    names = (
        ("scratch", "state", "model cache") if settings.of_one_run else ("scratch.path", "stateDir", "modelCache.path")
    )
    folders = (settings.scratch, settings.state, settings.models.path, settings.quarantine)
    for option, folder in zip((*names, "quarantine"), folders, strict=True):
        if (volume := unmounted_volume(folder)) is not None:
            raise VolumeMissingError(
                f"{option}: the volume {volume} is not mounted, and {folder} would fill the start disk; mount it"
            )


async def warn_of_unmounted(folders: Iterable[str], mounts: Mounts) -> None:
    """Logs which folders of jobs cannot be used now. Not an error: jobs that do not need them run nevertheless."""

    async def check(folder: str) -> None:
        try:
            await mounts.of(folder).run(lambda: require_mounted(folder))
        except VoxFleetError as error:
            _log.warning("attempts that need this folder will fail", folder=folder, reason=error.message)

    await asyncio.gather(*map(check, folders))


@asynccontextmanager
async def open_services(settings: ServiceSettings) -> AsyncIterator[LocalServices]:
    """Ends lanes that an earlier agent left behind before anything is used.

    Raises VolumeMissingError, ConfigError, FolderInUseError, JournalError, NoFreeLanesError, LaneUserError,
    LaneBusyError.
    """
    require_volumes(settings)
    async with AsyncExitStack() as stack:
        user = None if settings.lane_user is None else LaneUser.from_name(settings.lane_user)
        if user is not None:
            make_reachable(settings.scratch, below=settings.scratch.parent)
        scratch = Scratch(settings.scratch, settings.scratch_quota_bytes, settings.scratch_min_free_bytes)
        stack.callback(scratch.close)
        if settings.of_one_run:
            await scratch.sweep(())
        journal = await Journal.open(settings.state, settings.journal)
        stack.push_async_callback(journal.close)
        lanes = _claim_lanes(stack, settings.lanes) if settings.of_one_run else settings.lanes
        if user is not None:
            make_reachable(lanes, below=settings.scratch.parent)
            make_reachable(scratch.attempts_path, below=settings.scratch.parent)
            make_reachable(settings.models.path, below=settings.models.path.parent)
        if not settings.of_one_run:
            require_memory(psutil.virtual_memory().total, settings.pools, settings.reserved)
        machine, confinement = await asyncio.gather(
            asyncio.to_thread(read_machine, settings.state), asyncio.to_thread(measure_confinement, settings, user)
        )
        if not settings.of_one_run:
            require_gpu_memory(machine.gpu_working_set_bytes, settings.pools, settings.reserved)
        _tell(confinement)
        if user is not None:
            _require_lanes(confinement, user)
        models = ModelStore(settings.models.path, settings.models.quota_bytes, settings.model_access)
        stack.callback(models.close)
        pools = LanePools(
            settings.pools,
            lanes,
            quarantine=settings.quarantine,
            lane_user=user,
            confinement=confinement.confinement,
        )
        stack.push_async_callback(pools.close)
        for pid in await pools.reap_stale():
            _log.warning("ended a lane that an earlier agent left behind", pid=pid)
        clock = SystemClock()
        yield LocalServices(
            journal=journal,
            scratch=scratch,
            machine=machine,
            models=models if user is None else LaneReadableModels(models, user, settings.models.path),
            ladders=MacLadderBook(
                settings.ladders,
                machine.chip,
                machine.versions,
                least_lane_memory_bytes(settings.pools),
                dtype_rule(metal=machine.gpu_working_set_bytes is not None),
            ),
            quarantine=QuarantineStore(settings.quarantine, settings.quarantine_quota_bytes, clock),
            open_budget=MacFailureBudgets(clock).open,
            stages=STAGES,
            clock=clock,
            pools=pools,
            confinement=confinement,
        )


def least_lane_memory_bytes(pools: Sequence[PoolConfig]) -> int:
    """The memory cap that every batch fits into, whichever lane its attempt gets.

    Where no pool is for batches none is measured either, and any cap will do.
    """
    return min(pool.memory_cap_bytes for pool in [pool for pool in pools if pool.kind is PoolKind.OFFLINE] or pools)


def measure_confinement(
    settings: ServiceSettings, lane_user: LaneUser | None, more_secrets: Mapping[str, Path] | None = None
) -> Measured:
    """Chooses what confines the lanes by trying it in a child like theirs, which takes about 0.2 s."""
    wanted, secrets = bounds_of_lanes(settings, more_secrets or {})
    return measure(
        wanted,
        secrets,
        (wanted.clips, settings.models.path, settings.lanes),
        None if lane_user is None else (lane_user.uid, lane_user.gid),
        os.getpid(),
    )


def bounds_of_lanes(settings: ServiceSettings, more_secrets: Mapping[str, Path]) -> tuple[Confinement, Secrets]:
    """The bounds that are wanted, and what they must keep from a lane."""
    attempts = settings.scratch / ATTEMPTS
    hidden = {
        **settings.secrets,
        **more_secrets,
        "the agent's state": settings.state,
        "the quarantine": settings.quarantine,
    }
    wanted = Confinement(
        preferred(sys.platform),
        clips=attempts,
        hidden=(*hidden.values(), settings.lanes),
        read_only=(settings.models.path,),
        libraries=tuple(needed_libraries(os.environ)),
    )
    return wanted, Secrets(
        read=hidden, write={"scratch": attempts, "the model cache": settings.models.path}, own=settings.state
    )


def _require_lanes(measured: Measured, user: LaneUser) -> None:
    """Raises LaneUserError when lanes could not start, or not reach what they work with."""
    if measured.error:
        raise LaneUserError(
            f"laneUser: no lane can start as {user.name}: {measured.error}; let {user.name} read and execute the"
            " agent's Python and its packages"
        )
    if measured.closed:
        raise LaneUserError(
            f"laneUser: {user.name} cannot pass through {measured.closed[0]}; run: chmod o+x {measured.closed[0]}, or"
            " put scratch.path and modelCache.path elsewhere"
        )


def _tell(confinement: Measured) -> None:
    told = {"guards": in_words(confinement.guards), "refused": dict(confinement.refused)}
    if confinement.error:
        _log.warning("no child of this agent can start as its lanes do", reason=confinement.error, **told)
    elif confinement.reached:
        _log.warning("lanes are not fully confined", can_reach=list(confinement.reached), **told)
    else:
        _log.info("lanes are confined", **told)


def _claim_lanes(stack: AsyncExitStack, folder: Path) -> Path:
    """Returns a folder for lanes that no other run uses, locked until the stack closes. Raises NoFreeLanesError."""
    make_private(folder)
    for number in range(MAX_RUNS_AT_A_TIME):
        with suppress(FolderInUseError):  # another run holds it
            lock = lock_folder(folder / str(number))
            stack.callback(os.close, lock)
            return folder / str(number)
    raise NoFreeLanesError(f"{MAX_RUNS_AT_A_TIME} runs go on at this moment; wait for one of them")
