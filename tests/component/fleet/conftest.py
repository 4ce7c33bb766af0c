"""Macs made of a real sshd and an agent that stands in, and the operator's fleet on top."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.component.fleet.stand_in_agent import CONTROL_PLANE, StandInAgent
from voxfleet_api.kinds import MacAgent
from voxfleet_dev.sshd import Sshd
from voxfleet_operator.fleet.fleet import SshFleet
from voxfleet_operator.fleet.session import Timing
from voxfleet_operator.fleet.ssh import SshTimeouts
from voxfleet_operator.fleet.view import MacView, SecretMissing

PATIENCE_SECONDS = 30.0
FAST = Timing(
    ssh=SshTimeouts(),
    call_seconds=10.0,
    silence_seconds=1.0,
    longest_renewal_interval_seconds=0.2,
    first_backoff_seconds=0.1,
    longest_backoff_seconds=0.5,
)


@dataclass
class Mac:
    sshd: Sshd
    agent: StandInAgent
    secrets: dict[tuple[str, str], bytes]

    def resource(self, name: str, *, created: str = "2026-11-20T10:00:00Z", **ssh: object) -> MacAgent:
        return MacAgent.load(
            {
                "metadata": {"name": name, "uid": f"uid-{name}", "creationTimestamp": created},
                "spec": {
                    "ssh": {
                        "host": "127.0.0.1",
                        "port": self.sshd.port,
                        "user": self.sshd.user,
                        "hostKeys": [self.sshd.host_key_line],
                        "identityRef": {"name": f"ssh-{self.agent.port}", "key": "id"},
                        "agentPort": self.agent.port,
                        **ssh,
                    },
                    "tokenRef": {"name": f"token-{self.agent.port}", "key": "token"},
                    "ledgerPublicKey": self.agent.public_key,
                    "disconnect": {"lostAfter": "10m"},
                },
            }
        )

    def store_secrets(self) -> None:
        self.secrets[f"ssh-{self.agent.port}", "id"] = self.sshd.identity_pem.encode()
        self.secrets[f"token-{self.agent.port}", "token"] = self.agent.token.encode() + b"\n"


@dataclass
class Watch:
    """A fleet whose changes can be awaited."""

    fleet: SshFleet
    secrets: dict[tuple[str, str], bytes]
    stale_epochs: list[int]
    changes: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, mac: str, holds: Callable[[MacView], bool]) -> MacView:
        view = self.fleet.view(mac)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not holds(view):
                    await asyncio.sleep(0.01)
                    view = self.fleet.view(mac)
        except TimeoutError:
            raise AssertionError(f"never came to hold; last: {view}") from None
        return view

    async def connected(self, mac: str) -> MacView:
        return await self.until(mac, lambda view: view.connected)


@asynccontextmanager
async def watched_fleet(timing: Timing = FAST) -> AsyncIterator[Watch]:
    stored: dict[tuple[str, str], bytes] = {}
    stale_epochs: list[int] = []
    changes: list[tuple[str, frozenset[str]]] = []

    async def secret(name: str, key: str) -> bytes:
        try:
            return stored[name, key]
        except KeyError:
            raise SecretMissing(f"create Secret {name} with key {key}") from None

    fleet = SshFleet(
        control_plane=CONTROL_PLANE,
        leader="leader-1",
        epoch=lambda: max([3, *stale_epochs]),
        secrets=secret,
        on_change=lambda mac, shards: changes.append((mac, shards)),
        on_stale_epoch=stale_epochs.append,
        timing=timing,
    )
    try:
        yield Watch(fleet, stored, stale_epochs, changes)
    finally:
        await fleet.close()


@pytest.fixture
async def watch() -> AsyncIterator[Watch]:
    async with watched_fleet() as watch:
        yield watch


@pytest.fixture
async def new_mac(watch: Watch, tmp_path: Path) -> AsyncIterator[Callable[[StandInAgent], object]]:
    """`await new_mac(agent)` starts a Mac whose secrets are known to the fleet."""
    async with AsyncExitStack() as stack:

        async def start(agent: StandInAgent) -> Mac:
            await stack.enter_async_context(agent.serving())
            sshd = stack.enter_context(Sshd(tmp_path / f"sshd-{agent.port}", forward_port=agent.port))
            mac = Mac(sshd, agent, watch.secrets)
            mac.store_secrets()
            return mac

        yield start
        await watch.fleet.close()
