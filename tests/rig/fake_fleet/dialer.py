"""Reaches agents on this machine's loopback address, without SSH."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import httpx

from voxfleet_api.kinds import MacAgent
from voxfleet_operator.fleet.dialer import MAX_CONNECTIONS, AgentConnection, DialError, SecretReader, connection_limits

# Plain HTTP; without this, every client would load the system's certificates.
_UNUSED_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True, slots=True)
class _Connection:
    transport: httpx.AsyncBaseTransport
    base_url: str
    refusal: DialError | None = None


class LoopbackDialer:
    """Takes of `spec.ssh` only the agent's port."""

    def __init__(self, secrets: SecretReader) -> None:
        self._secrets = secrets

    def same_connection(self, one: MacAgent, other: MacAgent) -> bool:
        return one.spec.ssh == other.spec.ssh

    def connected_message(self, mac: MacAgent) -> str:
        return f"connected to port {_port(mac)}"

    async def dial(self, mac: MacAgent) -> AbstractAsyncContextManager[AgentConnection]:
        return self._open(_port(mac))

    def close(self) -> None:
        return

    @asynccontextmanager
    async def _open(self, port: int) -> AsyncIterator[AgentConnection]:
        transport = httpx.AsyncHTTPTransport(verify=_UNUSED_TLS, retries=0, limits=connection_limits(MAX_CONNECTIONS))
        yield _Connection(transport, f"http://127.0.0.1:{port}")


def _port(mac: MacAgent) -> int:
    assert mac.spec.ssh is not None
    return mac.spec.ssh.agent_port
