"""Every call of a client: let in, handed to its format, counted, and ended when the gateway drains."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog
from aiohttp import web

from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_gateway.access.gate import Gate, Knock
from voxfleet_gateway.access.service_accounts import MAX_QUESTIONS, MAX_WAITING
from voxfleet_gateway.api_call import ApiCall, ApiRoute
from voxfleet_gateway.call_places import CallPlaces
from voxfleet_gateway.cross_origin import allow_origin, name_origin, preflight
from voxfleet_gateway.endpoint_sessions import EndpointSessions
from voxfleet_gateway.error_answers import error_response
from voxfleet_gateway.gateway_metrics import GatewayMetrics
from voxfleet_gateway.held_bytes import HeldBytes
from voxfleet_gateway.refusals import CallRefused
from voxfleet_operator.cache import Cache

FULL_SECONDS, DRAIN_RETRY_SECONDS = 1.0, 1.0
FORM_BYTES = 2**20
"""What the fields of a form may take beside its file."""
MAX_JSON_BYTES = 2**20
CONTINUE = "100-continue"
LATE_SECONDS = 10.0
"""So long after the deadline of a session its handler is ended, whatever it waits for."""
END_SECONDS = 5.0
"""For handlers to close their sockets once the drain is over."""

log = structlog.get_logger(__name__)


class Calls:
    """`clock` is monotonic, in seconds."""

    def __init__(
        self,
        cache: Cache,
        gate: Gate,
        sessions: EndpointSessions,
        metrics: GatewayMetrics,
        *,
        max_calls: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = cache
        self._gate = gate
        self._sessions = sessions
        self._metrics = metrics
        self._max_calls = max_calls
        self._clock = clock
        self._closing = asyncio.Event()
        self._draining = False
        self._places = CallPlaces(max_calls)
        self._held_answers = HeldBytes()
        self._running: set[asyncio.Task[object]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def open_calls(self) -> int:
        """Those that were let in."""
        return len(self._places)

    @property
    def draining(self) -> bool:
        return self._draining

    def application(self, routes: Sequence[ApiRoute]) -> web.Application:
        app = web.Application(client_max_size=MAX_JSON_BYTES, middlewares=[self._answer])
        app.on_response_prepare.append(name_origin)
        for route in routes:
            path = f"/{{namespace}}/{{endpoint}}{route.path}"
            app.router.add_route(route.method, path, self._handler(route), expect_handler=_expectation)
        for path in dict.fromkeys(route.path for route in routes if not route.is_socket):
            app.router.add_route("OPTIONS", f"/{{namespace}}/{{endpoint}}{path}", self._preflight)
        return app

    async def drain(self, seconds: float) -> None:
        """Takes no new call; what runs may go on for so long, and is told to close then."""
        self._draining = True
        if not await self._all_ended(seconds):
            log.info("drain is over", open_calls=len(self._running))
        self._closing.set()
        if not await self._all_ended(END_SECONDS):
            for task in self._running:
                task.cancel()

    async def _all_ended(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    @web.middleware
    async def _answer(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Nothing of a request is logged but its route: paths may be anything."""
        try:
            return await handler(request)
        except CallRefused as refusal:
            self._metrics.call_refused(refusal.status)
            return error_response(refusal)
        except web.RequestPayloadError:
            self._metrics.call_refused(400)
            return error_response(
                CallRefused(400, "body_damaged", "the body breaks HTTP's rules of chunks; send it anew")
            )
        except web.HTTPException as error:  # no such route, or not with this method
            self._metrics.call_refused(error.status)
            message = "there is nothing at this path; calls go to /NAMESPACE/ENDPOINT/v1/…"
            answer = error_response(CallRefused(error.status, "not_found", message))
            if "Allow" in error.headers:
                answer.headers["Allow"] = error.headers["Allow"]
            return answer

    def _handler(self, route: ApiRoute) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            received_seconds = self._clock()
            if self._draining:
                raise CallRefused(
                    503,
                    "draining",
                    "this gateway is being stopped; call again",
                    retry_after_seconds=DRAIN_RETRY_SECONDS,
                )
            # Whoever waits at the gate, perhaps without a key, takes no place of those who were let in, nor of those
            # whose key needs no question.
            if len(self._running) - self.open_calls >= self._max_calls + MAX_QUESTIONS + MAX_WAITING:
                raise _full()
            task = asyncio.current_task()
            if task is None:
                raise RuntimeError("a handler runs in a task")
            self._running.add(task)
            self._idle.clear()
            try:
                return await self._serve(route, request, received_seconds)
            finally:
                self._running.discard(task)
                if not self._running:
                    self._idle.set()

        return handle

    async def _serve(self, route: ApiRoute, request: web.Request, received_seconds: float) -> web.StreamResponse:
        endpoint = await self._gate.enter(_knock(request))
        allow_origin(request)
        uid = endpoint.metadata.uid
        if not self._places.take(uid):
            raise _full()
        try:
            return await self._let_in(route, request, endpoint, received_seconds)
        finally:
            self._places.leave(uid)

    async def _let_in(
        self, route: ApiRoute, request: web.Request, endpoint: VoiceEndpoint, received_seconds: float
    ) -> web.StreamResponse:
        if not route.is_socket:
            _check_body(request, endpoint)
        if endpoint.status.contract is None:
            raise CallRefused(
                503, "not_accepted", "the endpoint is not accepted yet; its conditions say why", retry_after_seconds=5.0
            )
        await _invite_body(request)
        deadline_seconds = received_seconds + endpoint.spec.session.max_seconds
        call = ApiCall(
            endpoint=endpoint,
            contract=endpoint.status.contract.spec,
            open_session=self._sessions.opener(endpoint),
            received_seconds=received_seconds,
            now_seconds=self._clock,
            closing=self._closing,
            held_answers=self._held_answers,
            deadline_seconds=deadline_seconds,
        )
        async with asyncio.timeout(deadline_seconds + LATE_SECONDS - self._clock()):
            return await route.handler(request, call)

    async def _preflight(self, request: web.Request) -> web.StreamResponse:
        knock = _knock(request)
        return preflight(request, self._cache.get(VoiceEndpoint, knock.namespace, knock.endpoint))


def _full() -> CallRefused:
    return CallRefused(
        503,
        "gateway_full",
        "this gateway has as many calls as it takes, or as it takes of one endpoint",
        retry_after_seconds=FULL_SECONDS,
    )


def _knock(request: web.Request) -> Knock:
    return Knock(
        namespace=request.match_info["namespace"],
        endpoint=request.match_info["endpoint"],
        headers=request.headers,
        query=tuple(request.query),
    )


async def _expectation(request: web.Request) -> None:
    """Nobody is asked for a body who was not let in."""
    if request.headers["Expect"].lower() != CONTINUE:
        raise web.HTTPExpectationFailed


async def _invite_body(request: web.Request) -> None:
    if "Expect" in request.headers:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # it is no part of the answer, whose status may still be chosen


def _check_body(request: web.Request, endpoint: VoiceEndpoint) -> None:
    """What says beforehand that it is packed, or too large. Handlers count what comes."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise CallRefused(415, "content_encoding_not_served", "send the body as it is, without a Content-Encoding")
    limit = endpoint.spec.session.max_upload_bytes
    if (request.content_length or 0) > limit + FORM_BYTES:
        raise CallRefused(
            413, "upload_too_large", f"recordings have at most {limit} bytes here (spec.session.maxUploadBytes)"
        )
