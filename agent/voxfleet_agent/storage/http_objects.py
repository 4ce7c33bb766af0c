"""Reading objects over HTTP: ranges, versions and what is left of an interrupted download."""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

from voxfleet_agent.addresses import Address
from voxfleet_agent.storage.http_client import HttpAnswer
from voxfleet_agent.storage.object_store import READER_BLOCK_BYTES, Opened, RangeReader
from voxfleet_agent.storage.object_version import ObjectVersion, changed
from voxfleet_api.failures import FailureClass, VoxFleetError

MODIFIED = "modified "
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")
_EMPTY_RANGE = re.compile(r"bytes \*/0")
_HEADER_TEXT = re.compile(r"[\x20-\x7e]{1,512}")


def resumable(version: ObjectVersion) -> bool:
    """Whether two halves of this version, fetched at two times, are sure to fit together."""
    return version.etag is not None and not version.etag.startswith("W/")


class HttpObjects(ABC):
    """What S3 and web folders have in common."""

    @abstractmethod
    def get(self, address: Address, headers: Mapping[str, str]) -> AbstractAsyncContextManager[HttpAnswer]:
        """A GET's answer, whatever its status."""

    @asynccontextmanager
    async def open(
        self, address: Address, version: ObjectVersion | None = None, start: int = 0
    ) -> AsyncIterator[Opened]:
        headers = _conditions(version)
        if start > 0:
            headers["Range"] = f"bytes={start}-"
        async with self.get(address, headers) as answer:
            first, found = await _whole_or_part(answer)
            if version is not None and found != version:
                raise changed()
            if first not in (0, start):
                raise _another_part()
            yield Opened(found, first, answer.blocks())

    async def open_reader(self, address: Address) -> tuple[ObjectVersion, RangeReader]:
        """One request for the version and the first block."""
        async with self.get(address, {"Range": f"bytes=0-{READER_BLOCK_BYTES - 1}"}) as answer:
            if answer.status == 416:
                version, first_block = await self.head(address), b""
                if version.size_bytes > 0:
                    raise await answer.refusal()
            else:
                first, version = await _whole_or_part(answer)
                if first != 0:
                    raise _another_part()
                first_block = await answer.read(min(READER_BLOCK_BYTES, version.size_bytes))
        loop = asyncio.get_running_loop()

        def fetch(start: int, stop: int) -> bytes:
            return asyncio.run_coroutine_threadsafe(self._read_range(address, version, start, stop), loop).result()

        return version, RangeReader(fetch, version.size_bytes, first_block)

    async def head(self, address: Address) -> ObjectVersion:
        """By GET, because a presigned address is good for nothing else, and an answer to HEAD tells no error code."""
        async with self.get(address, {"Range": "bytes=0-0"}) as answer:
            if answer.status != 416:
                version = (await _whole_or_part(answer))[1]
                if answer.status == 206:
                    await answer.read(1)  # and the connection is free again
                return version
        async with self.get(address, {}) as answer:
            return (await _whole_or_part(answer))[1]

    async def _read_range(self, address: Address, version: ObjectVersion, start: int, stop: int) -> bytes:
        headers = {**_conditions(version), "Range": f"bytes={start}-{stop - 1}"}
        async with self.get(address, headers) as answer:
            offset, found = await _whole_or_part(answer)
            if found != version:
                raise changed()
            if offset > start:
                raise _another_part()
            content = bytearray()
            async with aclosing(answer.blocks()) as blocks:
                async for block in blocks:  # all of it, from a server that knows no ranges
                    content += block[max(0, start - offset) :]
                    offset += len(block)
                    if len(content) >= stop - start:
                        break
        return bytes(content[: stop - start])


async def _whole_or_part(answer: HttpAnswer) -> tuple[int, ObjectVersion]:
    """The offset of the answer's first byte and the object's version. Raises what any other answer means."""
    if answer.status == 206:
        match = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
        if match is None:
            raise VoxFleetError(FailureClass.INVALID_INPUT, "the storage does not tell the object's size")
        return int(match[1]), ObjectVersion(int(match[2]), _etag_of(answer.headers))
    if answer.status == 200:
        return 0, _whole_version(answer.headers)
    raise await answer.refusal()


def _another_part() -> VoxFleetError:
    return VoxFleetError(FailureClass.TRANSPORT, "the storage sent another part of the object than it was asked for")


def _whole_version(headers: Mapping[str, str]) -> ObjectVersion:
    """The version that a 200 tells. Raises VoxFleetError(INVALID_INPUT)."""
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
    """Weak ETags never match; what comes is compared with the version all the same."""
    if version is None or version.etag is None or version.etag.startswith("W/"):
        return {}
    if version.etag.startswith(MODIFIED):
        return {"If-Unmodified-Since": version.etag.removeprefix(MODIFIED)}
    return {"If-Match": version.etag}
