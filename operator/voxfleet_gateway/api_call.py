"""One call of a client that was let in: what a handler of a client's format gets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_gateway.held_bytes import HeldBytes
from voxfleet_gateway.lane_session import OpensSessions


@dataclass(frozen=True, slots=True)
class ApiCall:
    endpoint: VoiceEndpoint
    contract: VoiceContractSpec
    """As the endpoint's lanes hold it."""
    open_session: OpensSessions
    received_seconds: float
    """When the request came, on the clock of `now_seconds`."""
    now_seconds: Callable[[], float]
    """Monotonic."""
    closing: asyncio.Event
    """Set when the gateway's drain is over: a socket then closes with 1001."""
    held_answers: HeldBytes
    """Of all calls: answers that are written only when they are whole."""
    deadline_seconds: float
    """When the session is `session.maxSeconds` old, on the same clock."""


Handler = Callable[[web.Request, ApiCall], Awaitable[web.StreamResponse]]
"""Raises CallRefused before it answers. It looks at the request's `model` itself, by `served_models.check_model`."""


@dataclass(frozen=True, slots=True)
class ApiRoute:
    method: str
    path: str
    """Below `/{namespace}/{endpoint}`."""
    handler: Handler
    is_socket: bool = False
