"""https:// objects of any web server, which are only read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from urllib.parse import urljoin

from voxfleet_agent.addresses import Address
from voxfleet_agent.storage.http_client import HttpClient, HttpResponse, Trust
from voxfleet_agent.storage.http_objects import HttpObjects
from voxfleet_agent.storage.listing import EnterFolder, Listing
from voxfleet_agent.storage.upload_content import Content
from voxfleet_api.failures import FailureClass, VoxFleetError

MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class WebObjects(HttpObjects):
    """All https hosts that the allow-list names."""

    def __init__(self, resolve: Callable[[str], Address], trust: Trust) -> None:
        """`resolve`: the allow-list, which redirects must also pass."""
        self._resolve = resolve
        self._trust = trust
        self._clients: dict[str, HttpClient] = {}

    async def aclose(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    @asynccontextmanager
    async def get(self, address: Address, headers: Mapping[str, str]) -> AsyncIterator[HttpResponse]:
        async with AsyncExitStack() as stack:
            response = await stack.enter_async_context(self._request(address, headers))
            for _ in range(MAX_REDIRECTS):
                if response.status not in _REDIRECTS:
                    break
                address = self._follow(address, response.headers.get("location", ""))
                await stack.aclose()
                response = await stack.enter_async_context(self._request(address, headers))
            _check_encoding(response)
            yield response

    async def put(self, address: Address, content: Content) -> None:
        raise _only_read()

    async def create(self, address: Address, content: Content) -> bool:
        raise _only_read()

    async def list_objects(self, address: Address, limit: int, enter: EnterFolder) -> Listing:
        raise VoxFleetError(FailureClass.INVALID_INPUT, "web servers have no lists of objects; name each of them")

    def _follow(self, address: Address, location: str) -> Address:
        try:
            target = urljoin(f"https://{address.authority}/{address.key}", location)
        except ValueError:  # its message would quote the location
            target = ""
        if not target.startswith("https://"):
            raise VoxFleetError(FailureClass.ACCESS_DENIED, "the server points to an address that is not https://")
        try:
            return self._resolve(target)
        except VoxFleetError as error:
            raise VoxFleetError(error.failure_class, f"the server points elsewhere: {error.message}") from error

    def _request(self, address: Address, headers: Mapping[str, str]) -> AbstractAsyncContextManager[HttpResponse]:
        client = self._clients.get(address.authority)
        if client is None:
            client = self._clients[address.authority] = HttpClient("https", address.authority, self._trust)
        target = f"/{address.key}?{address.query}" if address.query else f"/{address.key}"
        return client.request("GET", target, headers)


def _only_read() -> VoxFleetError:
    return VoxFleetError(FailureClass.ACCESS_DENIED, "a web server is only read; write outputs to a folder or a bucket")


def _check_encoding(response: HttpResponse) -> None:
    """Raises VoxFleetError(INVALID_INPUT) for a compressed object. The encoding of an error's body does not matter."""
    if response.status < 300 and response.headers.get("content-encoding", "identity").lower() != "identity":
        raise VoxFleetError(
            FailureClass.INVALID_INPUT, "the server sends another encoding than it was asked for; turn it off"
        )
