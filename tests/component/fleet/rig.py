"""Macs made of a real sshd and an agent that stands in, and the operator's fleet on top."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.component.fleet.stand_in_agent import CHAIN, CONTROL_PLANE, PATIENCE_SECONDS, StandInAgent

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import MacAgent
from voxfleet_api.ledger import ChainHead
from voxfleet_api.protocol import AttemptRequest
from voxfleet_dev.sshd import Sshd
from voxfleet_operator.fleet.agent_client import AgentClient
from voxfleet_operator.fleet.dialer import AgentConnection
from voxfleet_operator.fleet.fleet import MacFleet
from voxfleet_operator.fleet.mac_view import AgentAnswer, MacView, Order, Outcome, SecretMissing
from voxfleet_operator.fleet.session_context import SessionTiming
from voxfleet_operator.fleet.transports import Transports

DIGEST = "sha256:" + "0" * 64
REQUEST = AttemptRequest(spec_digest=DIGEST, spec={}, lease_seconds=60)
A, B, C = (AttemptKey(f"shard-{letter}", 1) for letter in "abc")
FAST = SessionTiming(
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

    def resource(
        self,
        name: str,
        *,
        created: str = "2026-11-20T10:00:00Z",
        ledger_public_key: str | None = None,
        **ssh: object,
    ) -> MacAgent:
        """Reaches this Mac; `ssh` replaces fields of spec.ssh."""
        return MacAgent.load(
            {
                "metadata": {"name": name, "uid": f"uid-{name}", "creationTimestamp": created},
                "spec": {
                    "ssh": {
                        "host": "127.0.0.1",
                        "port": self.sshd.port,
                        "user": self.sshd.user,
                        "hostKeys": [self.sshd.host_key_line],
                        "identitySecretRef": {"name": f"ssh-{self.agent.port}", "key": "id"},
                        "agentPort": self.agent.port,
                        **ssh,
                    },
                    "tokenSecretRef": {"name": f"token-{self.agent.port}", "key": "token"},
                    "ledgerPublicKey": ledger_public_key or self.agent.public_key,
                    "disconnect": {"lostAfter": "10m"},
                },
            }
        )


class Rig:
    """A fleet whose changes can be awaited, and the Macs started for it."""

    def __init__(
        self,
        directory: Path,
        stack: AsyncExitStack,
        control_plane: str = CONTROL_PLANE,
        timing: SessionTiming = FAST,
    ) -> None:
        self.control_plane = control_plane
        self.stack = stack
        self.secrets: dict[tuple[str, str], bytes] = {}
        self.stale_epochs: list[int] = []
        self.changes: list[tuple[str, frozenset[str]]] = []
        self.stored_head: ChainHead | None = None
        self.faults: list[Exception] = []
        """Raised one a change, as by a fault in what a change wakes."""
        self.seen: list[MacView] = []
        """The view after each change."""
        self._bell = asyncio.Event()
        self._directory = directory
        self.fleet = MacFleet(
            control_plane=control_plane,
            leader="leader-1",
            epoch=lambda: max([3, *self.stale_epochs]),
            secrets=self._secret,
            dialer=Transports(self._secret, reload_seconds=0.2),
            on_change=self._changed,
            on_stale_epoch=self.stale_epochs.append,
            timing=timing,
            stored_head=lambda _, chain_id: self.stored_head if chain_id == CHAIN else None,
        )

    async def start_mac(self, agent: StandInAgent) -> Mac:
        """An agent behind an sshd of its own; the fleet finds its Secrets."""
        await self.stack.enter_async_context(agent.serving())
        sshd = self.stack.enter_context(Sshd(self._directory / f"sshd-{agent.port}", forward_port=agent.port))
        self.secrets[f"ssh-{agent.port}", "id"] = sshd.identity_pem.encode()
        self.secrets[f"token-{agent.port}", "token"] = agent.token.encode() + b"\n"
        return Mac(sshd, agent)

    @asynccontextmanager
    async def dialled(self, mac: MacAgent) -> AsyncIterator[tuple[AgentClient, AgentConnection]]:
        """A client of its own, beside the fleet's, that proves nothing and has no token yet."""
        transports = Transports(self._secret)
        try:
            async with (
                await transports.dial(mac) as connection,
                AgentClient(
                    connection,
                    control_plane=self.control_plane,
                    leader="leader-1",
                    epoch=lambda: 3,
                    on_stale_epoch=self.stale_epochs.append,
                ) as client,
            ):
                yield client, connection
        finally:
            transports.close()

    async def until(self, mac: str, holds: Callable[[MacView], bool]) -> MacView:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not holds(self.fleet.view(mac)):
                    self._bell.clear()
                    await self._bell.wait()
        except TimeoutError:
            raise AssertionError(f"never came to hold; last: {self.fleet.view(mac)}") from None
        return self.fleet.view(mac)

    async def connected(self, mac: str) -> MacView:
        return await self.until(mac, lambda view: view.connected)

    async def refused(self, mac: str, reason: Reason) -> str:
        """The message that comes with the reason."""
        return (await self.until(mac, lambda view: view.reason is reason)).message

    async def answered(
        self,
        read: Callable[[], AgentAnswer | None],
        enough: Callable[[AgentAnswer], bool] = lambda answer: answer.outcome is not Outcome.PENDING,
    ) -> AgentAnswer:
        """The answer that `read` finds, once there is one that is enough; `read` may state the order again."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (answer := read()) is None or not enough(answer):
                    self._bell.clear()
                    await self._bell.wait()
        except TimeoutError:
            raise AssertionError("never answered") from None
        return answer

    async def put(self, mac: str, key: AttemptKey, request: AttemptRequest) -> AgentAnswer:
        self.fleet.put(self.fleet.view(mac), key, request)
        return await self.answered(lambda: self.fleet.answer(self.fleet.view(mac), Order.PUT, key))

    async def delete(self, mac: str, key: AttemptKey) -> None:
        """Until the agent has confirmed that nothing is left."""
        await self.answered(
            lambda: self.fleet.delete(self.fleet.view(mac), key), lambda answer: answer.outcome is Outcome.GONE
        )

    def _changed(self, mac: str, shard_uids: frozenset[str]) -> None:
        self.changes.append((mac, shard_uids))
        self.seen.append(self.fleet.view(mac))
        self._bell.set()
        if self.faults:
            raise self.faults.pop()

    async def _secret(self, name: str, key: str) -> bytes:
        try:
            return self.secrets[name, key]
        except KeyError:
            raise SecretMissing(f"create Secret {name} with key {key}") from None
