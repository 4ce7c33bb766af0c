"""https:// objects: read from any server, listed and written on WebDAV servers (RFC 4918)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import quote, unquote, urljoin, urlsplit

from voxfleet_agent.addresses import Address, Scheme
from voxfleet_agent.storage.http_client import HttpClient, HttpResponse, Trust
from voxfleet_agent.storage.http_objects import HttpObjects
from voxfleet_agent.storage.object_store import CLEANUP_SECONDS
from voxfleet_agent.storage.object_version import check_count, check_name
from voxfleet_agent.storage.staging_names import STAGING_PREFIX
from voxfleet_agent.storage.upload_content import BytesContent, Content
from voxfleet_agent.storage.xml_documents import read_document, text_of
from voxfleet_api.failures import FailureClass, VoxFleetError

MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PROPFIND_BODY = BytesContent(
    b'<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop><resourcetype/></prop></propfind>'
)


class WebFolders(HttpObjects):
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
            response = await stack.enter_async_context(self._request("GET", address, headers))
            for _ in range(MAX_REDIRECTS):
                if response.status not in _REDIRECTS:
                    break
                address = self._follow(address, response.headers.get("location", ""))
                await stack.aclose()
                response = await stack.enter_async_context(self._request("GET", address, headers))
            _check_encoding(response)
            yield response

    async def put(self, address: Address, content: Content) -> None:
        await self._write(address, content, replace=True)

    async def create(self, address: Address, content: Content) -> bool:
        return await self._write(address, content, replace=False)

    async def list_names(self, address: Address, limit: int) -> list[str]:
        """Names are percent-encoded, as in an address."""
        names: set[str] = set()
        pending, seen = [address.key], {address.key}
        while pending:
            for key, is_folder in await self._children(Address(Scheme.HTTPS, address.authority, pending.pop())):
                if is_folder and key not in seen:
                    seen.add(key)
                    pending.append(key)
                elif not is_folder and not key.rpartition("/")[2].startswith(STAGING_PREFIX):
                    names.add(key.removeprefix(f"{address.key}/" if address.key else ""))
            check_count(max(len(names), len(seen) - 1), limit)
        return list(names)

    async def _children(self, folder: Address) -> list[tuple[str, bool]]:
        """Returns (key, whether it is a folder) of each direct child; empty when the folder does not exist."""
        headers = {"Depth": "1", "Content-Type": "application/xml"}
        target = Address(Scheme.HTTPS, folder.authority, f"{folder.key}/" if folder.key else "")
        async with self._request("PROPFIND", target, headers, _PROPFIND_BODY) as response:
            if response.status in (404, 410):
                return []
            if response.status in (200, 405, 501):
                raise VoxFleetError(
                    FailureClass.INVALID_INPUT,
                    f"the server cannot list a folder (PROPFIND: HTTP {response.status}); use a WebDAV server or s3://",
                )
            if response.status != 207:
                raise await response.error()
            _check_encoding(response)
            document = await read_document(response)
        above = f"{folder.key}/" if folder.key else ""
        children = []
        for entry in document.iterfind("{*}response"):
            path = _path_of(text_of(entry, "href"))
            relative = unquote(path).removeprefix(unquote(above)).rstrip("/")
            inside = unquote(path).startswith(unquote(above))
            if inside and relative and "/" not in relative:
                is_folder = entry.find(".//{*}resourcetype/{*}collection") is not None
                key = f"{above}{quote(relative)}"
                check_name(key)
                if is_folder:
                    self._resolve(f"https://{folder.authority}/{key}")  # checked before it is listed
                children.append((key, is_folder))
        return children

    async def _write(self, address: Address, content: Content, *, replace: bool) -> bool:
        """Uploads under a temporary name, then moves: servers keep what arrived of an upload that broke off.

        Returns False when the object already existed.
        """
        if address.query:
            raise VoxFleetError(FailureClass.ACCESS_DENIED, "an output's address has no query")
        above = address.key.rpartition("/")[0]
        name = f"{STAGING_PREFIX}{secrets.token_hex(8)}"
        staging = Address(Scheme.HTTPS, address.authority, f"{above}/{name}" if above else name)
        moved = False
        try:
            await self._upload(staging, content)
            moved = await self._move(staging, address, replace=replace)
        finally:
            if not moved:
                await self._delete(staging)
        return moved

    async def _upload(self, address: Address, content: Content) -> None:
        """Uploads, and creates the parent folders if the server requires it."""
        for made_folders in (False, True):
            async with self._request("PUT", address, {}, content) as response:
                if response.status in (200, 201, 204):
                    return
                if response.status not in (404, 409) or made_folders:
                    raise await response.error()
            await self._make_folders(address)

    async def _move(self, staging: Address, address: Address, *, replace: bool) -> bool:
        headers = {
            "Destination": f"https://{address.authority}/{address.key}",
            "Overwrite": "T" if replace else "F",
        }
        async with self._request("MOVE", staging, headers) as response:
            if response.status == 412 and not replace:
                return False
            if response.status in (200, 400, 405, 501, 502):
                raise VoxFleetError(
                    FailureClass.INVALID_INPUT,
                    f"the server cannot create a file that was not there (MOVE: HTTP {response.status}); use a WebDAV"
                    " server or s3://",
                )
            if response.status not in (201, 204):
                raise await response.error()
        return True

    async def _delete(self, staging: Address) -> None:
        """Ignores errors: the one that led here matters more, and listings hide what remains."""
        try:
            async with asyncio.timeout(CLEANUP_SECONDS), self._request("DELETE", staging, {}):
                pass
        except (VoxFleetError, TimeoutError):
            return

    async def _make_folders(self, address: Address) -> None:
        parts = address.key.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            key = "/".join(parts[:depth])
            if not self._is_allowed(f"https://{address.authority}/{key}"):
                continue  # above the allowed prefix
            async with self._request("MKCOL", Address(Scheme.HTTPS, address.authority, f"{key}/"), {}) as response:
                if response.status not in (200, 201, 405):  # 405: it exists
                    raise await response.error()

    def _is_allowed(self, uri: str) -> bool:
        try:
            self._resolve(uri)
        except VoxFleetError:
            return False
        return True

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

    @asynccontextmanager
    async def _request(
        self, method: str, address: Address, headers: Mapping[str, str], content: Content | None = None
    ) -> AsyncIterator[HttpResponse]:
        client = self._clients.get(address.authority)
        if client is None:
            client = self._clients[address.authority] = HttpClient("https", address.authority, self._trust)
        target = f"/{address.key}?{address.query}" if address.query else f"/{address.key}"
        async with client.request(method, target, headers, content) as response:
            yield response


def _check_encoding(response: HttpResponse) -> None:
    """Raises VoxFleetError(INVALID_INPUT) for a compressed object. The encoding of an error's body does not matter."""
    if response.status < 300 and response.headers.get("content-encoding", "identity").lower() != "identity":
        raise VoxFleetError(
            FailureClass.INVALID_INPUT, "the server sends another encoding than it was asked for; turn it off"
        )


def _path_of(href: str) -> str:
    """The path without its leading slash; empty for an invalid address."""
    try:
        return urlsplit(href).path.lstrip("/")
    except ValueError:
        return ""
