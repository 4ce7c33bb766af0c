"""The endpoint of the protocol that opens sessions on warm lanes, and its refusals before the upgrade."""

from __future__ import annotations

from collections.abc import Callable

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from voxfleet_agent.attempts.admission import Binding, Refusal
from voxfleet_agent.endpoint_lanes.endpoint_lanes import EndpointLanes
from voxfleet_agent.endpoint_lanes.session_admission import decide_session_caller
from voxfleet_agent.endpoint_lanes.session_place import SessionPlace
from voxfleet_agent.logs import frames, logger
from voxfleet_agent.server.auth import Authenticator
from voxfleet_agent.server.requests import lane_key
from voxfleet_agent.server.responses import RequestRefused
from voxfleet_agent.server.session_conversation import converse
from voxfleet_api.session_protocol import SUBPROTOCOL

_INTERNAL_ERROR = 1011

_log = logger("voxfleet.agent")


class SessionRoutes:
    def __init__(
        self,
        lanes: EndpointLanes,
        authenticator: Authenticator,
        bound: Callable[[], Binding],
        require_ready: Callable[[], None],
    ) -> None:
        """`require_ready` raises RequestRefused while the agent recovers."""
        self._lanes = lanes
        self._authenticator = authenticator
        self._bound = bound
        self._require_ready = require_ready

    def table(self) -> list[WebSocketRoute]:
        return [WebSocketRoute("/v1/lanes/{endpoint_uid}/{generation}/sessions", self.session)]

    async def session(self, socket: WebSocket) -> None:
        with self._place(socket) as place:
            try:
                await socket.accept(subprotocol=SUBPROTOCOL)
                await converse(socket, place)
            except WebSocketDisconnect:
                return
            except Exception as error:  # noqa: BLE001 -- the server would log its message, which may quote a caller
                _log.error("session failed", error=type(error).__qualname__, frames=frames(error))
                await socket.close(_INTERNAL_ERROR)

    def _place(self, socket: WebSocket) -> SessionPlace:
        """Raises RequestRefused: 403 401 503 400 404 429, in this order."""
        authenticator = self._authenticator
        caller = authenticator.session_caller(socket)
        refusal = decide_session_caller(caller, self._bound(), takes_sessions=authenticator.takes_sessions)
        if refusal is not None:
            raise RequestRefused(refusal)
        self._require_ready()
        key = lane_key(socket)
        if SUBPROTOCOL not in socket.scope["subprotocols"]:
            raise RequestRefused.of(400, f"offer the subprotocol {SUBPROTOCOL}: this agent speaks no other")
        place = self._lanes.place(key)
        if isinstance(place, Refusal):
            raise RequestRefused(place)
        return place
