"""The ASGI application and the server that runs it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from voxfleet_agent.attempts.admission import Refusal
from voxfleet_agent.config import ConfigError, Listen
from voxfleet_agent.server.responses import RequestRefused, refusal_response
from voxfleet_agent.server.routes import Routes
from voxfleet_agent.server.session_socket import PING_SECONDS, SessionSocket
from voxfleet_agent.server.tls import TlsFiles
from voxfleet_agent.server.tls_listener import POLL_SECONDS, TlsListener
from voxfleet_api.order_age import CLOCK_HEADER, ClockReading
from voxfleet_api.protocol import Problem
from voxfleet_api.session_protocol import MAX_CONTROL_BYTES

GRACE_SECONDS = 3


class WithClock:
    """Says with every answer what this agent's clock shows."""

    def __init__(self, app: ASGIApp, clock: Callable[[], ClockReading]) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                MutableHeaders(scope=message)[CLOCK_HEADER] = str(self._clock())
            await send(message)

        await self._app(scope, receive, answer)


def build_app(routes: Routes, clock: Callable[[], ClockReading]) -> ASGIApp:
    app = Starlette(
        routes=routes.table(),
        exception_handlers={RequestRefused: _request_refused, HTTPException: _http_error, Exception: _internal_error},
    )
    return WithClock(app, clock)


def _request_refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestRefused):
        raise error
    return refusal_response(error.refusal)


def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return refusal_response(Refusal(error.status_code, Problem(message=error.detail)))


def _internal_error(request: Request, error: Exception) -> Response:
    # Starlette raises the error again after this response, so that the server logs it.
    return refusal_response(
        Refusal(500, Problem(message=f"unforeseen {type(error).__qualname__}; see the agent's log"))
    )


class AgentServer(uvicorn.Server):
    """Leaves signals to the caller, which parks attempts before the server stops; `tls`: None for plain HTTP."""

    def __init__(self, config: uvicorn.Config, tls: TlsFiles | None = None, poll_seconds: float = POLL_SECONDS) -> None:
        super().__init__(config)
        self._tls = tls
        self._poll_seconds = poll_seconds
        self._listening: list[asyncio.Task[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """With TLS, listens itself: uvicorn would read the files once, and give each handshake a minute."""
        if self._tls is None:
            await super().startup(sockets)
            return
        self.servers = []
        for listener in sockets or []:
            listening = TlsListener(listener, self._tls, self._make_protocol, self._cut, self._poll_seconds)
            self._listening.append(asyncio.create_task(listening.run()))
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)
        await super().shutdown(sockets)

    def _make_protocol(self) -> asyncio.Protocol:
        return H11Protocol(self.config, self.server_state, self.lifespan.state)

    def _cut(self) -> None:
        for connection in list(self.server_state.connections):
            if isinstance(connection, H11Protocol | SessionSocket):
                connection.transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen_on(listen: Listen) -> socket.socket:
    """Returns a listening socket. Raises ConfigError when the port is taken or the address is no own one."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    try:
        listener = socket.create_server((listen.host, listen.port), family=family)
    except OSError as error:
        raise ConfigError(f"listen: {listen.host}:{listen.port}: {error.strerror}; choose another port") from error
    # Connections inherit it. asyncio sets it only where a socket names its protocol, and without it each of two short
    # messages of a session waits 40 ms for the peer's acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def build_server(app: ASGIApp, tls: TlsFiles | None = None) -> AgentServer:
    return AgentServer(
        uvicorn.Config(
            app,
            http="h11",
            ws=SessionSocket,
            ws_max_size=MAX_CONTROL_BYTES,
            ws_ping_interval=PING_SECONDS,
            ws_ping_timeout=PING_SECONDS,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=GRACE_SECONDS,
        ),
        tls,
    )
