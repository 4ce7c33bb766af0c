"""The endpoints of the protocol."""

from __future__ import annotations

import asyncio

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from voxfleet_agent.attempts.admission import Caller, Refusal, decide_read
from voxfleet_agent.attempts.event_feed import UnknownCursor
from voxfleet_agent.attempts.services import AttemptServices
from voxfleet_agent.attempts.supervisor import Supervisor
from voxfleet_agent.endpoint_lanes.endpoint_lanes import EndpointLanes
from voxfleet_agent.ledger import chains, has_chain, last_sequence, page_after
from voxfleet_agent.metrics import AgentMetrics
from voxfleet_agent.server.auth import Authenticator
from voxfleet_agent.server.event_stream import stream
from voxfleet_agent.server.lane_routes import LaneRoutes
from voxfleet_agent.server.requests import UID, good_until, parse_json
from voxfleet_agent.server.responses import RequestRefused, json_response, read_body, whole_number
from voxfleet_agent.server.session_routes import SessionRoutes
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.machine_messages import Capability, MachineFacts, port_of_nonce
from voxfleet_api.pools import usable_memory_bytes
from voxfleet_api.protocol import AttemptRequest, EventAck, LedgerChains, RenewAnswer, RenewRequest

MAX_NONCE_CHARACTERS = 128
MAX_LEDGER_ROWS = 1000
MAX_LISTED_ATTEMPTS = 500
_MAX_SEQUENCE = 2**53


