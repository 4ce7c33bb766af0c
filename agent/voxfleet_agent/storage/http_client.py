"""HTTP to one host, without ambient state: no cookies, proxies or netrc. Redirects are not followed here."""

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
from voxfleet_agent.storage.http_errors import status_error
from voxfleet_agent.storage.stall_detection import MinimumSpeed, SpeedLimit
from voxfleet_agent.storage.upload_content import Content
from voxfleet_api.failures import FailureClass, VoxFleetError

MAX_CONNECTIONS = 32
IDLE_CONNECTION_SECONDS = 30.0
ERROR_BODY_BYTES = 2**14

# At DEBUG, httpcore2 logs every response header, and the target of a redirect may be presigned.
logging.getLogger("httpcore2").setLevel(logging.INFO)


@dataclass(frozen=True, slots=True)
class Timeouts:
    connect_seconds: float = 10.0
    """The limit for connecting, and again for the TLS handshake."""
    response_seconds: float = 120.0
    """The limit from the last byte of the request to the head of the response."""
    idle_seconds: float = 60.0
    bytes_per_second: int = 4096
    """The minimum average speed of a body, in either direction, within each `idle_seconds` of waiting."""
    listing_seconds: float = 3600.0
    """The limit for all responses of one listing together: a million names take a thousand responses."""

    @property
    def speed(self) -> SpeedLimit:
        return SpeedLimit(self.window_bytes, self.idle_seconds)

    @property
    def window_bytes(self) -> int:
        return max(1, int(self.bytes_per_second * self.idle_seconds))


@dataclass(frozen=True, slots=True)
class Trust:
    """Which hosts may be reached, and which certificates and timeouts apply."""

    networks: PublicNetworks = field(default_factory=lambda: PublicNetworks(()))
    ca_bundle: Path | None = None
    timeouts: Timeouts = Timeouts()


class HttpResponse:
    """The head of a response, and its body as it arrives."""

    def __init__(self, raw: httpcore2.Response, timeouts: Timeouts) -> None:
        self.status = raw.status
        self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw.headers}
        self._stream = raw.aiter_stream()
        self._timeouts = timeouts
        self._received_bytes = 0

    async def blocks(self, limit: SpeedLimit | None = None) -> AsyncGenerator[bytes, None]:
        """Yields the body. Raises VoxFleetError(TRANSPORT) when it ends early, stalls or is too slow."""
        speed = MinimumSpeed(limit or self._timeouts.speed)
        with _transport_errors():
            while (block := await speed.next_block(self._stream)) is not None:
                self._received_bytes += len(block)
                yield block

    async def read(self, limit_bytes: int, limit: SpeedLimit | None = None) -> bytes:
        """The body, or its first `limit_bytes` when it is longer."""
        content = bytearray()
        async with aclosing(self.blocks(limit)) as blocks:
            async for block in blocks:
                content += block
                if len(content) >= limit_bytes:
                    break
        return bytes(content[:limit_bytes])

    async def read_delayed(self, limit_bytes: int) -> bytes:
        """Like `read`, for a server that is still working: without a minimum speed, but within `response_seconds`."""
        return await self.read(limit_bytes, SpeedLimit(None, self._timeouts.response_seconds))

    async def error(self) -> VoxFleetError:
        """The error for an unexpected status."""
        return self.error_in(await self.read(ERROR_BODY_BYTES))

    def error_in(self, body: bytes) -> VoxFleetError:
        """The error for an unexpected status, or for an error that the body of a 200 tells."""
        return status_error(self.status, self.headers, body, time.time())

    async def finish(self) -> None:
        """Reads the end of a body of which every byte has arrived, so that the connection can be used again."""
        length = "0" if self.status == 204 else self.headers.get("content-length", "")
        chunked = "transfer-encoding" in self.headers
        if not chunked and re.fullmatch(r"[0-9]{1,18}", length) and int(length) == self._received_bytes:
            with _transport_errors():
                await MinimumSpeed(self._timeouts.speed).next_block(self._stream)


