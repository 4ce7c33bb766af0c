"""The ASGI application and the server that runs it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from voxfleet_agent.attempts.admission import Refusal
from voxfleet_agent.config import ConfigError, Listen
from voxfleet_agent.server.responses import RequestRefused, refusal_response
from voxfleet_agent.server.routes import Routes
from voxfleet_api.protocol import Problem

GRACE_SECONDS = 3


def build_app(routes: Routes) -> Starlette:
    return Starlette(
        routes=routes.table(),
        exception_handlers={RequestRefused: _request_refused, HTTPException: _http_error, Exception: _internal_error},
    )


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
    """Leaves signals to the caller, which parks attempts before the server stops."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen_on(listen: Listen) -> socket.socket:
    """Returns a listening socket. Raises ConfigError when the port is taken."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    try:
        return socket.create_server((listen.host, listen.port), family=family)
    except OSError as error:
        raise ConfigError(f"listen: {listen.host}:{listen.port}: {error.strerror}; choose another port") from error


def build_server(app: ASGIApp) -> AgentServer:
    return AgentServer(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
