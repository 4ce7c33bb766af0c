"""A small real HTTP server that speaks the agent's protocol and misbehaves on demand.

It stands in for the agent where a test needs a wrong key, a changed row or a stalled stream; the real agent is
driven through the same operator code by the other component tests and by tests/e2e.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from tests.rig.ledger_row import ledger_row

from voxfleet_agent.server.app import AgentServer
from voxfleet_agent.server.tls import TlsFiles
from voxfleet_api.digest import canonical_json
from voxfleet_api.endpoint_lanes import LaneState, LaneStatus
from voxfleet_api.kinds.audio_shard import JobRef, Stage
from voxfleet_api.ledger import IDENTITY_CONTEXT, Activity, SignedRow, row_hash, sign
from voxfleet_api.machine_messages import Capability, Identity, MachineFacts, PoolFacts, identity_claim
from voxfleet_api.protocol import (
    AttemptList,
    AttemptState,
    AttemptStatus,
    Event,
    EventType,
    LadderList,
    LedgerChain,
    LedgerChains,
    LedgerPage,
    LedgerSpan,
    RenewAnswer,
    ReportedLadder,
)

CONTROL_PLANE = "11111111-2222-3333-4444-555555555555"
HEARTBEAT_SECONDS = 0.1
PATIENCE_SECONDS = 30.0
CHAIN = "chain-1"
LADDER_PROFILE = "sha256:" + "1" * 64


def public_text(key: Ed25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def attempt_status(shard_uid: str, state: AttemptState, span: tuple[int, int] | None = None) -> AttemptStatus:
    return AttemptStatus(
        shard_uid=shard_uid,
        attempt=1,
        spec_digest="sha256:" + "0" * 64,
        control_plane=CONTROL_PLANE,
        namespace="speech",
        job=JobRef(name="night", uid="job-uid"),
        shard_name=f"night-{shard_uid}",
        stage=Stage.PROCESS,
        state=state,
        ledger=None if span is None else LedgerSpan(chain_id=CHAIN, first_sequence=span[0], last_sequence=span[1]),
    )


def next_row(
    rows: list[SignedRow], key: Ed25519PrivateKey, shard_uid: str, activity: Activity, chain_id: str = CHAIN
) -> SignedRow:
    row = ledger_row(
        len(rows),
        row_hash(rows[-1].row) if rows else "0" * 64,
        chain_id=chain_id,
        control_plane=CONTROL_PLANE,
        shard_uid=shard_uid,
        activity=activity,
        audio_milliseconds=500 if activity is Activity.WORK else 0,
    )
    return sign(row, key)


@dataclass(slots=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass
class StandInAgent:
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    token: str = "a-long-agent-token"
    hardware_id: str = "hardware-1"
    capabilities: tuple[str, ...] = tuple(Capability)
    older: dict[str, list[SignedRow]] = field(default_factory=dict)
    """The rows of chains that it left behind."""
    bound_to: str | None = CONTROL_PLANE
    signing_key: Ed25519PrivateKey | None = None
    """Signs the identity instead of `key`."""
    held_epoch: int = 0
    silent: bool = False
    """The event stream stays open and says nothing."""
    deaf: bool = False
    """PUT and DELETE are never answered."""
    list_unreadable: bool = False
    """The list of attempts is in a form that nobody knows."""
    ladders: tuple[ReportedLadder, ...] | None = None
    """None: it knows no ladders, as an older agent."""
    ladders_revision: str = "1"
    ladders_unreadable: bool = False
    seen: list[Seen] = field(default_factory=list)
    rows: list[SignedRow] = field(default_factory=list)
    attempts: dict[str, AttemptStatus] = field(default_factory=dict)
    lanes: dict[str, LaneStatus] = field(default_factory=dict)
    """By the endpoint's UID."""
    knows_lanes: bool = True
    port: int = 0

    def __post_init__(self) -> None:
        self._events: list[Event] = []
        self._changed = asyncio.Condition()
        self._answering = asyncio.Event()
        self._answering.set()
        self._heard = asyncio.Event()
        self._history = asyncio.Event()
        self._history.set()

    @property
    def public_key(self) -> str:
        return public_text(self.key)

    def calls(self, path: str) -> list[Seen]:
        return [call for call in self.seen if call.path == path]

    async def heard(self, path: str, more_than: int = 0) -> Seen:
        """The newest call of a path, once there were more than so many."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.calls(path)) <= more_than:
                self._heard.clear()
                await self._heard.wait()
        return self.calls(path)[-1]

    async def idle(self) -> None:
        """Until the server noticed that every client is gone; uvicorn gives no event for that."""
        while self._server.server_state.connections or self._server.server_state.tasks:  # noqa: ASYNC110 # see above
            await asyncio.sleep(0.01)

    def hold_answers(self) -> None:
        """Every request with a token waits until `answer_again`; new connections are proven without one."""
        self._answering.clear()

    def answer_again(self) -> None:
        self._answering.set()

    def hold_history(self) -> None:
        """Pages of the ledger wait until `history_again`."""
        self._history.clear()

    def history_again(self) -> None:
        self._history.set()

    async def report(self, status: AttemptStatus) -> None:
        self.attempts[status.shard_uid] = status
        await self._append(EventType.ATTEMPT, attempt=status)

    async def seal(self, shard_uid: str, activity: Activity, *, event: bool = True) -> SignedRow:
        row = next_row(self.rows, self.key, shard_uid, activity)
        self.rows.append(row)
        if event:
            await self._append(EventType.ROW, row=row)
        return row

    async def _append(
        self, type_: EventType, *, attempt: AttemptStatus | None = None, row: SignedRow | None = None
    ) -> None:
        async with self._changed:
            cursor = f"journal-1:{len(self._events) + 1}"
            self._events.append(Event(type=type_, cursor=cursor, attempt=attempt, row=row))
            self._changed.notify_all()

    @asynccontextmanager
    async def serving(self, tls: TlsFiles | None = None) -> AsyncIterator[Self]:
        """`tls`: behind the real agent's own listener, which soon sees files that are replaced."""
        # asyncio turns Nagle's algorithm off only for sockets whose protocol is named; it would cost 40 ms an answer.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        listener.listen()
        config = uvicorn.Config(self._app(), log_config=None, http="h11", lifespan="off", timeout_graceful_shutdown=1)
        self._server = server = AgentServer(config, tls, poll_seconds=0.1)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield self
        finally:
            self.answer_again()
            self.history_again()
            server.should_exit = True
            server.force_exit = True
            await task
            listener.close()

    def _app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/identity", self._identity),
                Route("/v1/machine", self._machine),
                Route("/v1/ladders", self._ladders),
                Route("/v1/ledger/chains", self._chains),
                Route("/v1/attempts", self._attempts),
                Route("/v1/attempts/{shard_uid}/{attempt:int}", self._attempt, methods=["PUT", "DELETE"]),
                Route("/v1/lanes/{uid}/{generation:int}", self._lane, methods=["GET", "PUT", "DELETE"]),
                Route("/v1/renew", self._renew, methods=["POST"]),
                Route("/v1/events", self._stream),
                Route("/v1/events/ack", self._ack, methods=["POST"]),
                Route("/v1/ledger", self._ledger),
            ]
        )

    async def _admit(self, request: Request, *, token: bool = True) -> Response | None:
        self.seen.append(
            Seen(request.method, request.url.path, request.url.query, dict(request.headers), await request.body())
        )
        self._heard.set()
        if token:
            await self._answering.wait()
        if token and request.headers.get("authorization") != f"Bearer {self.token}":
            return JSONResponse({"message": "wrong token"}, 401)
        if token and request.method != "GET" and int(request.headers["voxfleet-epoch"]) < self.held_epoch:
            return JSONResponse({"message": "old epoch", "heldEpoch": self.held_epoch}, 412)
        return None

    async def _identity(self, request: Request) -> Response:
        await self._admit(request, token=False)
        identity = Identity(
            hardware_id=self.hardware_id,
            control_plane=self.bound_to,
            public_key=self.public_key,
            nonce=request.query_params["nonce"],
            signature="",
        )
        signature = (self.signing_key or self.key).sign(IDENTITY_CONTEXT + canonical_json(identity_claim(identity)))
        return JSONResponse(identity.model_copy(update={"signature": base64.b64encode(signature).decode()}).dump())

    async def _machine(self, request: Request) -> Response:
        facts = MachineFacts(
            hardware_id=self.hardware_id,
            boot_id="boot-1",
            chip="M4",
            memory_bytes=2**34,
            os="macOS 26",
            versions={},
            runtime_compatible=True,
            runtime_message="",
            capabilities=self.capabilities,
            pools=(PoolFacts(name="offline", kind="Offline", lanes=1, free_lanes=1),),
            ledger_chain_id=CHAIN,
            ledger_sequence=len(self.rows) - 1,
            endpoint_lanes=tuple(self.lanes.values()),
            ladder_profile=None if self.ladders is None else LADDER_PROFILE,
            ladders_revision=None if self.ladders is None else self.ladders_revision,
        )
        return await self._admit(request) or JSONResponse(facts.dump())

    async def _ladders(self, request: Request) -> Response:
        answer = {"ladders": "some"} if self.ladders_unreadable else LadderList(ladders=self.ladders or ()).dump()
        return await self._admit(request) or JSONResponse(answer)

    async def _attempts(self, request: Request) -> Response:
        listing = AttemptList(attempts=tuple(self.attempts.values()), cursor=f"journal-1:{len(self._events)}")
        answer = {"attempts": "some"} if self.list_unreadable else listing.dump()
        return await self._admit(request) or JSONResponse(answer)

    async def _attempt(self, request: Request) -> Response:
        refusal = await self._admit(request)
        if refusal is not None:
            return refusal
        shard_uid = request.path_params["shard_uid"]
        if self.deaf:
            await asyncio.Event().wait()
        if request.method == "DELETE":
            self.attempts.pop(shard_uid, None)
            return Response(status_code=204)
        status = attempt_status(shard_uid, AttemptState.ACCEPTED)
        await self.report(status)
        return JSONResponse(status.dump())

    async def _lane(self, request: Request) -> Response:
        refusal = await self._admit(request)
        if refusal is not None:
            return refusal
        uid, generation = request.path_params["uid"], request.path_params["generation"]
        if not self.knows_lanes:
            return JSONResponse({"detail": "Not Found"}, 404)
        if request.method == "DELETE":
            self.lanes.pop(uid, None)
            return Response(status_code=204)
        if request.method == "PUT" and (uid not in self.lanes or self.lanes[uid].generation < generation):
            self.lanes[uid] = LaneStatus(
                endpoint_uid=uid,
                generation=generation,
                spec_digest=json.loads(self.seen[-1].body)["specDigest"],
                namespace="speech",
                endpoint="captions",
                state=LaneState.LOADING,
            )
        found = self.lanes.get(uid)
        if found is None or found.generation != generation:
            return JSONResponse({"message": "no such lane"}, 404)
        return JSONResponse(found.dump())

    async def _renew(self, request: Request) -> Response:
        return await self._admit(request) or JSONResponse(RenewAnswer(renewed=0).dump())

    async def _ack(self, request: Request) -> Response:
        return await self._admit(request) or Response(status_code=204)

    async def _ledger(self, request: Request) -> Response:
        first = int(request.query_params["after"]) + 1
        chain_id = request.query_params.get("chain", CHAIN)
        rows = self.rows if chain_id == CHAIN else self.older[chain_id]
        page = LedgerPage(chain_id=chain_id, rows=tuple(rows[first : first + 2]))  # small pages: several are needed
        refusal = await self._admit(request)
        await self._history.wait()
        return refusal or JSONResponse(page.dump())

    async def _chains(self, request: Request) -> Response:
        chains = [
            LedgerChain(chain_id=chain_id, ledger_key=self.public_key, sequence=len(rows) - 1)
            for chain_id, rows in ({CHAIN: self.rows} | self.older).items()
        ]
        return await self._admit(request) or JSONResponse(LedgerChains(chains=tuple(chains)).dump())

    async def _stream(self, request: Request) -> Response:
        refusal = await self._admit(request)
        if refusal is not None:
            return refusal
        return StreamingResponse(self._lines(int(request.query_params["after"].split(":")[1])), 200)

    async def _lines(self, sent: int) -> AsyncIterator[bytes]:
        while True:
            heartbeat = Event(type=EventType.HEARTBEAT, cursor=f"journal-1:{sent}")
            batch = self._events[sent:] or [heartbeat]
            sent += 0 if batch == [heartbeat] else len(batch)
            if not self.silent:
                for event in batch:
                    yield json.dumps(event.dump()).encode() + b"\n"
            await self._wait_beyond(sent)

    async def _wait_beyond(self, sent: int) -> None:
        async with self._changed:
            with contextlib.suppress(TimeoutError):  # time for a heartbeat
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self._changed.wait_for(lambda: len(self._events) > sent)
