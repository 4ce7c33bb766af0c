"""Unusual responses, valid or not: no byte is mistaken for another."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from pathlib import Path

import pytest
from tests.component.storage.certificates import Authority
from tests.component.storage.errors import class_of
from tests.component.storage.raw_server import Asked, RawServer, head
from tests.component.storage.test_slow_servers import https_at, s3_at

from voxfleet_agent.storage import ObjectVersion
from voxfleet_agent.storage import s3 as s3_module
from voxfleet_api.failures import FailureClass

URI = "s3://bucket/x"
CONTENT = bytes(range(200))


def whole(*lines: str, version: str = "1.1") -> bytes:
    return head(200, 'ETag: "1"', "Content-Length: 200", *lines, version=version) + CONTENT


def part(start: int, stop: int, *lines: str) -> bytes:
    told = (f"Content-Range: bytes {start}-{stop - 1}/200", f"Content-Length: {stop - start}", 'ETag: "1"')
    return head(206, *told, *lines) + CONTENT[start:stop]


def always(*parts: bytes, hang_up: bool = False) -> RawServer:
    """A server that answers every request with these bytes."""

    async def script(asked: Asked) -> None:
        await asked.read_body()
        await asked.send(*parts)
        if hang_up:
            asked.hang_up()

    return RawServer(script)


CHUNKS_OF_LESS = head(200, "Content-Length: 200", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (part(0, 100), FailureClass.TRANSPORT),
        (part(100, 200), FailureClass.TRANSPORT),
        (CHUNKS_OF_LESS, FailureClass.TRANSPORT),
        (head(206, "Content-Length: 200") + CONTENT, FailureClass.INVALID_INPUT),
        (head(206, "Content-Range: bytes 0-199/*", "Content-Length: 200") + CONTENT, FailureClass.INVALID_INPUT),
        (head(200, "Content-Length: 300") + CONTENT, FailureClass.TRANSPORT),
        (head(200, "Content-Length: 200", "Content-Length: 100") + CONTENT, FailureClass.TRANSPORT),
        (head(200) + CONTENT, FailureClass.INVALID_INPUT),
        (head(101, "Connection: Upgrade", "Upgrade: other"), FailureClass.TRANSPORT),
        (head(204), FailureClass.TRANSPORT),
        (b"HTTP/2 200\r\n\r\n", FailureClass.TRANSPORT),
        (b"", FailureClass.TRANSPORT),
    ],
    ids=[
        "the first part unasked",
        "the last part unasked",
        "chunks of less",
        "a part of unknown place",
        "a part of unknown size",
        "less than it tells",
        "two lengths",
        "no length",
        "another protocol",
        "no content",
        "no HTTP",
        "nothing",
    ],
)
async def test_a_response_that_is_not_the_whole_object_is_refused(answer: bytes, expected: FailureClass) -> None:
    async with always(answer, hang_up=True) as server, s3_at(server) as storage:
        assert await class_of(storage.get(URI, 1000)) is expected


@pytest.mark.parametrize(
    "answer",
    [
        head(103, "Link: </x>") + head(102) + whole(),
        whole(version="1.0"),
        head(200, "Content-Length: 200", "content-length: 200") + CONTENT,
        whole("Content-Encoding: Identity"),
    ],
    ids=["behind interim answers", "HTTP/1.0", "one length twice", "an encoding that is none"],
)
async def test_a_whole_object_is_accepted(answer: bytes) -> None:
    async with always(answer, hang_up=True) as server, s3_at(server) as storage:
        assert await storage.get(URI, 1000) == CONTENT
        version, reader = await storage.open_reader(URI)
        assert version.size_bytes == 200
        assert reader.read(200) == CONTENT


async def test_a_reader_accepts_no_other_range() -> None:
    async with always(part(100, 200)) as server, s3_at(server) as storage:
        assert await class_of(storage.open_reader(URI)) is FailureClass.TRANSPORT


async def test_a_download_goes_on_at_the_byte_it_asked_for(scratch: Path) -> None:
    async def script(asked: Asked) -> None:
        if asked.number == 0:
            await asked.send(whole()[:-100])
            asked.hang_up()
        elif asked.number == 1:
            await asked.send(part(50, 150))
        else:
            await asked.send(whole())

    version = ObjectVersion(200, '"1"')
    async with RawServer(script) as server, s3_at(server) as storage:
        for _ in range(2):
            assert await class_of(storage.download(URI, scratch / "x", version)) is FailureClass.TRANSPORT
        await storage.download(URI, scratch / "x", version)
    assert (scratch / "x").read_bytes() == CONTENT


async def test_a_download_that_broke_off_behind_its_last_byte_is_whole(scratch: Path) -> None:
    async def script(asked: Asked) -> None:
        if asked.number == 0:
            chunked = head(200, 'ETag: "1"', "Content-Length: 200", "Transfer-Encoding: chunked")
            await asked.send(chunked + b"c8\r\n" + CONTENT + b"\r\n")
            asked.hang_up()
        else:
            await asked.send(head(416, "Content-Range: bytes */200", "Content-Length: 0"))

    version = ObjectVersion(200, '"1"')
    async with RawServer(script) as server, s3_at(server) as storage:
        assert await class_of(storage.download(URI, scratch / "x", version)) is FailureClass.TRANSPORT
        sha256 = await storage.download(URI, scratch / "x", version)
    assert sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert (scratch / "x").read_bytes() == CONTENT


async def test_a_compressed_error_page_keeps_its_status(authority: Authority) -> None:
    packed = gzip.compress(b"<html>")

    async def script(asked: Asked) -> None:
        await asked.read_body()
        await asked.send(head(404, "Content-Encoding: gzip", f"Content-Length: {len(packed)}"), packed)

    async with RawServer(script, authority.server_context()) as server, https_at(server, authority) as storage:
        assert not await storage.exists(server.url("/in/x"))


async def test_a_document_without_end_is_broken_off() -> None:
    chunk = b"10000\r\n" + b" " * 2**16 + b"\r\n"

    async def script(asked: Asked) -> None:
        await asked.read_body()
        await asked.send(head(200, "Transfer-Encoding: chunked"))
        while True:
            await asked.send(chunk)

    async with RawServer(script) as server, asyncio.timeout(30), s3_at(server) as storage:
        assert await class_of(storage.list_names("s3://bucket/", 10)) is FailureClass.TRANSPORT


async def test_one_connection_serves_request_after_request() -> None:
    """Each new connection takes a look-up of the name and a TLS handshake."""

    async def script(asked: Asked) -> None:
        await asked.read_body()
        if asked.method == "GET" and "list-type" in asked.target:
            await asked.send(head(200, "Content-Length: 4"), b"<R/>")
        elif asked.method == "GET":
            await asked.send(part(0, 1) if asked.number % 2 else part(0, 200))
        else:
            await asked.send(head(200, "Content-Length: 0"))

    async with RawServer(script) as server, s3_at(server) as storage:
        for _ in range(2):
            await storage.head(URI)
            await storage.open_reader(URI)
            await storage.put(URI, b"x")
            await storage.put(URI, b"x")
            await storage.list_names("s3://bucket/", 10)
    assert (server.connections, len(server.requests)) == (1, 10)


async def test_a_server_that_hangs_up_between_requests_loses_none() -> None:
    closed = asyncio.Event()

    async def script(asked: Asked) -> None:
        await asked.send(whole())
        asked.hang_up()
        closed.set()

    async with RawServer(script) as server, s3_at(server) as storage:
        for _ in range(3):
            assert await storage.get(URI, 200) == CONTENT
            await closed.wait()
            closed.clear()
    assert server.connections == 3


async def test_a_conflict_may_be_reported_after_a_good_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 does this once it has begun to join parts."""
    monkeypatch.setattr(s3_module, "ONE_REQUEST_BYTES", 10)

    async def script(asked: Asked) -> None:
        await asked.read_body()
        documents = {"POST": b"<R><UploadId>u</UploadId><Code>PreconditionFailed</Code></R>", "GET": CONTENT}
        document = documents.get(asked.method, b"")
        await asked.send(head(200, 'ETag: "1"', f"Content-Length: {len(document)}"), document)

    async with RawServer(script) as server, s3_at(server) as storage:
        await storage.put_once(URI, CONTENT)
        assert await class_of(storage.put_once(URI, CONTENT[::-1])) is FailureClass.MACHINE_LOST


@pytest.mark.parametrize("answer", [b"<R/>", b"<R><UploadId></UploadId></R>"])
async def test_an_upload_in_parts_needs_its_name(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    monkeypatch.setattr(s3_module, "ONE_REQUEST_BYTES", 10)
    async with always(head(200, f"Content-Length: {len(answer)}") + answer) as server, s3_at(server) as storage:
        assert await class_of(storage.put(URI, bytes(20))) is FailureClass.TRANSPORT
    assert [asked.method for asked in server.requests] == ["POST"]
