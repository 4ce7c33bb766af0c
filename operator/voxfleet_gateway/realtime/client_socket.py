"""A client's WebSocket, none of whose calls waits without a bound but `receive`, which waits for the client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus

from aiohttp import WSCloseCode, WSMsgType, web

from voxfleet_gateway.loop_share import LoopShare
from voxfleet_gateway.realtime.endings import Ending
from voxfleet_gateway.realtime.liveness import SocketTimes
from voxfleet_gateway.realtime.steps import Message
from voxfleet_gateway.refusals import CallRefused

_SUBPROTOCOL = "realtime"
"""What OpenAI's clients in browsers offer; others offer none."""

_BROKEN = frozenset({WSCloseCode.PROTOCOL_ERROR, WSCloseCode.INVALID_TEXT, WSCloseCode.MESSAGE_TOO_BIG})
"""Codes of a client's own fault, with which aiohttp closes."""
_CLOSE_SECONDS = 2.0
"""For a close frame, once the buffers on the way to the client are full."""


class ClientGone(Exception):
    """The client closed the socket, or takes nothing: there is nobody to tell."""


class _Socket(web.WebSocketResponse):
    """Tells a client that breaks the protocol why it is cut off, and leaves the end of the connection to others.

    aiohttp would end it at once. The kernel answers what comes then with a reset, and a client that still sends loses
    the close frame by it before it has read it.
    """

    is_cut_off = False

    async def close(self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True) -> bool:
        if code not in _BROKEN:
            return await super().close(code=code, message=message, drain=drain)
        self.is_cut_off = True
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.send_frame(code.to_bytes(2) + message, WSMsgType.CLOSE)
        return True


class ClientSocket:
    def __init__(
        self,
        request: web.Request,
        *,
        max_frame_bytes: int,
        times: SocketTimes,
        now_seconds: Callable[[], float],
    ) -> None:
        self._request = request
        self._times = times
        self._now = now_seconds
        self._share = LoopShare(now_seconds)
        # Pings are our own: aiohttp's would end a client from whom it does not read, because the lane takes no more.
        self.response = _Socket(
            protocols=(_SUBPROTOCOL,),
            compress=False,
            autoping=False,
            max_msg_size=max_frame_bytes + 1,
            timeout=times.close_within,
        )
        now = now_seconds()
        self.reading_since: float | None = None
        self.last_received = now
        self.pinged_at: float | None = None

    def check_upgrade(self) -> None:
        """Raises CallRefused: 426 for a request that asks for no WebSocket, 400 for one of another protocol.

        aiohttp would log what was offered, and some clients offer a key.
        """
        offered = self._request.headers.get("Sec-WebSocket-Protocol")
        if offered is not None and _SUBPROTOCOL not in [name.strip() for name in offered.split(",")]:
            raise CallRefused(
                HTTPStatus.BAD_REQUEST,
                "subprotocol_not_served",
                f"of subprotocols only {_SUBPROTOCOL} is served; offer it, or none, and send the key as Authorization",
            )
        if not self.response.can_prepare(self._request):
            raise CallRefused(
                HTTPStatus.UPGRADE_REQUIRED, "upgrade_required", "this address takes WebSockets only (RFC 6455)"
            )

    async def upgrade(self) -> None:
        await self.response.prepare(self._request)
        self.last_received = self._now()

    async def receive(self) -> str | bytes:
        """The next message. Raises ClientGone, also for one that breaks the protocol or is too long: it is closed."""
        self.reading_since = self._now()
        try:
            while True:
                await self._share.take()
                message = await self.response.receive()
                self.last_received, self.pinged_at = self._now(), None
                match message.type:
                    case WSMsgType.TEXT:
                        return str(message.data)
                    case WSMsgType.BINARY:
                        return bytes(message.data)
                    case WSMsgType.PING:
                        await self._within(self.response.pong(message.data))
                    case WSMsgType.PONG:
                        pass
                    case _:
                        raise ClientGone
        finally:
            self.reading_since = None

    async def tell(self, message: Message) -> None:
        """Raises ClientGone when the client takes nothing."""
        await self._within(self.response.send_str(json.dumps(message)))

    async def ping(self) -> None:
        """Raises ClientGone when the client takes nothing."""
        self.pinged_at = self._now()
        await self._within(self.response.ping())

    async def close(self, ending: Ending) -> None:
        """Closes in order, or else at once."""
        try:
            async with asyncio.timeout(self._times.send_within):
                await self.response.close(code=ending.close_code, message=ending.close_reason)
        except TimeoutError:
            self._abort()
        else:
            self.leave()

    async def linger(self) -> None:
        """Drops what a client that was cut off still sends, until it has read why and closes, or time is up."""
        if self.response.is_cut_off:
            await asyncio.sleep(self._times.close_within)  # the handler is cancelled when the client closes

    def leave(self) -> None:
        """Ends the connection. What the client does not take soon is lost."""
        transport = self._request.transport
        if transport is None:
            return
        if not self.response.closed:
            transport.abort()
        elif transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(self._times.close_within, transport.abort)

    def _abort(self) -> None:
        transport = self._request.transport
        if transport is not None:
            transport.abort()

    async def _within(self, sending: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._times.send_within):
                await sending
        except (TimeoutError, ConnectionError) as error:
            raise ClientGone from error
