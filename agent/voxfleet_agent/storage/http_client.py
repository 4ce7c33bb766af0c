"""HTTP to one host. Nothing is ambient: no cookies, proxies or netrc, and no redirect is followed here."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpcore2

from voxfleet_agent.addresses import split_authority
from voxfleet_agent.storage.egress_policy import PublicNetworks, VettedBackend
from voxfleet_agent.storage.http_errors import refusal
from voxfleet_agent.storage.stall_detection import MinimumSpeed, SpeedLimit
from voxfleet_agent.storage.upload_content import Content
from voxfleet_api.failures import FailureClass, VoxFleetError

MAX_CONNECTIONS = 32
IDLE_CONNECTION_SECONDS = 30.0
ERROR_BODY_BYTES = 2**14

# At DEBUG it shows every header of an answer, and where a redirect leads may be presigned.
logging.getLogger("httpcore2").setLevel(logging.INFO)


@dataclass(frozen=True, slots=True)
class Timeouts:
    connect_seconds: float = 10.0
    """To connect, and again for the TLS handshake."""
    answer_seconds: float = 120.0
    """From the last byte of the request to the head of the answer."""
    idle_seconds: float = 60.0
    bytes_per_second: int = 4096
    """Within each `idle_seconds` of waiting, bodies in both directions have to be this fast on average."""
    listing_seconds: float = 3600.0
    """For all answers of one listing together: a million names need a thousand of them."""

    @property
    def speed(self) -> SpeedLimit:
        return SpeedLimit(self.window_bytes, self.idle_seconds)

    @property
    def window_bytes(self) -> int:
        return max(1, int(self.bytes_per_second * self.idle_seconds))


@dataclass(frozen=True, slots=True)
class Trust:
    """How hosts are reached."""

    networks: PublicNetworks = field(default_factory=lambda: PublicNetworks(()))
    ca_bundle: Path | None = None
    timeouts: Timeouts = Timeouts()


class HttpAnswer:
    """The head of an answer, and its body as it comes."""

    def __init__(self, response: httpcore2.Response, timeouts: Timeouts) -> None:
        self.status = response.status
        self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        self._stream = response.aiter_stream()
        self._timeouts = timeouts
        self._came_bytes = 0

    async def blocks(self, limit: SpeedLimit | None = None) -> AsyncGenerator[bytes, None]:
        """Raises VoxFleetError(TRANSPORT) when the body ends early, stalls or trickles."""
        pace = MinimumSpeed(limit or self._timeouts.speed)
        with _translated():
            while (block := await pace.next_block(self._stream)) is not None:
                self._came_bytes += len(block)
                yield block

    async def read(self, limit_bytes: int, limit: SpeedLimit | None = None) -> bytes:
        """The body, or its beginning when it is longer."""
        content = bytearray()
        async with aclosing(self.blocks(limit)) as blocks:
            async for block in blocks:
                content += block
                if len(content) >= limit_bytes:
                    break
        return bytes(content[:limit_bytes])

    async def read_late(self, limit_bytes: int) -> bytes:
        """Like `read`, of a server that is at work yet: whatever its pace, it has the time of an answer's head."""
        return await self.read(limit_bytes, SpeedLimit(None, self._timeouts.answer_seconds))

    async def refusal(self) -> VoxFleetError:
        """What a status that nobody expects means."""
        return refusal(self.status, self.headers, await self.read(ERROR_BODY_BYTES), time.time())

    async def finish(self) -> None:
        """Notices the end of a body that came whole, without which its connection is good for nothing more."""
        length = "0" if self.status == 204 else self.headers.get("content-length", "")
        chunked = "transfer-encoding" in self.headers
        if not chunked and re.fullmatch(r"[0-9]{1,18}", length) and int(length) == self._came_bytes:
            with _translated():
                await MinimumSpeed(self._timeouts.speed).next_block(self._stream)


