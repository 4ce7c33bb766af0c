"""Servers that keep a connection busy without making progress: no call waits for them for long."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeAlias

import pytest
from pydantic import SecretStr
from tests.component.storage.certificates import Authority
from tests.component.storage.errors import LOOPBACK, error_of
from tests.component.storage.raw_server import Asked, RawServer, head

from voxfleet_agent.config import HttpsConfig
from voxfleet_agent.stages.plan import header_inspection
from voxfleet_agent.stages.plan.header_inspection import inspect_clip
from voxfleet_agent.stages.plan.input_clip import InputClip
from voxfleet_agent.storage import Storage, Timeouts
from voxfleet_agent.storage import s3 as s3_module
from voxfleet_agent.storage.upload_content import BytesContent
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.contract_input import Container, ContractInput
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.protocol import S3Credentials

SLOW_BODY = Timeouts(idle_seconds=0.4, bytes_per_second=10_000)
SLOW_HEAD = Timeouts(response_seconds=0.7)
CONTRACT = VoiceContractSpec(
    input=ContractInput(containers=(Container.WAV,), sample_rates_hz=(16000,), channels=(1,), max_clip_bytes="8Gi"),
)
PATIENCE_SECONDS = 20
"""The timeout of a test, which would otherwise run for longer or forever."""

Verb: TypeAlias = Callable[[Storage, str], Awaitable[object]]


def s3_at(server: RawServer, timeouts: Timeouts = SLOW_BODY) -> Storage:
    credentials = S3Credentials(
        access_key_id=SecretStr("k"), secret_access_key=SecretStr("s"), endpoint_url=server.endpoint
    )
    return Storage(["s3://bucket/"], credentials, LOOPBACK, timeouts)


def https_at(server: RawServer, authority: Authority, timeouts: Timeouts = SLOW_BODY) -> Storage:
    https = HttpsConfig(ca_bundle=authority.ca_file, private_networks=("127.0.0.0/8",))
    return Storage([server.url("/in/")], None, https, timeouts)


def get(storage: Storage, uri: str) -> Awaitable[object]:
    return storage.get(uri, 10**9)


def open_reader(storage: Storage, uri: str) -> Awaitable[object]:
    return storage.open_reader(uri)


def list_names(storage: Storage, uri: str) -> Awaitable[object]:
    return storage.list_names(uri.removesuffix("x"), 10**9)


def put(storage: Storage, uri: str) -> Awaitable[object]:
    return storage.put(uri, bytes(16 * 2**20))


async def body(asked: Asked) -> None:
    await asked.read_body()
    await asked.send(head(200, "Content-Length: 1000000"))
    await asked.trickle(bytes(1_000_000))


async def body_after_a_burst(asked: Asked) -> None:
    """A million bytes at once do not count for the rest."""
    await asked.read_body()
    await asked.send(head(200, "Content-Length: 2000000"), bytes(1_000_000))
    await asked.trickle(bytes(1_000_000))


async def chunk_size(asked: Asked) -> None:
    """Never sends a byte of the body."""
    await asked.read_body()
    await asked.send(head(200, "Content-Length: 5", "Transfer-Encoding: chunked"), b"5;")
    await asked.trickle(b"x" * 1_000_000)


async def answer_head(asked: Asked) -> None:
    await asked.read_body()
    await asked.trickle(head(200, f"X: {'x' * 60_000}"))


async def redirect(asked: Asked) -> None:
    await asked.read_body()
    if asked.target != "/in/y":
        await asked.send(head(302, "Location: /in/y", "Content-Length: 0"))
    await body(asked)


async def taking(asked: Asked) -> None:
    if asked.method != "PUT":
        await asked.send(head(204))
        return
    while True:
        await asked.reader.read(1)
        await asyncio.sleep(0.02)


READS = [
    (get, body, "sends too slowly"),
    (open_reader, body, "sends too slowly"),
    (get, body_after_a_burst, "sends too slowly"),
    (get, chunk_size, "sends too slowly"),
    (get, answer_head, "in time"),
]
LISTS_AND_WRITES = [
    (list_names, body, "sends too slowly"),
    (list_names, chunk_size, "sends too slowly"),
    (list_names, answer_head, "in time"),
    (put, answer_head, "in time"),
    (put, taking, "takes an upload too slowly: less than 10000 bytes a second over 0.4 s"),
]


@pytest.mark.parametrize(
    ("scheme", "verb", "script", "told"),
    [*(("s3", *case) for case in (*READS, *LISTS_AND_WRITES)), *(("https", *case) for case in READS)],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_trickle_is_a_transport_failure(
    authority: Authority, scheme: str, verb: Verb, script: Callable[[Asked], Awaitable[None]], told: str
) -> None:
    context = authority.server_context() if scheme == "https" else None
    timeouts = SLOW_HEAD if script is answer_head else SLOW_BODY
    async with RawServer(script, context, receive_bytes=2**16) as server, asyncio.timeout(PATIENCE_SECONDS):
        uri = server.url("/in/x") if scheme == "https" else "s3://bucket/x"
        async with https_at(server, authority, timeouts) if scheme == "https" else s3_at(server, timeouts) as storage:
            error = await error_of(verb(storage, uri))
    assert error.failure_class is FailureClass.TRANSPORT
    assert told in error.message


async def test_a_cancelled_upload_does_not_wait_for_its_cleanup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "CLEANUP_SECONDS", 0.1)
    monkeypatch.setattr(s3_module, "ONE_REQUEST_BYTES", 10)
    uploading, cleaning = asyncio.Event(), asyncio.Event()

    async def script(asked: Asked) -> None:
        if asked.method == "POST":
            await asked.send(head(200, "Content-Length: 29"), b"<R><UploadId>u</UploadId></R>")
        elif asked.method == "PUT":
            uploading.set()
            await asked.reader.read()  # until the client hangs up
        else:
            cleaning.set()
            await asked.reader.read()

    async with RawServer(script) as server, asyncio.timeout(PATIENCE_SECONDS), s3_at(server, Timeouts()) as storage:
        task = asyncio.ensure_future(storage.put("s3://bucket/x", bytes(20)))
        await uploading.wait()
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled() and cleaning.is_set()


async def test_a_trickle_behind_a_redirect(authority: Authority) -> None:
    async with (
        RawServer(redirect, authority.server_context()) as server,
        asyncio.timeout(PATIENCE_SECONDS),
        https_at(server, authority) as storage,
    ):
        error = await error_of(storage.get(server.url("/in/x"), 10**9))
    assert (error.failure_class, "too slowly" in error.message) == (FailureClass.TRANSPORT, True)


async def test_a_trickling_handshake(authority: Authority) -> None:
    hung_up = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for number in itertools.count():
                writer.write((b"\x16\x03\x03\x40\x00\x02\x00\x3f\xf0" + bytes(20_000))[number : number + 1])
                await writer.drain()
                await asyncio.sleep(0.02)
        except OSError:
            hung_up.set()
        finally:
            writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    prefix = f"https://localhost:{server.sockets[0].getsockname()[1]}/"
    https = HttpsConfig(ca_bundle=authority.ca_file, private_networks=("127.0.0.0/8",))
    async with server, asyncio.timeout(PATIENCE_SECONDS):
        async with Storage([prefix], None, https, Timeouts(connect_seconds=0.5)) as storage:
            error = await error_of(storage.get(f"{prefix}x", 1))
        await hung_up.wait()
    assert error.failure_class is FailureClass.TRANSPORT


async def test_a_completed_upload_does_not_extend_the_response_timeout() -> None:
    """At the minimum speed, these bytes would be allowed hours."""

    async def script(asked: Asked) -> None:
        await asked.read_body()
        await asked.trickle(head(200, f"X: {'x' * 60_000}"))

    async with (
        RawServer(script) as server,
        asyncio.timeout(PATIENCE_SECONDS),
        s3_at(server, Timeouts(response_seconds=0.5, bytes_per_second=100)) as storage,
    ):
        error = await error_of(storage.put("s3://bucket/x", bytes(2**20)))
    assert (error.failure_class, "in time" in error.message) == (FailureClass.TRANSPORT, True)


class Slow(BytesContent):
    async def blocks(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        for offset in range(start, stop):
            await asyncio.sleep(0.15)
            yield bytes(self.size_bytes)[offset : offset + 1]


async def test_a_long_upload_may_take_longer_than_the_response_timeout() -> None:
    async def script(asked: Asked) -> None:
        await asked.read_body()
        await asked.send(head(200, "Content-Length: 0"))

    async with RawServer(script) as server, s3_at(server, Timeouts(response_seconds=0.8)) as storage:
        await storage.put("s3://bucket/x", Slow(bytes(10)))


async def test_the_time_of_the_reader_does_not_count() -> None:
    read = asyncio.Event()

    async def script(asked: Asked) -> None:
        await asked.send(head(200, "Content-Length: 3000"), bytes(1000))
        await read.wait()
        await asked.send(bytes(2000))

    async with RawServer(script) as server, s3_at(server, Timeouts(idle_seconds=0.8)) as storage:
        address = storage._allowed.resolve("s3://bucket/x")
        async with storage._store(address).open(address) as opened, aclosing(opened.blocks) as blocks:
            came = len(await anext(blocks))
            await asyncio.sleep(1.6)  # its disk is slow
            read.set()
            async for block in blocks:
                came += len(block)
    assert came == 3000


async def test_a_server_that_joins_parts_sends_spaces_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "ONE_REQUEST_BYTES", 10)

    async def script(asked: Asked) -> None:
        await asked.read_body()
        if asked.target.endswith("uploads="):
            document = b"<R><UploadId>u</UploadId></R>"
            await asked.send(head(200, f"Content-Length: {len(document)}"), document)
        elif asked.method == "PUT":
            await asked.send(head(200, 'ETag: "part"', "Content-Length: 0"))
        else:
            await asked.send(head(200, "Content-Length: 34"))
            await asked.trickle(b" " * 30)
            await asked.send(b"<R/>")

    async with RawServer(script) as server, s3_at(server, Timeouts(idle_seconds=0.4, response_seconds=20)) as storage:
        await storage.put("s3://bucket/x", bytes(20))
    assert [asked.method for asked in server.requests] == ["POST", "PUT", "POST"], "and nothing was aborted"


async def test_a_header_ends_though_each_of_its_parts_is_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk in each block, forever."""
    monkeypatch.setattr(header_inspection, "HEADER_TIMEOUT_SECONDS", 0.5)
    block = b"junk" + struct.pack("<I", 2**16 - 8) + bytes(2**16 - 8)
    riff = b"RIFF" + struct.pack("<I", 2**32 - 10) + b"WAVE"
    first = riff + b"junk" + struct.pack("<I", 2**16 - 20) + bytes(2**16 - 20)

    async def script(asked: Asked) -> None:
        start = asked.number * 2**16
        await asyncio.sleep(0.02)
        told = f"Content-Range: bytes {start}-{start + 2**16 - 1}/{2**32 - 2}"
        await asked.send(head(206, told, 'ETag: "1"', f"Content-Length: {2**16}"), block if start else first)

    async with RawServer(script) as server, asyncio.timeout(PATIENCE_SECONDS), s3_at(server) as storage:
        error = await error_of(inspect_clip(storage, CONTRACT, 0, InputClip("x", "s3://bucket/x")))
    assert error.failure_class is FailureClass.TRANSPORT
    assert "within 0.5 s" in error.message


