"""Puts the agent together, runs it, and ends it in order."""

from __future__ import annotations

import asyncio
import signal
import socket

from voxfleet_agent import ledger as ledgers
from voxfleet_agent.attempts.services import AttemptServices
from voxfleet_agent.attempts.slots import LaneSlots
from voxfleet_agent.attempts.supervisor import Supervisor
from voxfleet_agent.clock import SystemClock
from voxfleet_agent.config import AgentConfig, ConfigError, read_token, require_memory
from voxfleet_agent.failure_budget import MacFailureBudgets
from voxfleet_agent.journal.journal import Journal
from voxfleet_agent.ladder.ladder_book import MacLadderBook
from voxfleet_agent.lane_protocol.lane_lock import LaneBusyError
from voxfleet_agent.lanes.lane_user import LaneReadableModels, LaneUser, LaneUserError, make_reachable
from voxfleet_agent.lanes.pools import LanePools
from voxfleet_agent.ledger import Ledger, open_chain, public_key_text
from voxfleet_agent.logs import logger
from voxfleet_agent.machine import LocalMachine, read_machine
from voxfleet_agent.metrics import AgentMetrics, AgentReading
from voxfleet_agent.models.resolved_model import ModelResolver
from voxfleet_agent.models.store import ModelStore
from voxfleet_agent.quarantine import QuarantineStore
from voxfleet_agent.scratch import Scratch
from voxfleet_agent.server.app import AgentServer, build_app, build_server, listen_on
from voxfleet_agent.server.auth import Authenticator
from voxfleet_agent.server.routes import Routes
from voxfleet_agent.stages.finalize.finalize_stage import run_finalize
from voxfleet_agent.stages.plan.plan_stage import run_plan
from voxfleet_agent.stages.process.process_stage import run_process
from voxfleet_agent.storage import Storage
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.protocol import S3Credentials

STAGES = {Stage.PLAN: run_plan, Stage.PROCESS: run_process, Stage.FINALIZE: run_finalize}

_log = logger("voxfleet.agent")


async def run_agent(config: AgentConfig) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises ConfigError, FolderInUseError or JournalError before it serves, and what ended it after.
    """
    token = read_token(config)
    key = ledgers.load_key(config.ledger_key_file)
    journal = await Journal.open(config.state_dir, config.journal_file)
    try:
        account = _lane_account(config)
        scratch = Scratch(config.scratch.path, config.scratch.quota_bytes, config.scratch.min_free_bytes)
        if account is not None:
            make_reachable(config.lane_dir, below=config.scratch.path.parent)
            make_reachable(scratch.attempts_path, below=config.scratch.path.parent)
            make_reachable(config.models.path, below=config.models.path.parent)
        pools = LanePools(config.pools, config.lane_dir, quarantine=config.quarantine_dir, lane_user=account)
        models = ModelStore(config.models.path, config.models.quota_bytes)
        try:
            await _reap(pools)
            machine = await asyncio.to_thread(read_machine, config.state_dir)
            chain_id = await journal.write(lambda db: open_chain(db, public_key_text(key)))
            require_memory(machine.memory_bytes, config.pools)
            resolver = models if account is None else LaneReadableModels(models, account, config.models.path)
            ledger = Ledger(key, chain_id, machine.hardware_id)
            equipment = _equip(config, journal, ledger, scratch, machine, pools, resolver)
            await _serve(config, equipment, token, listen_on(config.listen))
        finally:
            await pools.close()
            models.close()
            scratch.close()
    finally:
        await journal.close()


def _lane_account(config: AgentConfig) -> LaneUser | None:
    if config.lane_user is None:
        return None
    try:
        return LaneUser.from_name(config.lane_user)
    except LaneUserError as error:
        raise ConfigError(str(error)) from error


async def _reap(pools: LanePools) -> None:
    try:
        ended = await pools.reap_stale()
    except LaneBusyError as error:
        raise ConfigError(str(error)) from error
    for pid in ended:
        _log.warning("ended a lane that an earlier agent left behind", pid=pid)


def _equip(
    config: AgentConfig,
    journal: Journal,
    ledger: Ledger,
    scratch: Scratch,
    machine: LocalMachine,
    pools: LanePools,
    models: ModelResolver,
) -> AttemptServices:
    clock = SystemClock()
    quarantine = QuarantineStore(config.quarantine_dir, config.scratch.quarantine_quota_bytes, clock)
    least_memory = min(pool.memory_cap_bytes for pool in config.pools)  # a measured batch size holds in every pool

    def open_storage(credentials: S3Credentials | None) -> Storage:
        return Storage(config.allow, credentials, config.https)

    return AttemptServices(
        journal=journal,
        ledger=ledger,
        scratch=scratch,
        clock=clock,
        machine=machine,
        lanes=LaneSlots(pools),
        pools=pools,
        models=models,
        ladders=MacLadderBook(config.ladder_dir, machine.chip, machine.versions, least_memory),
        quarantine=quarantine,
        open_budget=MacFailureBudgets(clock).open,
        stages=STAGES,
        open_storage=open_storage,
        check_address=open_storage(None).check,
    )


async def _serve(config: AgentConfig, equipment: AttemptServices, token: str, listener: socket.socket) -> None:
    supervisor = Supervisor(equipment)
    try:
        await supervisor.start(config.control_plane)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    metrics = AgentMetrics(
        lambda: AgentReading(
            attempts=supervisor.states(),
            pools=equipment.pools.facts(),
            lanes=equipment.pools.readings(),
            scratch_reserved_bytes=equipment.scratch.reserved_bytes,
            scratch_quota_bytes=equipment.scratch.quota_bytes,
            quarantine_bytes=equipment.quarantine.size_bytes,
            quarantined_clips=equipment.quarantine.count,
            ready=supervisor.ready,
        )
    )
    routes = Routes(equipment, supervisor, Authenticator(token), metrics)
    server = build_server(build_app(routes))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(_signalled())
    _log.info("listening", host=listener.getsockname()[0], port=listener.getsockname()[1])
    try:
        await asyncio.wait({serving, stopping, supervisor.failed}, return_when=asyncio.FIRST_COMPLETED)
        if not supervisor.failed.done():
            await _stop(supervisor, routes, server, serving)
            return
        supervisor.failed.result()
    finally:
        stopping.cancel()
        serving.cancel()
        listener.close()


async def _stop(supervisor: Supervisor, routes: Routes, server: AgentServer, serving: asyncio.Task[None]) -> None:
    """Parks, lets streams tell of it, then ends the server."""
    _log.info("stopping")
    await supervisor.shut_down()
    routes.closing.set()
    server.should_exit = True
    await serving


async def _signalled() -> None:
    loop = asyncio.get_running_loop()
    received = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received.set)
    await received.wait()
