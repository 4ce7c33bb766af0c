"""Reads objects over HTTP: ranges, versions and the rest of an interrupted download."""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

from voxfleet_agent.addresses import Address
from voxfleet_agent.storage.http_client import HttpResponse
from voxfleet_agent.storage.object_store import READER_BLOCK_BYTES, OpenedObject, RangeReader
from voxfleet_agent.storage.object_version import ObjectVersion, changed
from voxfleet_api.failures import FailureClass, VoxFleetError

MODIFIED = "modified "
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")
_HEADER_TEXT = re.compile(r"[\x20-\x7e]{1,512}")


def resumable(version: ObjectVersion) -> bool:
    """Whether two parts of this version, fetched at different times, are certain to belong together."""
    return version.etag is not None and not version.etag.startswith("W/")


class HttpObjects(ABC):
    """What S3 endpoints and web servers have in common."""

    @abstractmethod
    def get(self, address: Address, headers: Mapping[str, str]) -> AbstractAsyncContextManager[HttpResponse]:
        """The response to a GET, whatever its status."""

    @asynccontextmanager
    async def open(
        self, address: Address, version: ObjectVersion | None = None, start: int = 0
    ) -> AsyncIterator[OpenedObject]:
        headers = _conditions(version)
        if start > 0:
            headers["Range"] = f"bytes={start}-"
        async with self.get(address, headers) as response:
            first, current = await _offset_and_version(response)
            if version is not None and current != version:
                raise changed()
            if first not in (0, start):
                raise _wrong_range()
            yield OpenedObject(current, first, response.blocks())

    async def open_reader(self, address: Address) -> tuple[ObjectVersion, RangeReader]:
        """Fetches the version and the first block with one request."""
        async with self.get(address, {"Range": f"bytes=0-{READER_BLOCK_BYTES - 1}"}) as response:
            if response.status == 416:
                version, first_block = await self.head(address), b""
                if version.size_bytes > 0:
                    raise await response.error()
            else:
                first, version = await _offset_and_version(response)
                if first != 0:
                    raise _wrong_range()
                first_block = await response.read(min(READER_BLOCK_BYTES, version.size_bytes))
        loop = asyncio.get_running_loop()

        def fetch(start: int, stop: int) -> bytes:
            return asyncio.run_coroutine_threadsafe(self._read_range(address, version, start, stop), loop).result()

        return version, RangeReader(fetch, version.size_bytes, first_block)

    async def head(self, address: Address) -> ObjectVersion:
        """Finds the version by GET: a presigned address allows nothing else, and HEAD's response has no error code."""
        async with self.get(address, {"Range": "bytes=0-0"}) as response:
            if response.status != 416:
                version = (await _offset_and_version(response))[1]
                if response.status == 206:
                    await response.read(1)  # frees the connection
                return version
        async with self.get(address, {}) as response:
            return (await _offset_and_version(response))[1]

    async def _read_range(self, address: Address, version: ObjectVersion, start: int, stop: int) -> bytes:
        headers = {**_conditions(version), "Range": f"bytes={start}-{stop - 1}"}
        async with self.get(address, headers) as response:
            offset, current = await _offset_and_version(response)
            if current != version:
                raise changed()
            if offset > start:
                raise _wrong_range()
            content = bytearray()
            async with aclosing(response.blocks()) as blocks:
                async for block in blocks:  # a server without ranges sends the whole object
                    content += block[max(0, start - offset) :]
                    offset += len(block)
                    if len(content) >= stop - start:
                        break
        return bytes(content[: stop - start])


async def _offset_and_version(response: HttpResponse) -> tuple[int, ObjectVersion]:
    """Returns (offset of the first byte, the object's version). Raises VoxFleetError unless it is a 200 or a 206."""
    if response.status == 206:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        if match is None:
            raise VoxFleetError(FailureClass.INVALID_INPUT, "the storage does not tell the object's size")
        return int(match[1]), ObjectVersion(int(match[2]), _etag_of(response.headers))
    if response.status == 200:
        return 0, _version_of_whole(response.headers)
    raise await response.error()


def _wrong_range() -> VoxFleetError:
    return VoxFleetError(FailureClass.TRANSPORT, "the storage sent another part of the object than it was asked for")


def _version_of_whole(headers: Mapping[str, str]) -> ObjectVersion:
    """The version from the headers of a 200. Raises VoxFleetError(INVALID_INPUT) when they state no size."""
    length = headers.get("content-length", "")
    if not re.fullmatch(r"[0-9]{1,18}", length):
        raise VoxFleetError(FailureClass.INVALID_INPUT, "the storage does not tell the object's size")
    return ObjectVersion(int(length), _etag_of(headers))


def _etag_of(headers: Mapping[str, str]) -> str | None:
    etag, modified = headers.get("etag", ""), headers.get("last-modified", "")
    if _HEADER_TEXT.fullmatch(etag):
        return etag
    return f"{MODIFIED}{modified}" if _HEADER_TEXT.fullmatch(modified) else None


def _conditions(version: ObjectVersion | None) -> dict[str, str]:
    """The conditional headers. Weak ETags never match, so they are not sent; callers compare the version anyway."""
    if version is None or version.etag is None or version.etag.startswith("W/"):
        return {}
    if version.etag.startswith(MODIFIED):
        return {"If-Unmodified-Since": version.etag.removeprefix(MODIFIED)}
    return {"If-Match": version.etag}
