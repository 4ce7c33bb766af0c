"""Reaches agents at their own TLS listeners, with a certificate of the operator's."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.mac_agent import HttpsAccess
from voxfleet_operator.fleet.dialer import (
    MAX_CONNECTIONS,
    AddressedConnection,
    DialError,
    SecretReader,
    TlsListener,
    connection_limits,
)
from voxfleet_operator.fleet.https.causes import refusal
from voxfleet_operator.fleet.https.client_tls import TlsMaterial, client_context, read_material
from voxfleet_operator.fleet.https.lookup import Lookup
from voxfleet_operator.fleet.mac_view import SecretMissing

CONNECT_SECONDS = 4.0
"""To find the host, for the connection, and again for the handshake: a call has time for two of them, and then says
why it failed."""
HTTPS_PORT = 443
RELOAD_SECONDS = 300.0
"""How often a connected Mac's Secrets are read again."""


class HttpsDialer:
    def __init__(
        self,
        secrets: SecretReader,
        reload_seconds: float = RELOAD_SECONDS,
        *,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._secrets = secrets
        self._limits = connection_limits(max_connections)
        self._reload_seconds = reload_seconds
        self._lookup = Lookup()

    def same_connection(self, one: MacAgent, other: MacAgent) -> bool:
        return one.spec.https == other.spec.https

    def connected_message(self, mac: MacAgent) -> str:
        return f"connected to {_access(mac).url}"

    async def dial(self, mac: MacAgent) -> AbstractAsyncContextManager[AddressedConnection]:
        access = _access(mac)
        return self._open(access, await read_material(access, self._secrets))

    def close(self) -> None:
        self._lookup.close()

    @asynccontextmanager
    async def _open(self, access: HttpsAccess, material: TlsMaterial) -> AsyncIterator[AddressedConnection]:
        context = await asyncio.to_thread(client_context, material, access)
        url = httpx.URL(access.url)
        try:
            addresses = await self._lookup.addresses(url.host, CONNECT_SECONDS)
        except OSError as error:
            raise refusal(error, access) from error
        # Each new connection is proven by TLS: whoever only takes the agent's port lacks the key of its certificate.
        inner = httpx.AsyncHTTPTransport(verify=context, trust_env=False, retries=0, limits=self._limits)
        listener = TlsListener(url.host, url.port or HTTPS_PORT, addresses, context)
        connection = _HttpsConnection(access, listener, inner)
        reloading = asyncio.create_task(self._end_when_replaced(access, material, connection))
        try:
            yield connection
        finally:
            reloading.cancel()
            await asyncio.gather(reloading, return_exceptions=True)

    async def _end_when_replaced(
        self, access: HttpsAccess, material: TlsMaterial, connection: _HttpsConnection
    ) -> None:
        """Lets the session dial anew once a Secret has other content: no change of a MacAgent tells of that."""
        while True:
            # Macs that share a Secret do not all read it, and leave, at once.
            await asyncio.sleep(self._reload_seconds * random.uniform(0.5, 1.0))  # noqa: S311 # no secret
            with contextlib.suppress(SecretMissing):  # the next dial says so, if nobody puts it back
                if await read_material(access, self._secrets) != material:
                    connection.end(DialError(Reason.CONNECTING, "a Secret of spec.https has changed; dials anew"))
                    return


class _HttpsConnection(httpx.AsyncBaseTransport):
    """An HTTP transport that keeps to the addresses found when it was dialled, and remembers why it failed.

    It raises nothing but what httpx documents.
    """

    def __init__(self, access: HttpsAccess, listener: TlsListener, inner: httpx.AsyncHTTPTransport) -> None:
        self.address = listener
        self._access = access
        self._addresses = listener.addresses
        self._inner = inner
        self.ended: DialError | None = None
        self.refusal: DialError | None = None
        self.is_broken = False
        """It only ends for new certificates; its connections with the old ones are sound."""
        self.base_url = access.url.rstrip("/")

    @property
    def transport(self) -> httpx.AsyncBaseTransport:
        return self

    def end(self, why: DialError) -> None:
        """Fails every later request, and with it the conversation."""
        self.ended = why

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.ended is not None:
            self.refusal = self.ended
            raise httpx.ConnectError(self.ended.message)
        timeout = request.extensions.get("timeout", {})
        request.extensions["timeout"] = {**timeout, "connect": CONNECT_SECONDS}
        try:
            response = await self._send(request)
        except (httpx.TransportError, OSError) as error:
            self.refusal = refusal(error, self._access)
            if isinstance(error, OSError):  # what TLS finds while it reads
                raise httpx.ReadError(str(error)) from error
            raise
        self.refusal = None
        if not isinstance(response.stream, httpx.AsyncByteStream):
            raise TypeError("an asynchronous transport answers with an asynchronous stream")
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=_Stream(response.stream),
            extensions=response.extensions,
        )

    async def _send(self, request: httpx.Request) -> httpx.Response:
        """To the address that answered last; the certificate must be for the name, whatever the address."""
        for _ in self._addresses[1:]:
            try:
                return await self._inner.handle_async_request(self._addressed(request))
            except (httpx.ConnectError, httpx.ConnectTimeout):  # nothing was sent
                first, *others = self._addresses
                self._addresses = (*others, first)
        return await self._inner.handle_async_request(self._addressed(request))

    def _addressed(self, request: httpx.Request) -> httpx.Request:
        return httpx.Request(
            request.method,
            request.url.copy_with(host=self._addresses[0]),
            headers=request.headers,  # with the name as Host
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": request.url.host},
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Stream(httpx.AsyncByteStream):
    """The body of an answer, whose TLS may break while it is read."""

    def __init__(self, inner: httpx.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._inner:
                yield chunk
        except OSError as error:
            raise httpx.ReadError(str(error)) from error

    async def aclose(self) -> None:
        await self._inner.aclose()


def _access(mac: MacAgent) -> HttpsAccess:
    if mac.spec.https is None:
        raise DialError(Reason.INVALID_SPEC, "spec.https is missing; write it, or spec.ssh")
    return mac.spec.https