class Routes:
    def __init__(
        self,
        services: AttemptServices,
        supervisor: Supervisor,
        lanes: EndpointLanes,
        authenticator: Authenticator,
        metrics: AgentMetrics,
    ) -> None:
        self._services = services
        self._supervisor = supervisor
        self._lanes = lanes
        self._authenticator = authenticator
        self._metrics = metrics
        self.closing = asyncio.Event()

    def table(self) -> list[BaseRoute]:
        return [
            Route("/livez", self.livez, methods=["GET"]),
            Route("/readyz", self.readyz, methods=["GET"]),
            Route("/metrics", self.show_metrics, methods=["GET"]),
            Route("/v1/identity", self.identity, methods=["GET"]),
            Route("/v1/machine", self.machine, methods=["GET"]),
            Route("/v1/ladders", self.ladders, methods=["GET"]),
            Route("/v1/attempts", self.attempts, methods=["GET"]),
            Route("/v1/attempts/{shard_uid}/{attempt}", self.attempt, methods=["GET"]),
            Route("/v1/attempts/{shard_uid}/{attempt}", self.put_attempt, methods=["PUT"]),
            Route("/v1/attempts/{shard_uid}/{attempt}", self.delete_attempt, methods=["DELETE"]),
            Route("/v1/renew", self.renew, methods=["POST"]),
            Route("/v1/events", self.events, methods=["GET"]),
            Route("/v1/events/ack", self.acknowledge, methods=["POST"]),
            Route("/v1/ledger", self.ledger, methods=["GET"]),
            Route("/v1/ledger/chains", self.ledger_chains, methods=["GET"]),
            *LaneRoutes(self._lanes, self._require_read, self._require_change).table(),
            *SessionRoutes(
                self._lanes, self._authenticator, lambda: self._supervisor.bound, self._require_ready
            ).table(),
        ]

    # Without authentication

    async def livez(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(self, request: Request) -> Response:
        ready = self._supervisor.ready
        return PlainTextResponse("ok\n" if ready else "recovering or stopping\n", 200 if ready else 503)

    async def show_metrics(self, request: Request) -> Response:
        content, media_type = self._metrics.render()
        return Response(content, media_type=media_type)

    async def identity(self, request: Request) -> Response:
        """Needs no token: a caller checks the identity before it sends its token."""
        nonce = request.query_params.get("nonce", "")
        if not 1 <= len(nonce) <= MAX_NONCE_CHARACTERS or not nonce.isascii() or not nonce.isprintable():
            raise RequestRefused.of(400, f"nonce must be 1 to {MAX_NONCE_CHARACTERS} printable ASCII characters")
        called = request.scope["server"][1]
        if port_of_nonce(nonce) not in (None, called):
            raise RequestRefused.of(
                400,
                f"this agent listens on port {called}; correct spec.ssh.agentPort of its MacAgent, and find out what"
                " else listens on this Mac",
            )
        return json_response(self._services.ledger.identity(self._supervisor.bound.control_plane, nonce))

    # Reads

    async def machine(self, request: Request) -> Response:
        self._require_read(request)
        machine, pools, ledger = self._services.machine, self._services.pools, self._services.ledger
        ladders = self._services.shared_ladders
        sequence = await self._services.journal.read(lambda db: last_sequence(db, ledger.chain_id))
        return json_response(
            MachineFacts(
                hardware_id=machine.hardware_id,
                boot_id=machine.boot_id,
                chip=machine.chip,
                memory_bytes=machine.memory_bytes,
                os=machine.os,
                versions=machine.versions,
                runtime_compatible=machine.runtime_compatible,
                runtime_message=machine.runtime_message,
                capabilities=tuple(Capability),
                pools=tuple(pools.facts()),
                reserved=tuple(self._services.reserved),
                usable_memory_bytes=usable_memory_bytes(machine.memory_bytes, machine.gpu_working_set_bytes),
                loaded_models=tuple(pools.loaded_models()),
                endpoint_lanes=tuple(self._lanes.statuses()),
                lacks_scratch=self._services.scratch.shortage() is not None,
                scratch_reserved_bytes=self._services.scratch.reserved_bytes,
                scratch_quota_bytes=self._services.scratch.quota_bytes,
                ledger_chain_id=ledger.chain_id,
                ledger_sequence=sequence,
                ladder_profile=ladders.profile(),
                ladders_revision=await ladders.revision(),
                contended_lanes=self._services.pace.contended_lanes(),
            )
        )

    async def ladders(self, request: Request) -> Response:
        self._require_read(request)
        return json_response(await self._services.shared_ladders.told())

    async def attempts(self, request: Request) -> Response:
        self._require_read(request)
        limit = request.query_params.get("limit")
        if limit is None:
            return json_response(await self._supervisor.feed.listing())
        number = whole_number(limit, "limit", least=1, most=MAX_LISTED_ATTEMPTS, default=MAX_LISTED_ATTEMPTS)
        after = _listed_key(request.query_params.get("continue"))
        return json_response(await self._supervisor.feed.listing(number, after))

    async def attempt(self, request: Request) -> Response:
        self._require_read(request)
        live = self._supervisor.attempt(_key(request))
        if live is None:
            raise RequestRefused.of(404, "this agent has no such attempt")
        return json_response(await self._supervisor.status(live))

    async def events(self, request: Request) -> Response:
        self._require_read(request)
        after = await self._cursor(request.query_params.get("after", ""))
        lines = stream(self._supervisor.feed, self._services.journal, after, self.closing)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    async def ledger(self, request: Request) -> Response:
        self._require_read(request)
        after = whole_number(request.query_params.get("after"), "after", least=-1, most=_MAX_SEQUENCE, default=-1)
        limit = whole_number(
            request.query_params.get("limit"), "limit", least=1, most=MAX_LEDGER_ROWS, default=MAX_LEDGER_ROWS
        )
        chain_id = request.query_params.get("chain", self._services.ledger.chain_id)
        if not await self._services.journal.read(lambda db: has_chain(db, chain_id)):
            raise RequestRefused.of(404, "this agent has no such chain; GET /v1/ledger/chains lists those that it has")
        return json_response(await self._services.journal.read(lambda db: page_after(db, chain_id, after, limit)))

    async def ledger_chains(self, request: Request) -> Response:
        self._require_read(request)
        return json_response(LedgerChains(chains=tuple(await self._services.journal.read(chains))))

    # Changes

    async def put_attempt(self, request: Request) -> Response:
        await self._require_change(request)
        key, until = _key(request), good_until(request)
        try:
            body = AttemptRequest.load(parse_json(await read_body(request)))
        except ValidationError as error:
            fields = ", ".join(".".join(map(str, item["loc"])) for item in error.errors()[:5])
            raise RequestRefused.of(400, f"the body is no attempt request; look at: {fields}") from error
        result = await self._supervisor.put(key, body, until)
        if isinstance(result, Refusal):
            raise RequestRefused(result)
        return json_response(result)

    async def delete_attempt(self, request: Request) -> Response:
        await self._require_change(request)
        deleted = await self._supervisor.delete(_key(request))
        return Response(status_code=204 if deleted else 202)

    async def renew(self, request: Request) -> Response:
        await self._require_change(request)
        until, content = good_until(request), await read_body(request)
        try:
            body = RenewRequest.load(parse_json(content)) if content else RenewRequest()
        except ValidationError as error:
            raise RequestRefused.of(400, "the body is no renewal; send none, or {}") from error
        renewed = await self._supervisor.renew(body, until)
        if isinstance(renewed, Refusal):
            raise RequestRefused(renewed)
        renewed_lanes = self._lanes.renew() if body.lanes else 0
        return json_response(RenewAnswer(renewed=renewed, renewed_lanes=renewed_lanes or None))

    async def acknowledge(self, request: Request) -> Response:
        """Deletes the events up to the cursor."""
        await self._require_change(request)
        try:
            body = EventAck.load(parse_json(await read_body(request)))
        except ValidationError as error:
            raise RequestRefused.of(400, 'the body must be {"cursor": "…"}') from error
        await self._supervisor.feed.acknowledge(await self._cursor(body.cursor))
        return Response(status_code=204)

    def _require_read(self, request: Request) -> None:
        refusal = decide_read(self._authenticator.caller(request), self._supervisor.bound)
        if refusal is not None:
            raise RequestRefused(refusal)
        self._require_ready()

    async def _require_change(self, request: Request) -> None:
        caller: Caller = self._authenticator.caller(request)
        refusal = await self._supervisor.admit(caller)
        if refusal is not None:
            raise RequestRefused(refusal)
        self._require_ready()

    def _require_ready(self) -> None:
        if not self._supervisor.ready and not self._supervisor.draining:
            raise RequestRefused.of(503, "this agent is recovering")

    async def _cursor(self, text: str) -> int:
        try:
            return await self._supervisor.feed.resolve(text)
        except UnknownCursor as error:
            message = "this cursor is not known here; list the attempts and stream from the list's cursor"
            raise RequestRefused.of(410, message) from error


def _key(request: Request) -> AttemptKey:
    shard_uid, attempt = request.path_params["shard_uid"], request.path_params["attempt"]
    if not UID.fullmatch(shard_uid):
        raise RequestRefused.of(400, "the shard's UID in the path is not a UID")
    return AttemptKey(shard_uid, whole_number(attempt, "the attempt in the path", least=1, most=2**31, default=0))


def _listed_key(token: str | None) -> AttemptKey | None:
    """The last attempt of the page before, which its continueToken names."""
    if token is None:
        return None
    shard_uid, dot, attempt = token.rpartition(".")
    if not dot or not UID.fullmatch(shard_uid) or not attempt.isdecimal():
        raise RequestRefused.of(400, "continue must be the continueToken of the page before")
    return AttemptKey(shard_uid, whole_number(attempt, "continue", least=1, most=2**31, default=0))
