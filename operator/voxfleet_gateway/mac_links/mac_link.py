"""The gateway's transport to one Mac: dialled when it is needed, dialled again when it breaks, closed when idle."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import aiohttp
import structlog

from voxfleet_api.endpoint_lanes import LaneKey
from voxfleet_api.kinds import MacAgent
from voxfleet_api.protocol import CONTROL_PLANE_HEADER
from voxfleet_api.session_protocol import sessions_path
from voxfleet_gateway.mac_links.connectors import connector_to
from voxfleet_gateway.mac_links.lane_socket import LaneSocket, OpenRequest, open_lane_socket
from voxfleet_gateway.mac_links.link_state import LinkState
from voxfleet_gateway.mac_links.redial_pauses import pause_seconds
from voxfleet_gateway.mac_links.refused_openings import OpeningRefused, Refusal
from voxfleet_operator.fleet.admission import agent_token
from voxfleet_operator.fleet.dialer import AddressedConnection, DialError, SecretReader
from voxfleet_operator.fleet.identity import MacRejected
from voxfleet_operator.fleet.mac_view import AgentUnreachable, SecretMissing

IDLE_SECONDS = 600.0
LOOK_SECONDS = 1.0
"""How often an open link looks whether its connection is still there."""
DOUBT_SECONDS = 5.0
"""After an opening without an answer; later the next one tries again, if other sessions still live on the link."""

log = structlog.get_logger(__name__)


class DialsMacs(Protocol):
    """fleet.transports.Transports implements it."""

    def same_connection(self, one: MacAgent, other: MacAgent) -> bool: ...

    async def dial(self, mac: MacAgent) -> AbstractAsyncContextManager[AddressedConnection]: ...


class _Way:
    """An open connection, and what calls through it carry."""

    def __init__(self, client: aiohttp.ClientSession, base_url: str, headers: dict[str, str]) -> None:
        self.client = client
        self.base_url = base_url
        self.headers = headers


class MacLink:
    """`clock` is monotonic, in seconds."""

    def __init__(
        self,
        mac: MacAgent,
        dialer: DialsMacs,
        secrets: SecretReader,
        *,
        control_plane: str,
        max_connections: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.mac = mac
        self._dialer = dialer
        self._secrets = secrets
        self._control_plane = control_plane
        self._max_connections = max_connections
        self._clock = clock
        self._state = LinkState.CLOSED
        self._way: _Way | None = None
        self._changed = asyncio.Condition()
        self._look = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._used_seconds = clock()
        self._doubted: str | None = None
        self._doubted_seconds = 0.0
        self._doubted_for_silence = False
        self._retired = False
        self.sessions: set[LaneSocket] = set()

    @property
    def state(self) -> LinkState:
        """A link of which an opening got no answer gets no further session."""
        if self._state is LinkState.UP and self._is_doubted():
            return LinkState.DOWN
        return self._state

    def wake(self) -> None:
        """Dials, unless it did already. It is closed after IDLE_SECONDS in which nobody called this."""
        self._used_seconds = self._clock()
        if self._task is None or self._task.done():
            self._state = LinkState.DIALLING
            self._task = asyncio.create_task(self._keep(), name=f"link-{self.mac.metadata.name}")

    def retire(self) -> None:
        """It takes no new session, and is closed when its last one has ended."""
        self._retired = True
        self._look.set()

    @property
    def is_retired(self) -> bool:
        return self._retired

    @property
    def is_over(self) -> bool:
        return self._task is None or self._task.done()

    async def close(self) -> None:
        """Ends its sessions, too."""
        self._retired = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @asynccontextmanager
    async def session(
        self,
        key: LaneKey,
        request: OpenRequest,
        on_end: Callable[[], None],
        *,
        wait_seconds: float,
        answer_seconds: float,
    ) -> AsyncIterator[LaneSocket]:
        """`wait_seconds`: for a link that is being dialled. `answer_seconds`: for the lane. Raises OpeningRefused."""
        self.wake()
        way = await self._ready(wait_seconds)
        url, name = f"{way.base_url}{sessions_path(key)}", self.mac.metadata.name
        opening = open_lane_socket(way.client, url, way.headers, request, name, answer_seconds, on_end, self._clock)
        try:
            session = await opening.__aenter__()
        except OpeningRefused as refusal:
            if refusal.refusal in (Refusal.UNREACHABLE, Refusal.NOT_ADMITTED) and way is self._way:
                self._doubted, self._doubted_seconds = refusal.message, self._clock()
                self._doubted_for_silence = refusal.refusal is Refusal.UNREACHABLE
                self._look.set()
            raise
        self.sessions.add(session)
        try:
            yield session
        finally:
            self.sessions.discard(session)
            self._used_seconds = self._clock()
            self._look.set()
            await opening.__aexit__(None, None, None)

    async def _ready(self, wait_seconds: float) -> _Way:
        try:
            async with asyncio.timeout(wait_seconds), self._changed:
                await self._changed.wait_for(lambda: self.state is not LinkState.DIALLING)
        except TimeoutError as error:
            raise OpeningRefused(Refusal.UNREACHABLE, "the Mac is still being dialled") from error
        if self._way is None or self._is_doubted() or self._retired:
            raise OpeningRefused(Refusal.UNREACHABLE, "the link to the Mac is down")
        return self._way

    async def _keep(self) -> None:
        failures = 0
        try:
            while not self._is_done():
                # Only the first dial is worth waiting for: a Mac that failed stays out of the way until it is up.
                await self._turn(LinkState.DOWN if failures else LinkState.DIALLING)
                try:
                    async with await self._dialer.dial(self.mac) as connection, self._open(connection) as way:
                        self._way, self._doubted = way, None
                        await self._turn(LinkState.UP)
                        lasted = self._clock()
                        trouble = await self._until_over(connection)
                        self._way = None  # nobody begins on it while it is being closed
                        await self._turn(LinkState.DIALLING if trouble is None else LinkState.DOWN)
                        if self._clock() - lasted > LOOK_SECONDS:
                            failures = 0
                except (DialError, SecretMissing, AgentUnreachable, MacRejected, OSError) as error:
                    trouble = str(error)
                finally:
                    self._way = None
                if trouble is None:  # nobody needs it, unless somebody came meanwhile
                    continue
                failures += 1
                log.warning("link lost, dialled again soon", mac=self.mac.metadata.name, error=trouble)
                await self._turn(LinkState.DOWN)
                await asyncio.sleep(pause_seconds(failures, random.random()))  # noqa: S311 # no secret
        finally:
            self._state = LinkState.CLOSED
            await asyncio.shield(self._turn(LinkState.CLOSED))

    @asynccontextmanager
    async def _open(self, connection: AddressedConnection) -> AsyncIterator[_Way]:
        ref = self.mac.spec.session_token_secret_ref
        if ref is None:
            raise AgentUnreachable("spec.sessionTokenSecretRef is missing; store the agent's sessionTokenFile there")
        token = agent_token(await self._secrets(ref.name, ref.key), ref)
        connector, base_url = connector_to(connection.address, self._max_connections)
        headers = {
            "Authorization": f"Bearer {token.get_secret_value()}",
            CONTROL_PLANE_HEADER: self._control_plane,
        }
        async with aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=None), trust_env=False
        ) as client:
            yield _Way(client, base_url, headers)

    async def _until_over(self, connection: AddressedConnection) -> str | None:
        """Why it is to be dialled again; None: nobody needs it any more."""
        while True:
            if connection.ended is not None:
                if connection.is_broken or not self.sessions:
                    return connection.ended.message
                self.retire()  # what goes through it goes on, and the next session gets another link
            if self.sessions:
                # They find out by themselves whether the connection still carries, and none ends another's.
                if self._doubted is not None and self._clock() - self._doubted_seconds > DOUBT_SECONDS:
                    self._doubted = None
            else:
                if self._doubted is not None:
                    refusal = connection.refusal
                    return self._doubted if refusal is None else refusal.message
                if self._is_done():
                    return None
            self._look.clear()
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._look.wait()
            except TimeoutError:
                continue

    def _is_doubted(self) -> bool:
        """A Mac that was silent and is heard again was busy: a crowd at one endpoint bars nobody from the others."""
        if self._doubted is not None and self._doubted_for_silence:
            heard = (session.heard_from_seconds for session in self.sessions)
            if max(heard, default=0.0) > self._doubted_seconds:
                self._doubted = None
        return self._doubted is not None

    def _is_done(self) -> bool:
        return self._retired or (not self.sessions and self._clock() - self._used_seconds > IDLE_SECONDS)

    async def _turn(self, state: LinkState) -> None:
        async with self._changed:
            self._state = state
            self._changed.notify_all()
