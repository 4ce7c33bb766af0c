"""The agent's HTTP API. Raises AgentRefused or AgentUnreachable, which mac_view.py explains.

MacRejected is raised for an answer that no honest agent gives.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

import httpx
from pydantic import SecretStr, ValidationError
from pydantic.alias_generators import to_camel

from voxfleet_api.base import ApiModel
from voxfleet_api.endpoint_lanes import LaneRequest, LaneStatus
from voxfleet_api.machine_messages import Identity, MachineFacts
from voxfleet_api.order_age import CLOCK_HEADER, GOOD_UNTIL_HEADER
from voxfleet_api.protocol import (
    CONTROL_PLANE_HEADER,
    EPOCH_HEADER,
    LEADER_HEADER,
    AttemptList,
    AttemptRequest,
    AttemptStatus,
    Event,
    EventAck,
    LadderList,
    LedgerChains,
    LedgerPage,
    Problem,
    RenewAnswer,
    RenewRequest,
    S3Credentials,
)
from voxfleet_operator.fleet.agent_clock import AgentClock
from voxfleet_operator.fleet.dialer import AgentConnection
from voxfleet_operator.fleet.event_pace import EventPace
from voxfleet_operator.fleet.mac_view import AgentRefused, AgentUnreachable
from voxfleet_operator.fleet.refusals import check_held_epoch, retry_after_seconds

# At debug level these libraries log request headers, the token among them.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

MAX_ANSWER_BYTES = 16 * 2**20
GOOD_FOR_CALLS = 2
"""An order holds for so many times as long as its answer is waited for: one that arrives later has been given up, and
the margin after a lease covers it."""
MAX_EVENT_BYTES = 2**20
LEDGER_PAGE_ROWS = 200
LIST_PAGE_ATTEMPTS = 200
MAX_LISTED_ATTEMPTS = 100_000
"""Far more than an agent holds: what ended and is settled is deleted there."""
# A call gets a StreamError when its session closes the client meanwhile.
TRANSPORT_ERRORS = (httpx.HTTPError, httpx.StreamError)

M = TypeVar("M", bound=ApiModel)


class AgentClient:
    """Calls one agent. `epoch` is read at each call; on a 412, `on_stale_epoch` gets the epoch that the agent holds."""

    def __init__(
        self,
        connection: AgentConnection,
        *,
        control_plane: str,
        leader: str,
        epoch: Callable[[], int],
        on_stale_epoch: Callable[[int], None],
        call_seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._control_plane = control_plane
        self._leader = leader
        self._epoch = epoch
        self._on_stale_epoch = on_stale_epoch
        self._call_seconds = call_seconds
        self._clock = clock
        self._agent_clock = AgentClock()
        self._token: SecretStr | None = None
        self._http = httpx.AsyncClient(
            base_url=connection.base_url,
            headers={"Accept-Encoding": "identity"},  # the size of a compressed answer has no bound
            timeout=httpx.Timeout(call_seconds),
            trust_env=False,
            transport=connection.transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def identity(self, nonce: str) -> Identity:
        """Asks the agent for its identity; the only call without a token."""
        request = self._http.build_request("GET", "/v1/identity", params={"nonce": nonce})
        return _parse(Identity, await self._answer(request))

    def authorize(self, token: SecretStr) -> None:
        """Makes later calls carry the token. To be called only after the agent has proven its identity."""
        self._token = token

    async def machine(self) -> MachineFacts:
        return _parse(MachineFacts, await self._call("GET", "/v1/machine"))

    async def ladders(self) -> LadderList:
        """To be called only if the machine's facts name a revision: an older agent does not know the call."""
        return _parse(LadderList, await self._call("GET", "/v1/ladders"))

    async def attempts(self) -> AttemptList:
        """All attempts, page by page, and the cursor of the first page. An agent that knows no pages sends all."""
        listed: list[AttemptStatus] = []
        cursor, token = None, None
        while True:
            params = {"limit": str(LIST_PAGE_ATTEMPTS)} | ({} if token is None else {"continue": token})
            page = _parse(AttemptList, await self._call("GET", "/v1/attempts", params=params))
            listed += page.attempts
            cursor, token = cursor or page.cursor, page.continue_token
            if token is None:
                return AttemptList(attempts=tuple(listed), cursor=cursor)
            if len(listed) > MAX_LISTED_ATTEMPTS or not page.attempts:
                raise AgentUnreachable(f"/v1/attempts: the list does not end after {len(listed)} attempts")

    async def put_attempt(self, shard_uid: str, attempt: int, request: AttemptRequest) -> AttemptStatus:
        body = request.dump()
        if request.credentials is not None:
            body["credentials"] = _revealed(request.credentials)
        return _parse(AttemptStatus, await self._call("PUT", f"/v1/attempts/{shard_uid}/{attempt}", body=body))

    async def delete_attempt(self, shard_uid: str, attempt: int) -> bool:
        """True once nothing of it is left on the Mac."""
        answer = await self._call("DELETE", f"/v1/attempts/{shard_uid}/{attempt}")
        return answer.status == httpx.codes.NO_CONTENT

    async def put_lane(self, uid: str, generation: int, request: LaneRequest) -> LaneStatus:
        body = request.dump()
        if request.credentials is not None:
            body["credentials"] = _revealed(request.credentials)
        return _parse(LaneStatus, await self._call("PUT", f"/v1/lanes/{uid}/{generation}", body=body))

    async def lane(self, uid: str, generation: int) -> LaneStatus | None:
        """None: the agent has no such lane."""
        try:
            return _parse(LaneStatus, await self._call("GET", f"/v1/lanes/{uid}/{generation}"))
        except AgentRefused as refusal:
            if refusal.status != httpx.codes.NOT_FOUND:
                raise
            return None

    async def delete_lane(self, uid: str, generation: int) -> bool:
        """True once nothing of it is left on the Mac; an agent that knows no lanes has none."""
        try:
            answer = await self._call("DELETE", f"/v1/lanes/{uid}/{generation}")
        except AgentRefused as refusal:
            if refusal.status != httpx.codes.NOT_FOUND:
                raise
            return True
        return answer.status == httpx.codes.NO_CONTENT

    async def renew(self, request: RenewRequest) -> RenewAnswer:
        return _parse(RenewAnswer, await self._call("POST", "/v1/renew", body=request.dump()))

    async def ledger(self, after: int, *, chain_id: str | None = None, limit: int = LEDGER_PAGE_ROWS) -> LedgerPage:
        """`chain_id`: of a chain before the current one, which only some agents serve."""
        params = {"after": str(after), "limit": str(limit)} | ({} if chain_id is None else {"chain": chain_id})
        answer = await self._call("GET", "/v1/ledger", params=params)
        return await asyncio.to_thread(_parse, LedgerPage, answer)  # some 20 ms, page after page

    async def ledger_chains(self) -> LedgerChains:
        return _parse(LedgerChains, await self._call("GET", "/v1/ledger/chains"))

    async def acknowledge(self, cursor: str) -> None:
        await self._call("POST", "/v1/events/ack", body=EventAck(cursor=cursor).dump())

    @asynccontextmanager
    async def events(self, after: str, silence_seconds: float, pace: EventPace) -> AsyncIterator[AsyncIterator[Event]]:
        """Opens the event stream. Iterating raises AgentUnreachable when it ends or is silent for too long."""
        request = self._request("GET", "/v1/events", params={"after": after}, read_seconds=silence_seconds)
        try:
            async with asyncio.timeout(self._call_seconds):
                response = await self._send(request)
                if not response.is_success:
                    raise await self._refused(response)
        except (*TRANSPORT_ERRORS, TimeoutError) as error:
            raise AgentUnreachable(f"GET /v1/events: {_text(error)}") from error
        try:
            yield _events(_paced(response.aiter_raw(), pace, self._clock), silence_seconds)
        finally:
            await response.aclose()

    def _request(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: dict[str, object] | None = None,
        read_seconds: float | None = None,
    ) -> httpx.Request:
        if self._token is None:
            raise RuntimeError(f"{method} {path} before the agent's identity was proven")
        headers = {
            "Authorization": f"Bearer {self._token.get_secret_value()}",
            CONTROL_PLANE_HEADER: self._control_plane,
        }
        if method != "GET":
            headers |= {EPOCH_HEADER: str(self._epoch()), LEADER_HEADER: self._leader}
        good_until = self._agent_clock.good_until(GOOD_FOR_CALLS * self._call_seconds, self._clock())
        if good_until is not None and method in ("PUT", "POST"):  # what was to be deleted never runs again
            headers[GOOD_UNTIL_HEADER] = str(good_until)
        timeout = httpx.Timeout(self._call_seconds, read=read_seconds or self._call_seconds)
        return self._http.build_request(method, path, params=params, json=body, headers=headers, timeout=timeout)

    async def _call(
        self, method: str, path: str, *, params: dict[str, str] | None = None, body: dict[str, object] | None = None
    ) -> _Answer:
        return await self._answer(self._request(method, path, params=params, body=body))

    async def _answer(self, request: httpx.Request) -> _Answer:
        try:
            async with asyncio.timeout(self._call_seconds):
                response = await self._send(request)
                try:
                    if not response.is_success:
                        raise await self._refused(response)
                    return _Answer(request.url.path, response.status_code, await _content(response))
                finally:
                    await response.aclose()
        except (*TRANSPORT_ERRORS, TimeoutError) as error:
            raise AgentUnreachable(f"{request.method} {request.url.path}: {_text(error)}") from error

    async def _send(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await self._http.send(request, stream=True)
        except RuntimeError as error:
            # Whoever closed the client did so because the connection ended; httpx takes a later call for a mistake.
            if not self._http.is_closed:
                raise
            raise AgentUnreachable(f"{request.method} {request.url.path}: the connection was closed") from error
        self._agent_clock.answered(response.headers.get(CLOCK_HEADER), self._clock())
        return response

    async def _refused(self, response: httpx.Response) -> AgentRefused:
        content = await _content(response)
        try:
            problem = Problem.load_json(content)
        except ValidationError:
            problem = Problem(message="the answer says no more; look into the agent's log")
        if response.status_code == httpx.codes.PRECONDITION_FAILED:
            sent = int(response.request.headers.get(EPOCH_HEADER, self._epoch()))
            self._on_stale_epoch(check_held_epoch(problem.held_epoch, sent))
        retry_seconds = retry_after_seconds(response.headers.get("Retry-After", ""))
        return AgentRefused(response.status_code, problem, retry_seconds)


@dataclass(frozen=True, slots=True)
class _Answer:
    path: str
    status: int
    content: bytes


async def _content(response: httpx.Response) -> bytes:
    """The body, of bounded size."""
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise AgentUnreachable(f"{response.request.url.path}: the answer is larger than {MAX_ANSWER_BYTES} bytes")
    return bytes(content)


async def _paced(chunks: AsyncIterator[bytes], pace: EventPace, clock: Callable[[], float]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        if (wait_seconds := pace.wait_seconds(chunk, clock())) > 0:
            await asyncio.sleep(wait_seconds)
        yield chunk


async def _events(chunks: AsyncIterator[bytes], silence_seconds: float) -> AsyncIterator[Event]:
    pending = bytearray()  # which is not copied for each of many small chunks
    while True:
        try:
            # The timeout covers whole lines: a stream that drips bytes but never ends a line counts as silent, too.
            async with asyncio.timeout(silence_seconds):
                chunk = b""
                while b"\n" not in chunk:
                    chunk = await anext(chunks)
                    pending += chunk
                    if len(pending) > MAX_EVENT_BYTES:
                        raise AgentUnreachable(f"an event is larger than {MAX_EVENT_BYTES} bytes")
        except StopAsyncIteration:
            raise AgentUnreachable("the agent ended the event stream") from None
        except TimeoutError as error:
            raise AgentUnreachable(f"no event and no heartbeat for {silence_seconds:g} s") from error
        except TRANSPORT_ERRORS as error:
            raise AgentUnreachable(f"the event stream broke: {_text(error)}") from error
        *lines, rest = bytes(pending).split(b"\n")
        pending = bytearray(rest)
        for line in filter(None, lines):
            await asyncio.sleep(0)  # others take their turn between two events of one read
            try:
                yield Event.load_json(line)
            except ValidationError as error:
                raise AgentUnreachable(f"an event cannot be read: {_fields(error)}") from error


def _parse(kind: type[M], answer: _Answer) -> M:
    try:
        return kind.load_json(answer.content)
    except ValidationError as error:
        raise AgentUnreachable(f"{answer.path}: the answer cannot be read: {_fields(error)}") from error


def _fields(error: ValidationError) -> str:
    """Names the wrong fields without their values."""
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:3])


def _revealed(credentials: S3Credentials) -> dict[str, str]:
    """The JSON form with the secrets in plain text, which pydantic would mask."""
    return {
        to_camel(name): value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in credentials
        if value is not None
    }


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