class HttpClient:
    """Keeps connections open until `aclose`."""

    def __init__(self, scheme: Literal["http", "https"], authority: str, trust: Trust) -> None:
        """`authority`: host and port, such as `example.com:443`."""
        host, port = split_authority(authority)
        self._scheme, self._host, self._port = scheme.encode(), host.encode(), port
        self._timeouts = trust.timeouts
        self.host_header = authority.removesuffix(":443" if scheme == "https" else ":80")
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=_ssl_context(trust.ca_bundle) if scheme == "https" else None,
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
    ) -> AsyncIterator[HttpResponse]:
        """`target`: the encoded path and query. `part`: the range of the content to send; None sends all of it.

        Raises VoxFleetError(TRANSPORT | ACCESS_DENIED) when there is no response.
        """
        start, stop = part or (0, 0 if content is None else content.size_bytes)
        sent = {"Host": self.host_header, "Accept-Encoding": "identity", **headers}
        if content is not None or method == "PUT":
            sent["Content-Length"] = str(stop - start)
        with _transport_errors():
            async with asyncio.timeout(self._timeouts.response_seconds) as deadline:
                request = httpcore2.Request(
                    method,
                    httpcore2.URL(scheme=self._scheme, host=self._host, port=self._port, target=target.encode("ascii")),
                    headers=[(name.encode("ascii"), value.encode("latin-1")) for name, value in sent.items()],
                    content=None if content is None else self._pieces(content, start, stop, deadline),
                    extensions={
                        "timeout": {
                            "connect": self._timeouts.connect_seconds,
                            "write": self._timeouts.speed.seconds,
                            "pool": self._timeouts.response_seconds,
                        }
                    },
                )
                try:
                    raw = await self._pool.handle_async_request(request)
                except httpcore2.WriteTimeout:
                    raise self._timeouts.speed.too_slow("takes an upload") from None
        try:
            response = HttpResponse(raw, self._timeouts)
            yield response
            await response.finish()
        finally:
            await raw.aclose()

    async def _pieces(
        self, content: Content, start: int, stop: int, deadline: asyncio.Timeout
    ) -> AsyncGenerator[bytes, None]:
        """Yields pieces that must each be written within the speed limit's seconds. The response's deadline starts
        with the last one."""
        size = self._timeouts.window_bytes
        async for block in content.blocks(start, stop):
            for offset in range(0, len(block), size):
                self._postpone(deadline)
                yield block[offset : offset + size]
        self._postpone(deadline)

    def _postpone(self, deadline: asyncio.Timeout) -> None:
        if not deadline.expired():
            deadline.reschedule(asyncio.get_running_loop().time() + self._timeouts.response_seconds)

    async def aclose(self) -> None:
        await self._pool.aclose()


@contextmanager
def _transport_errors() -> Iterator[None]:
    try:
        yield
    except (
        httpcore2.TimeoutException,
        httpcore2.NetworkError,
        httpcore2.ProtocolError,
        OSError,
        TimeoutError,
    ) as error:
        # The cause may quote what the server sent.
        raise _transport_error(error) from None


def _ssl_context(ca_bundle: Path | None) -> ssl.SSLContext:
    """Trusts what the machine trusts (macOS: the Keychain; Linux: OpenSSL's folders), and `ca_bundle`."""
    named = "SSL_CERT_FILE or SSL_CERT_DIR"
    try:
        context = httpcore2.default_ssl_context()
        if ca_bundle is not None:
            named = "https.caBundle in the agent's file"
            context.load_verify_locations(cafile=ca_bundle)
        return context
    except (OSError, ssl.SSLError) as error:
        # This Mac's own fault: another one may have its certificates.
        raise VoxFleetError(FailureClass.RUNTIME_MISMATCH, f"{named} holds no readable certificates") from error


def _transport_error(error: Exception) -> VoxFleetError:
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
