"""`voxfleet-agent serve`: opens the services, serves attempts over HTTP, and stops in order."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from voxfleet_agent import ledger as ledgers
from voxfleet_agent.addresses import AllowList
from voxfleet_agent.agent_tokens import AgentTokens, read_tokens
from voxfleet_agent.attempts.lane_yields import LaneYields
from voxfleet_agent.attempts.services import AttemptServices
from voxfleet_agent.attempts.slots import LaneSlots
from voxfleet_agent.attempts.supervisor import Supervisor
from voxfleet_agent.config import AgentConfig, ConfigError
from voxfleet_agent.endpoint_lanes.endpoint_lanes import EndpointLanes
from voxfleet_agent.ladder.pace_watch import PaceWatch
from voxfleet_agent.ladder.shared_ladders import SharedLadders
from voxfleet_agent.lane_protocol.lane_lock import LaneBusyError
from voxfleet_agent.lanes.lane_user import LaneUserError
from voxfleet_agent.ledger import Ledger, open_chain, public_key_text
from voxfleet_agent.local_services import (
    LocalServices,
    ServiceSettings,
    VolumeMissingError,
    open_services,
    warn_of_unmounted,
)
from voxfleet_agent.logs import logger
from voxfleet_agent.metrics import AgentMetrics, AgentReading, YieldReading
from voxfleet_agent.server.app import AgentServer, build_app, build_server, listen_on
from voxfleet_agent.server.auth import Authenticator
from voxfleet_agent.server.routes import Routes
from voxfleet_agent.server.tls import TlsFiles
from voxfleet_agent.stages.stage_runner import STAGES
from voxfleet_agent.storage import Mounts, Storage
from voxfleet_agent.yielding.batch_yield import BatchYield
from voxfleet_api.machine_messages import ReservedFacts
from voxfleet_api.protocol import S3Credentials

_log = logger("voxfleet.agent")


async def run_agent(config: AgentConfig, stopping: Callable[[], None]) -> None:
    """Serves until SIGTERM or SIGINT. `stopping` is called once, before anything is stopped.

    Raises ConfigError, FolderInUseError or JournalError before it serves, and afterwards whatever error ends the agent.
    """
    tokens = read_tokens(config)
    tls = None if config.listen.tls is None else TlsFiles(config.listen.tls)
    async with open_agent(config) as services:
        await _serve(config, services, tokens, listen_on(config.listen), tls, stopping)


@asynccontextmanager
async def open_agent(config: AgentConfig) -> AsyncIterator[AttemptServices]:
    """Opens what the fleet's attempts run with. Raises ConfigError, FolderInUseError, JournalError."""
    key = ledgers.load_key(config.ledger_key_file)
    async with AsyncExitStack() as stack:
        try:
            local = await stack.enter_async_context(open_services(ServiceSettings.of(config)))
        except (VolumeMissingError, LaneUserError, LaneBusyError) as error:
            raise ConfigError(str(error)) from error
        chain_id = await local.journal.write(lambda db: open_chain(db, public_key_text(key)))
        allowed = AllowList(config.allow).folders
        mounts = Mounts(allowed, config.file_timeout_seconds)
        # A volume that does not answer must not keep the agent from serving what lies elsewhere.
        warning = asyncio.create_task(warn_of_unmounted((*allowed, *map(str, config.models.folders)), mounts))
        stack.callback(warning.cancel)
        yield _attempt_services(config, local, Ledger(key, chain_id, local.machine.hardware_id), mounts)


