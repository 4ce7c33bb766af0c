"""The dialer of a fleet: reaches each Mac over the transport that its spec names."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from voxfleet_api.kinds import MacAgent
from voxfleet_operator.fleet.dialer import MAX_CONNECTIONS, AddressedConnection, SecretReader
from voxfleet_operator.fleet.https.dialer import RELOAD_SECONDS, HttpsDialer
from voxfleet_operator.fleet.ssh.dialer import SshDialer


class Transports:
    def __init__(
        self,
        secrets: SecretReader,
        reload_seconds: float = RELOAD_SECONDS,
        *,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        """`reload_seconds`: how often certificates are looked at again. `max_connections`: to one agent."""
        self._ssh = SshDialer(secrets, max_connections=max_connections)
        self._https = HttpsDialer(secrets, reload_seconds, max_connections=max_connections)

    def same_connection(self, one: MacAgent, other: MacAgent) -> bool:
        return self._ssh.same_connection(one, other) and self._https.same_connection(one, other)

    def connected_message(self, mac: MacAgent) -> str:
        return self._of(mac).connected_message(mac)

    async def dial(self, mac: MacAgent) -> AbstractAsyncContextManager[AddressedConnection]:
        return await self._of(mac).dial(mac)

    def close(self) -> None:
        self._ssh.close()
        self._https.close()

    def _of(self, mac: MacAgent) -> SshDialer | HttpsDialer:
        return self._ssh if mac.spec.https is None else self._https
