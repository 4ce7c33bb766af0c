"""The seam between a session and the transport that reaches a Mac's agent. A new transport is a folder beside ssh/."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import httpx

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import MacAgent

KEEPALIVE_SECONDS = 60.0
MAX_CONNECTIONS = 8
"""Of the operator to one agent, over any transport."""

SecretReader = Callable[[str, str], Awaitable[bytes]]
"""Reads a key of a Secret, by (name, key), in the operator's namespace. Raises SecretMissing."""


class DialError(Exception):
    """The agent cannot be reached: `reason` is for a condition, `message` says which field or Secret to fix."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def connection_limits(max_connections: int) -> httpx.Limits:
    """A connection that is free stays open until the next renewal, or each would open another one, and with it a
    channel of the tunnel; the agent closes it after 75 s.
    """
    return httpx.Limits(
        max_connections=max_connections, max_keepalive_connections=max_connections, keepalive_expiry=KEEPALIVE_SECONDS
    )


@dataclass(frozen=True, slots=True)
class LocalSocket:
    """A unix socket of this machine, behind which the agent has proven itself on each new connection."""

    path: Path


@dataclass(frozen=True, slots=True)
class TlsListener:
    """The agent's own listener, whose certificate proves it."""

    host: str
    """The name that the certificate must have."""
    port: int
    addresses: tuple[str, ...]
    """Of the host, at least one, as found when it was dialled."""
    context: ssl.SSLContext = field(repr=False)


AgentAddress = LocalSocket | TlsListener


class AgentConnection(Protocol):
    """What one AgentClient sends its requests through."""

    @property
    def base_url(self) -> str: ...

    @property
    def transport(self) -> httpx.AsyncBaseTransport:
        """The HTTP transport to the agent. The client closes it.

        Each of its connections has proven that the Mac's agent answers before a request, with its token, goes through.
        """
        ...

    @property
    def refusal(self) -> DialError | None:
        """Why the newest attempt to reach the agent failed; None once one succeeded."""
        ...


class AddressedConnection(AgentConnection, Protocol):
    """One that other clients than httpx may use, too."""

    @property
    def address(self) -> AgentAddress:
        """Where they find the agent, for as long as the connection is open."""
        ...

    @property
    def ended(self) -> DialError | None:
        """Why it takes no new request, so that the Mac is to be dialled anew; None while it does."""
        ...

    @property
    def is_broken(self) -> bool:
        """Whether what goes through it has ended with it; else that may go on as long as it is open."""
        ...


class Dialer(Protocol):
    """One transport: how to reach the agents of Macs, and what it needs for all of them."""

    def same_connection(self, one: MacAgent, other: MacAgent) -> bool:
        """Whether this transport reaches both in the same way, so that an open connection need not be replaced."""
        ...

    def connected_message(self, mac: MacAgent) -> str: ...

    async def dial(self, mac: MacAgent) -> AbstractAsyncContextManager[AgentConnection]:
        """Reads the Mac's Secrets; the connection opens when the context is entered, and closes with it.

        Both may raise DialError; reading may also raise SecretMissing or AgentUnreachable.
        """
        ...

    def close(self) -> None:
        """Frees threads and files, once all connections are closed."""
        ...