def _attempt_services(config: AgentConfig, local: LocalServices, ledger: Ledger, mounts: Mounts) -> AttemptServices:
    def open_storage(credentials: S3Credentials | None, namespace: Sequence[str] | None) -> Storage:
        return Storage(config.allow, credentials, config.https, mounts=mounts, namespace=namespace)

    return AttemptServices(
        journal=local.journal,
        ledger=ledger,
        scratch=local.scratch,
        clock=local.clock,
        machine=local.machine,
        lanes=LaneSlots(local.pools),
        pools=local.pools,
        interactive=local.pools.interactive,
        batch_lanes=local.pools.lanes,
        batches_yield=config.batches_yield,
        pace=PaceWatch(serves_sessions=lambda: local.pools.interactive.open_sessions > 0),
        reserved=tuple(ReservedFacts(name=one.name, memory_bytes=one.memory_bytes) for one in config.reserved),
        unload_after_seconds=config.cached_models.unload_after_seconds,
        models=local.models,
        ladders=local.ladders,
        shared_ladders=SharedLadders(local.ladders),
        quarantine=local.quarantine,
        open_budget=local.open_budget,
        stages=STAGES,
        open_storage=open_storage,
    )


async def _serve(
    config: AgentConfig,
    services: AttemptServices,
    tokens: AgentTokens,
    listener: socket.socket,
    tls: TlsFiles | None,
    stopping: Callable[[], None],
) -> None:
    supervisor = Supervisor(services)
    try:
        await supervisor.start(config.control_plane)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    lanes = EndpointLanes(services, supervisor.closing, supervisor.fail, lambda: supervisor.bound.control_plane)
    supervisor.share_scratch_with(lanes.scratch_owners)
    await lanes.start()
    batch_yield = None
    if services.batches_yield:
        batch_yield = BatchYield(
            services,
            lanes.live_lanes,
            lambda: supervisor.closing.calls_back,
            supervisor.unload_idle,
            supervisor.fail,
        )
        batch_yield.start()
    metrics = metrics_of(supervisor, lanes, services)
    routes = Routes(services, supervisor, lanes, Authenticator(tokens), metrics)
    server = build_server(build_app(routes, supervisor.clock), tls)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    signalled = asyncio.create_task(_signalled())
    _log.info("listening", host=listener.getsockname()[0], port=listener.getsockname()[1])
    try:
        await asyncio.wait({serving, signalled, supervisor.failed}, return_when=asyncio.FIRST_COMPLETED)
        stopping()
        if not supervisor.failed.done():
            await _stop(supervisor, lanes, routes, server, serving)
            return
        supervisor.failed.result()
    finally:
        if batch_yield is not None:
            batch_yield.stop()
        signalled.cancel()
        serving.cancel()
        listener.close()


async def _stop(
    supervisor: Supervisor, lanes: EndpointLanes, routes: Routes, server: AgentServer, serving: asyncio.Task[None]
) -> None:
    """Parks every attempt, ends every session, lets event streams report it, then ends the server."""
    _log.info("stopping")
    await asyncio.gather(supervisor.shut_down(), lanes.shut_down())
    routes.closing.set()
    server.should_exit = True
    await serving


async def _signalled() -> None:
    loop = asyncio.get_running_loop()
    received = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received.set)
    await received.wait()


def metrics_of(supervisor: Supervisor, lanes: EndpointLanes, services: AttemptServices) -> AgentMetrics:
    return AgentMetrics(
        lambda: AgentReading(
            attempts=supervisor.states(),
            pools=services.pools.facts(),
            lanes=services.pools.readings(),
            scratch_reserved_bytes=services.scratch.reserved_bytes,
            scratch_quota_bytes=services.scratch.quota_bytes,
            quarantine_bytes=services.quarantine.size_bytes,
            quarantined_clips=services.quarantine.count,
            ready=supervisor.ready,
            endpoint_lanes=lanes.states(),
            open_sessions=lanes.open_sessions(),
            paces=services.pace.readings(),
            yields=yield_reading(services.yields),
        ),
        services.clip_metrics,
    )


def yield_reading(yields: LaneYields) -> YieldReading:
    return YieldReading(
        paused={name: lane.still for name, lane in yields},
        paused_seconds={name: lane.paused_seconds for name, lane in yields},
        long_steps=yields.long_steps,
        evictions=yields.evictions,
    )
