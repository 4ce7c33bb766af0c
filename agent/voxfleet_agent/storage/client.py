"""HTTP to one host. Nothing is ambient: no cookies, proxies or netrc, and no redirect is followed here."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpcore

from voxfleet_agent.addresses import split_authority
from voxfleet_agent.storage.answers import refusal
from voxfleet_agent.storage.content import Content
from voxfleet_agent.storage.network import PublicNetworks, VettedBackend
from voxfleet_api.failures import FailureClass, VoxFleetError

MAX_CONNECTIONS = 32
IDLE_CONNECTION_SECONDS = 30.0
ERROR_BODY_BYTES = 2**14

# At DEBUG it shows every header of an answer, and where a redirect leads may be presigned.
logging.getLogger("httpcore").setLevel(logging.INFO)


@dataclass(frozen=True, slots=True)
class Timeouts:
    connect_seconds: float = 10.0
    idle_seconds: float = 60.0
    """Between two pieces of a body."""
    answer_seconds: float = 120.0
    """From the request to the head of the answer; an upload has the time of its bytes on top."""
    bytes_per_second: int = 4096
    """A transfer that is slower on average, after `idle_seconds`, is broken off."""


@dataclass(frozen=True, slots=True)
class Trust:
    """How hosts are reached."""

    networks: PublicNetworks = field(default_factory=lambda: PublicNetworks(()))
    ca_bundle: Path | None = None
    timeouts: Timeouts = Timeouts()


class Answer:
    """The head of an answer, and its body as it comes."""

    def __init__(self, response: httpcore.Response, timeouts: Timeouts) -> None:
        self.status = response.status
        self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        self._response = response
        self._timeouts = timeouts

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        """Raises VoxFleetError(TRANSPORT) when the body ends early, stalls or trickles."""
        started, received_bytes = time.monotonic(), 0
        with _translated():
            async for block in self._response.aiter_stream():
                yield block
                received_bytes += len(block)
                allowed_seconds = self._timeouts.idle_seconds + received_bytes / self._timeouts.bytes_per_second
                if time.monotonic() - started > allowed_seconds:
                    raise VoxFleetError(FailureClass.TRANSPORT, "the storage sends too slowly")

    async def read(self, limit_bytes: int) -> bytes:
        """The body, or its beginning when it is longer."""
        content = bytearray()
        async with aclosing(self.blocks()) as blocks:
            async for block in blocks:
                content += block
                if len(content) >= limit_bytes:
                    break
        return bytes(content[:limit_bytes])

    async def refusal(self) -> VoxFleetError:
        """What a status that nobody expects means."""
        return refusal(self.status, self.headers, await self.read(ERROR_BODY_BYTES), time.time())


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
        self._pool = httpcore.AsyncConnectionPool(
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
    ) -> AsyncIterator[Answer]:
        """`target`: the encoded path and query. `part`: which bytes of the content are sent; absent: all.

        Raises VoxFleetError(TRANSPORT | ACCESS_DENIED) when there is no answer.
        """
        start, stop = part or (0, 0 if content is None else content.size_bytes)
        sent = {"Host": self.host_header, "Accept-Encoding": "identity", **headers}
        if content is not None or method == "PUT":
            sent["Content-Length"] = str(stop - start)
        request = httpcore.Request(
            method,
            httpcore.URL(scheme=self._scheme, host=self._host, port=self._port, target=target.encode("ascii")),
            headers=[(name.encode("ascii"), value.encode("latin-1")) for name, value in sent.items()],
            content=None if content is None else content.blocks(start, stop),
            extensions={
                "timeout": {
                    "connect": self._timeouts.connect_seconds,
                    "read": self._timeouts.idle_seconds,
                    "write": self._timeouts.idle_seconds,
                    "pool": self._timeouts.answer_seconds,
                }
            },
        )
        deadline_seconds = self._timeouts.answer_seconds + (stop - start) / self._timeouts.bytes_per_second
        with _translated():
            async with asyncio.timeout(deadline_seconds):
                response = await self._pool.handle_async_request(request)
        try:
            yield Answer(response, self._timeouts)
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        await self._pool.aclose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, OSError, TimeoutError) as error:
        # What is raised below may quote what the other side sent.
        raise _classified(error) from None


def _classified(error: Exception) -> VoxFleetError:
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
        return VoxFleetError(
            FailureClass.ACCESS_DENIED,
            "the host's certificate is not trusted or is not its own; check https.caBundle in the agent's file",
        )
    if isinstance(error, httpcore.ConnectError | httpcore.ConnectTimeout):
        return VoxFleetError(FailureClass.TRANSPORT, "the storage cannot be reached; check endpoint and network")
    if isinstance(error, httpcore.TimeoutException | TimeoutError):
        return VoxFleetError(FailureClass.TRANSPORT, "the storage does not answer in time")
    return VoxFleetError(FailureClass.TRANSPORT, f"the connection to the storage broke ({type(error).__name__})")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
