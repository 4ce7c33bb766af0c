"""How aiohttp reaches an agent that was dialled: through a tunnel's socket, or at the agent's own listener."""

from __future__ import annotations

import socket

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from voxfleet_operator.fleet.dialer import AgentAddress, LocalSocket

TUNNEL_HOST = "agent"


def connector_to(address: AgentAddress, max_connections: int) -> tuple[aiohttp.BaseConnector, str]:
    """Returns the base of URLs, too. One that waits for a free connection waits no longer than for its upgrade."""
    if isinstance(address, LocalSocket):
        return aiohttp.UnixConnector(path=str(address.path), limit=max_connections), f"http://{TUNNEL_HOST}"
    host = f"[{address.host}]" if ":" in address.host else address.host
    connector = aiohttp.TCPConnector(
        limit=max_connections,
        ssl=address.context,
        resolver=_Found(address.addresses),
        use_dns_cache=False,
    )
    return connector, f"https://{host}:{address.port}"


class _Found(AbstractResolver):
    """Answers with what the dialer found: a name server that is silent holds up no session."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        return