class HttpClient:
    """Keeps connections open until `aclose`."""

    def __init__(self, scheme: Literal["http", "https"], authority: str, trust: Trust) -> None:
        """`authority`: host and port, such as `example.com:443`."""
        host, port = split_authority(authority)
        self._scheme, self._host, self._port = scheme.encode(), host.encode(), port
        self._timeouts = trust.timeouts
        self.host_header = authority.removesuffix(":443" if scheme == "https" else ":80")
        try:
            context = ssl.create_default_context(cafile=trust.ca_bundle) if scheme == "https" else None
        except (OSError, ssl.SSLError) as error:
            raise VoxFleetError(
                FailureClass.ACCESS_DENIED, "https.caBundle in the agent's file holds no readable certificates"
            ) from error
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=context,
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_CONNECTIONS,
            keepalive_expiry=IDLE_CONNECTION_SECONDS,
            network_backend=VettedBackend(trust.networks, plain_http=scheme == "http"),
        )

    @asynccontextmanager
    async def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        content: Content | None = None,
        part: tuple[int, int] | None = None,
    ) -> AsyncIterator[HttpAnswer]:
        """`target`: the encoded path and query. `part`: which bytes of the content are sent; absent: all.

        Raises VoxFleetError(TRANSPORT | ACCESS_DENIED) when there is no answer.
        """
        start, stop = part or (0, 0 if content is None else content.size_bytes)
        sent = {"Host": self.host_header, "Accept-Encoding": "identity", **headers}
        if content is not None or method == "PUT":
            sent["Content-Length"] = str(stop - start)
        with _translated():
            async with asyncio.timeout(self._timeouts.answer_seconds) as deadline:
                request = httpcore2.Request(
                    method,
                    httpcore2.URL(scheme=self._scheme, host=self._host, port=self._port, target=target.encode("ascii")),
                    headers=[(name.encode("ascii"), value.encode("latin-1")) for name, value in sent.items()],
                    content=None if content is None else self._pieces(content, start, stop, deadline),
                    extensions={
                        "timeout": {
                            "connect": self._timeouts.connect_seconds,
                            "write": self._timeouts.speed.seconds,
                            "pool": self._timeouts.answer_seconds,
                        }
                    },
                )
                try:
                    response = await self._pool.handle_async_request(request)
                except httpcore2.WriteTimeout:
                    raise self._timeouts.speed.too_slow("takes an upload") from None
        try:
            answer = HttpAnswer(response, self._timeouts)
            yield answer
            await answer.finish()
        finally:
            await response.aclose()

    async def _pieces(
        self, content: Content, start: int, stop: int, deadline: asyncio.Timeout
    ) -> AsyncGenerator[bytes, None]:
        """Each is written within the seconds of the speed limit, or the upload is too slow; until the last one is,
        no answer is late."""
        size = self._timeouts.window_bytes
        async for block in content.blocks(start, stop):
            for offset in range(0, len(block), size):
                self._postpone(deadline)
                yield block[offset : offset + size]
        self._postpone(deadline)

    def _postpone(self, deadline: asyncio.Timeout) -> None:
        if not deadline.expired():
            deadline.reschedule(asyncio.get_running_loop().time() + self._timeouts.answer_seconds)

    async def aclose(self) -> None:
        await self._pool.aclose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (
        httpcore2.TimeoutException,
        httpcore2.NetworkError,
        httpcore2.ProtocolError,
        OSError,
        TimeoutError,
    ) as error:
        # What is raised below may quote what the other side sent.
        raise _classified(error) from None


def _classified(error: Exception) -> VoxFleetError:
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
        return VoxFleetError(
            FailureClass.ACCESS_DENIED,
            "the host's certificate is not trusted or is not its own; check https.caBundle in the agent's file",
        )
    if isinstance(error, httpcore2.ConnectError | httpcore2.ConnectTimeout):
        return VoxFleetError(FailureClass.TRANSPORT, "the storage cannot be reached; check endpoint and network")
    if isinstance(error, httpcore2.TimeoutException | TimeoutError):
        return VoxFleetError(FailureClass.TRANSPORT, "the storage does not answer in time")
    return VoxFleetError(FailureClass.TRANSPORT, f"the connection to the storage broke ({type(error).__name__})")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
