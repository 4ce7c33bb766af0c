"""What the operator's client of an agent uses of httpx, without what costs most of it: pools, URLs, cookies, encodings.

Everything that the client decides by is httpx's own: exceptions, codes and byte streams.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import httpx

Headers = dict[str, str]


@dataclass(frozen=True, slots=True)
class Url:
    path: str
    params: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    url: Url
    headers: Headers
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    request: Request
    status_code: int
    headers: Headers
    content: bytes = b""
    stream: httpx.AsyncByteStream | None = None

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code < 300

    async def aiter_raw(self) -> AsyncIterator[bytes]:
        if self.stream is None:
            yield self.content
            return
        async for chunk in self.stream:
            yield chunk

    async def aclose(self) -> None:
        if self.stream is not None:
            await self.stream.aclose()


class Transport(Protocol):
    handle: Callable[[Request], Awaitable[Response]]


@dataclass
class AsyncClient:
    base_url: str
    headers: Headers
    timeout: object
    trust_env: bool
    transport: Transport
    is_closed: bool = field(default=False, init=False)

    async def aclose(self) -> None:
        self.is_closed = True

    def build_request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: object = None,
        headers: Headers | None = None,
        timeout: object = None,  # httpx's name; the client has a timeout of its own around each call
    ) -> Request:
        content = b"" if json is None else _encoded(json)
        return Request(method, Url(path, params or {}), {**self.headers, **(headers or {})}, content)

    async def send(self, request: Request, *, stream: bool) -> Response:
        if self.is_closed:
            raise RuntimeError("the client is closed")
        return await self.transport.handle(request)


class LightHttpx:
    """In the place of the module httpx."""

    AsyncClient = AsyncClient
    HTTPError, StreamError = httpx.HTTPError, httpx.StreamError
    codes = httpx.codes

    @staticmethod
    def Timeout(*_: float, **__: float) -> None:  # noqa: N802 # httpx's name
        return


def _encoded(content: object) -> bytes:
    return json.dumps(content).encode()
