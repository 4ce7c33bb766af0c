"""Which machines the agent may connect to. It connects to the very address that was checked."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import httpcore2

from voxfleet_agent.storage.blocking_calls import in_own_thread
from voxfleet_api.failures import FailureClass, VoxFleetError

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_SocketOptions: TypeAlias = Iterable[
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
]

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_PROTOCOL_ASSIGNMENTS = ipaddress.IPv4Network("192.0.0.0/24")
"""Refused here because some Python versions treat part of this network as global."""
MAX_ADDRESSES = 4
"""How many addresses of one host are tried."""


class PublicNetworks:
    """The public internet, plus `https.privateNetworks` of the agent's file."""

    def __init__(self, private_networks: Iterable[str]) -> None:
        self._listed = [ipaddress.ip_network(network) for network in private_networks]

    def is_listed(self, address: IpAddress) -> bool:
        return any(
            form.version == network.version and form in network
            for form in (address, _embedded_ipv4(address))
            if form is not None
            for network in self._listed
        )

    def allows(self, address: IpAddress) -> bool:
        """Whether a tenant may make this agent connect there. Cloud metadata services have link-local addresses."""
        return self.is_listed(address) or _is_public(address)


def _is_public(address: IpAddress) -> bool:
    embedded = _embedded_ipv4(address)
    if embedded is not None:
        return _is_public(embedded)
    if address in _PROTOCOL_ASSIGNMENTS or (address.version == 6 and address not in _GLOBAL_UNICAST):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _embedded_ipv4(address: IpAddress) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


class VettedBackend(httpcore2.AsyncNetworkBackend):
    """Opens TCP connections for httpcore2, which then checks the certificate against the host's name."""

    def __init__(self, networks: PublicNetworks, *, plain_http: bool = False) -> None:
        """`plain_http`: connect only to networks that the agent's file lists, because nothing proves who answers."""
        self._networks = networks
        self._plain_http = plain_http
        self._tcp = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- httpcore2's signature
        local_address: str | None = None,
        socket_options: _SocketOptions | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Raises VoxFleetError(ACCESS_DENIED) when no address of the host is allowed, httpcore2's errors otherwise."""
        failure: Exception = httpcore2.ConnectError("the host has no address")
        for address in self._allowed(await resolve(host, port)):
            try:
                return await self._tcp.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    def _allowed(self, addresses: Sequence[IpAddress]) -> Sequence[IpAddress]:
        if self._plain_http:
            allowed = [address for address in addresses if self._networks.is_listed(address)]
            advice = "plain http:// reaches only networks of https.privateNetworks in the agent's file; use https://"
        else:
            allowed = [address for address in addresses if self._networks.allows(address)]
            advice = "the host is not on the public internet; add its network to https.privateNetworks"
        if addresses and not allowed:
            raise VoxFleetError(FailureClass.ACCESS_DENIED, advice)
        return allowed[:MAX_ADDRESSES]

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 -- httpcore2's signature
        socket_options: _SocketOptions | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        raise httpcore2.ConnectError("no sockets of this machine")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def resolve(host: str, port: int) -> list[IpAddress]:
    """The host's addresses in the order in which to try them. Raises httpcore2.ConnectError."""
    try:
        # A name server that does not answer must not block the threads that everything else needs.
        resolved = await in_own_thread(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError) as error:
        raise httpcore2.ConnectError("the host's name cannot be resolved") from error
    # A link-local address may end with a percent sign and its interface.
    texts = [str(sockaddr[0]).partition("%")[0] for family, _, _, _, sockaddr in resolved if family in _FAMILIES]
    return list(dict.fromkeys(ipaddress.ip_address(text) for text in texts))


_FAMILIES = (socket.AF_INET, socket.AF_INET6)
