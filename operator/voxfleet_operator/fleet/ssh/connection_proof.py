"""Asks whoever answers on a new connection to prove the Mac's ledger key before a request goes through it.

The agent may have ended since the last connection, and another user of the Mac may listen on its port.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlencode

import h11
from pydantic import ValidationError

from voxfleet_api.conditions import Reason
from voxfleet_api.machine_messages import Identity, nonce_for_port
from voxfleet_api.protocol import Problem
from voxfleet_operator.fleet.dialer import DialError
from voxfleet_operator.fleet.identity import MacRejected, check_key
from voxfleet_operator.fleet.mac_view import AgentRefused

HOST = "agent"
MAX_ANSWER_BYTES = 16_384
"""With its headers; an identity has some 500."""


class ByteStream(Protocol):
    async def receive(self) -> bytes:
        """The next bytes; none once the other side has ended."""
        ...

    async def send(self, content: bytes) -> None:
        """Raises OSError once the stream is gone."""
        ...


@dataclass(frozen=True, slots=True)
class ConnectionProof:
    mac: str
    pinned_key: str
    port: int
    """Of the agent, on the Mac's loopback."""
    timeout_seconds: float

    async def demand(self, stream: ByteStream) -> None:
        """Leaves the stream ready for the next request. Raises DialError, after which it must be closed."""
        nonce = nonce_for_port(secrets.token_hex(32), self.port)
        try:
            async with asyncio.timeout(self.timeout_seconds):
                status, content = await _ask(stream, f"/v1/identity?{urlencode({'nonce': nonce})}")
        except TimeoutError as error:
            raise _unproven(f"no answer in {self.timeout_seconds:g} s") from error
        except (OSError, h11.RemoteProtocolError) as error:
            raise _unproven(str(error) or type(error).__name__) from error
        if status != 200:
            raise DialError(Reason.AGENT_UNREACHABLE, f"the agent answered {AgentRefused(status, _problem(content))}")
        try:
            identity = Identity.load_json(content)
        except ValidationError as error:
            raise _unproven("the answer cannot be read") from error
        try:
            check_key(identity, mac=self.mac, nonce=nonce, pinned_key=self.pinned_key)
        except MacRejected as rejection:
            raise DialError(rejection.reason, rejection.message) from rejection


async def _ask(stream: ByteStream, target: str) -> tuple[int, bytes]:
    """One HTTP exchange, which leaves nothing unread. Returns the status and the body."""
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_ANSWER_BYTES)
    request = h11.Request(method="GET", target=target, headers=[("Host", HOST), ("Accept-Encoding", "identity")])
    await stream.send((http.send(request) or b"") + (http.send(h11.EndOfMessage()) or b""))
    status, received_bytes, content = 0, 0, b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            if not (chunk := await stream.receive()):
                raise _unproven("the connection was closed")
            received_bytes += len(chunk)
            if received_bytes > MAX_ANSWER_BYTES:
                raise _unproven(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
            http.receive_data(chunk)
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            content += event.data
        elif isinstance(event, h11.EndOfMessage):
            break
        elif not isinstance(event, h11.InformationalResponse):
            raise _unproven("the answer is none to a question")
    if http.their_state is not h11.DONE or http.trailing_data[0]:
        raise _unproven("the answer is not the end of what was sent, or ends the connection")
    return status, content


def _problem(content: bytes) -> Problem:
    try:
        return Problem.load_json(content)
    except ValidationError:
        return Problem(message="the answer says no more; look into the agent's log")


def _unproven(why: str) -> DialError:
    return DialError(Reason.AGENT_UNREACHABLE, f"GET /v1/identity on a new connection: {why}; nothing secret was sent")
