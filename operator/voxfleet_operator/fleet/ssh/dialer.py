"""Reaches agents through a tunnel to each Mac's own sshd."""

from __future__ import annotations

import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.mac_agent import SshAccess
from voxfleet_operator.fleet.dialer import (
    MAX_CONNECTIONS,
    AddressedConnection,
    DialError,
    LocalSocket,
    SecretReader,
    connection_limits,
)
from voxfleet_operator.fleet.ssh.connection_proof import HOST, ConnectionProof
from voxfleet_operator.fleet.ssh.transport import SshTimeouts
from voxfleet_operator.fleet.ssh.tunnel import SshThreads, Tunnel, open_tunnel

# The socket is local and speaks plain HTTP; without this, every client would load the system's certificates.
_UNUSED_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True, slots=True)
class _TunnelConnection:
    tunnel: Tunnel
    transport: httpx.AsyncBaseTransport
    base_url: str = f"http://{HOST}"

    @property
    def address(self) -> LocalSocket:
        return LocalSocket(self.tunnel.socket_path)

    @property
    def refusal(self) -> DialError | None:
        return self.tunnel.refusal

    @property
    def ended(self) -> DialError | None:
        if self.tunnel.is_alive():
            return None
        return DialError(Reason.SSH_UNREACHABLE, "the SSH connection broke; the Mac is dialled anew")

    @property
    def is_broken(self) -> bool:
        return self.ended is not None


class SshDialer:
    """Owns the threads that wait for paramiko, and the directory of the tunnels' sockets."""

    def __init__(
        self,
        secrets: SecretReader,
        timeouts: SshTimeouts | None = None,
        *,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._secrets = secrets
        self._limits = connection_limits(max_connections)
        self._timeouts = timeouts or SshTimeouts()
        self._threads = SshThreads()
        self._socket_directory = Path(tempfile.mkdtemp(prefix="voxfleet-"))

    def same_connection(self, one: MacAgent, other: MacAgent) -> bool:
        return one.spec.ssh == other.spec.ssh

    def connected_message(self, mac: MacAgent) -> str:
        return f"connected to {_access(mac).host} over SSH"

    async def dial(self, mac: MacAgent) -> AbstractAsyncContextManager[AddressedConnection]:
        access = _access(mac)
        identity_pem = await self._secrets(access.identity_secret_ref.name, access.identity_secret_ref.key)
        proof = ConnectionProof(
            mac.metadata.name, mac.spec.ledger_public_key, access.agent_port, self._timeouts.proof_seconds
        )
        return self._open(access, identity_pem, proof)

    def close(self) -> None:
        self._threads.shutdown()
        shutil.rmtree(self._socket_directory, ignore_errors=True)

    @asynccontextmanager
    async def _open(
        self, access: SshAccess, identity_pem: bytes, proof: ConnectionProof
    ) -> AsyncIterator[AddressedConnection]:
        async with open_tunnel(
            access, identity_pem, proof, self._socket_directory, self._threads, self._timeouts
        ) as tunnel:
            transport = httpx.AsyncHTTPTransport(
                uds=str(tunnel.socket_path), verify=_UNUSED_TLS, retries=0, limits=self._limits
            )
            yield _TunnelConnection(tunnel, transport)


def _access(mac: MacAgent) -> SshAccess:
    if mac.spec.ssh is None:
        raise DialError(Reason.INVALID_SPEC, "spec.ssh is missing; write it, or spec.https")
    return mac.spec.ssh
