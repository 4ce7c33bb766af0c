"""The seam between a session and the transport that reaches a Mac's agent. A new transport is a folder beside ssh/."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import httpx

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import MacAgent

CONNECTION_LIMITS = httpx.Limits(max_connections=8, max_keepalive_connections=8, keepalive_expiry=60.0)
"""The limits of the HTTP connections to one agent, over any transport. One that is free stays open until the next
renewal, or each would open another one, and with it a channel of the tunnel; the agent closes it after 75 s."""

SecretReader = Callable[[str, str], Awaitable[bytes]]
"""Reads a key of a Secret, by (name, key), in the operator's namespace. Raises SecretMissing."""


class DialError(Exception):
    """The agent cannot be reached: `reason` is for a condition, `message` says which field or Secret to fix."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


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
