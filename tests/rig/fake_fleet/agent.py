"""One fake Mac: a real agent but for its lanes, its stages and what it says of its hardware."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.rig.fake_fleet.lanes import LANE_MEMORY_BYTES, SleepingLane, SleepingPools
from tests.rig.fake_fleet.stages import SleepingWork
from tests.rig.fake_fleet.troubles import Trouble, WrongClock, troubled

from voxfleet_agent.agent_tokens import AgentTokens
from voxfleet_agent.attempts.services import AttemptServices
from voxfleet_agent.attempts.slots import LaneSlots
from voxfleet_agent.attempts.supervisor import Supervisor
from voxfleet_agent.clock import SystemClock
from voxfleet_agent.daemon import metrics_of
from voxfleet_agent.endpoint_lanes.endpoint_lanes import EndpointLanes
from voxfleet_agent.failure_budget import MacFailureBudgets
from voxfleet_agent.journal.journal import Journal
from voxfleet_agent.ladder.ladder_book import MacLadderBook
from voxfleet_agent.ladder.shared_ladders import SharedLadders
from voxfleet_agent.lanes.interactive_pools import InteractivePools
from voxfleet_agent.ledger import Ledger, open_chain, public_key_text
from voxfleet_agent.machine import LocalMachine
from voxfleet_agent.models.store import ModelStore
from voxfleet_agent.quarantine import QuarantineStore
from voxfleet_agent.scratch import Scratch
from voxfleet_agent.server.app import build_app, build_server
from voxfleet_agent.server.auth import Authenticator
from voxfleet_agent.server.routes import Routes
from voxfleet_agent.storage import Mounts, Storage
from voxfleet_api.protocol import S3Credentials

QUOTA_BYTES = 2**40


@dataclass(frozen=True, slots=True)
class MacSettings:
    """`folder` holds its journal and scratch; `allow`: the URI prefixes that it may read and write."""

    name: str
    folder: Path
    token: str
    key: Ed25519PrivateKey
    allow: tuple[str, ...]
    work: SleepingWork
    lanes: int = 1
    load_seconds: float = 0.0
    trouble: Trouble | None = None


def ledger_key(name: str) -> Ed25519PrivateKey:
    """Everybody who knows a fake Mac's name knows its key, so that no file passes between processes."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"fake mac {name}".encode()).digest())


def machine_of(name: str) -> LocalMachine:
    identity = hashlib.sha256(name.encode()).hexdigest()[:32]
    return LocalMachine(
        hardware_id=f"fake-{identity}",
        boot_id=f"boot-{identity[:8]}",
        chip="Apple M4",
        memory_bytes=32 * 2**30,
        os="macOS 26.1",
        versions={
            "python": "3.11",
            "mlx": "0.32.4",
            "mlx-audio": "0.6.2",
            "mlx-audio-io": "1.3.24",
            "voxfleet": "0.1.0",
        },
        runtime_compatible=True,
        runtime_message="",
    )


@asynccontextmanager
async def open_services(settings: MacSettings, mounts: Mounts, models: ModelStore) -> AsyncIterator[AttemptServices]:
    """`mounts` and `models` are of the whole process, as the threads of a file system are."""
    machine, folder = machine_of(settings.name), settings.folder
    clock = WrongClock() if settings.trouble is Trouble.WRONG_CLOCK else SystemClock()
    journal = await Journal.open(folder / "state", folder / "state" / "journal.sqlite3")
    min_free_bytes = QUOTA_BYTES if settings.trouble is Trouble.FULL_DISK else 0
    scratch = Scratch(folder / "scratch", QUOTA_BYTES, min_free_bytes)
    chain_id = await journal.write(lambda db: open_chain(db, public_key_text(settings.key)))
    pools: SleepingPools = SleepingPools(settings.lanes, settings.load_seconds)
    lanes: LaneSlots[SleepingLane] = LaneSlots(pools)
    ladders = MacLadderBook(folder / "ladders", machine.chip, machine.versions, LANE_MEMORY_BYTES, "float32")

    def open_storage(credentials: S3Credentials | None, namespace: Sequence[str] | None) -> Storage:
        return Storage(settings.allow, credentials, mounts=mounts, namespace=namespace)

    try:
        yield AttemptServices(
            journal=journal,
            ledger=Ledger(settings.key, chain_id, machine.hardware_id),
            scratch=scratch,
            machine=machine,
            models=models,
            ladders=ladders,
            shared_ladders=SharedLadders(ladders),
            quarantine=QuarantineStore(folder / "quarantine", QUOTA_BYTES, clock),
            open_budget=MacFailureBudgets(clock).open,
            stages=settings.work.stages(),
            clock=clock,
            lanes=lanes,
            pools=pools,
            interactive=InteractivePools((), folder / "lanes"),
            unload_after_seconds=900.0,
            open_storage=open_storage,
        )
    finally:
        scratch.close()
        await journal.close()


async def serve(
    services: AttemptServices, settings: MacSettings, listener: socket.socket, stopping: asyncio.Event
) -> None:
    """As the daemon does, until `stopping`."""
    supervisor = Supervisor(services)
    await supervisor.start()
    lanes = EndpointLanes(services, supervisor.closing, supervisor.fail, lambda: supervisor.bound.control_plane)
    metrics = metrics_of(supervisor, lanes, services)
    routes = Routes(services, supervisor, lanes, Authenticator(AgentTokens(settings.token)), metrics)
    server = build_server(troubled(settings.trouble, build_app(routes, supervisor.clock), supervisor))
    # uvicorn's own loop wakes ten times a second to keep the date: hundreds of servers would do nothing else.
    leaving = asyncio.Event()
    server.main_loop = leaving.wait  # type: ignore[method-assign,assignment]
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        ends: list[asyncio.Future[Any]] = [serving, asyncio.create_task(stopping.wait()), supervisor.failed]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if supervisor.failed.done():
            supervisor.failed.result()
        await supervisor.shut_down()
        routes.closing.set()
        server.should_exit = True
        leaving.set()
        await serving
    finally:
        serving.cancel()
        listener.close()