async def test_a_slow_body_may_take_many_times_what_a_window_has() -> None:
    async def script(asked: Asked) -> None:
        await asked.send(head(200, "Content-Length: 5000"))
        for _ in range(10):
            await asyncio.sleep(0.1)
            await asked.send(bytes(500))

    async with RawServer(script) as server, s3_at(server, Timeouts(idle_seconds=0.5, bytes_per_second=1000)) as storage:
        assert await storage.get("s3://bucket/x", 5000) == bytes(5000)


async def test_a_listing_ends_though_each_of_its_pages_is_in_time() -> None:
    async def script(asked: Asked) -> None:
        number = asked.number
        page = (
            f"<R><Contents><Key>k{number}</Key></Contents><IsTruncated>true</IsTruncated>"
            f"<NextContinuationToken>t{number}</NextContinuationToken></R>"
        )
        await asked.send(head(200, f"Content-Length: {len(page)}"), page.encode())

    async with (
        RawServer(script) as server,
        asyncio.timeout(PATIENCE_SECONDS),
        s3_at(server, Timeouts(listing_seconds=0.5)) as storage,
    ):
        error = await error_of(storage.list_names("s3://bucket/", 10**9))
    assert error.failure_class is FailureClass.TRANSPORT
    assert "within 0.5 s" in error.message
