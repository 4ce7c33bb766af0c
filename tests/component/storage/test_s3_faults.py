"""Faults of networks and overloaded servers: each has its class, and retries lose nothing."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.component.storage.conftest import OpenS3
from tests.component.storage.errors import class_of, error_of
from tests.component.storage.proxy import (
    Fault,
    FaultProxy,
    InTurn,
    LoseAnswer,
    Reset,
    ResetUpload,
    Seeded,
    Slow,
    Stall,
    Status,
)

from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.storage import Storage, Timeouts
from voxfleet_agent.storage import s3 as s3_module
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.contract_limits import Backoff, Retries

SHORT_TIMEOUTS = Timeouts(connect_seconds=5, idle_seconds=1, response_seconds=10)
AT_ONCE = Backoff(initial="1ms", cap="1ms")

Verb = Callable[[Storage, str], Awaitable[object]]


def get(storage: Storage, uri: str) -> Awaitable[object]:
    return storage.get(uri, 10**6)


def list_names(storage: Storage, uri: str) -> Awaitable[object]:
    return storage.list_names(uri.removesuffix("x"), 10)


@pytest.mark.parametrize("verb", [get, list_names])
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Status(401), FailureClass.ACCESS_DENIED),
        (Status(403), FailureClass.ACCESS_DENIED),
        (Status(404), FailureClass.INPUT_NOT_FOUND),
        (Status(400), FailureClass.INVALID_INPUT),
        (Status(301), FailureClass.ACCESS_DENIED),
        (Status(307), FailureClass.ACCESS_DENIED),
        (Status(408), FailureClass.TRANSPORT),
        (Status(429), FailureClass.THROTTLED),
        (Status(500), FailureClass.TRANSPORT),
        (Status(502), FailureClass.TRANSPORT),
        (Status(503), FailureClass.THROTTLED),
        (Reset(), FailureClass.TRANSPORT),
        (Stall(), FailureClass.TRANSPORT),
    ],
    ids=str,
)
async def test_each_fault_has_a_class(
    open_s3: OpenS3, bucket: str, proxy: FaultProxy, verb: Verb, fault: Fault, expected: FailureClass
) -> None:
    await open_s3().put(f"{bucket}folder/x", b"x" * 100_000)
    proxy.plan = InTurn(fault)
    storage = open_s3(proxy.endpoint, SHORT_TIMEOUTS if isinstance(fault, Stall) else None)
    call = verb(storage, f"{bucket}folder/x")
    assert await class_of(call) is expected
    assert len(proxy.requests) == 1, "retries are not the storage's business"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (403, FailureClass.ACCESS_DENIED),
        (429, FailureClass.THROTTLED),
        (500, FailureClass.TRANSPORT),
        (503, FailureClass.THROTTLED),
    ],
)
async def test_a_refused_upload_has_a_class(
    open_s3: OpenS3, bucket: str, proxy: FaultProxy, status: int, expected: FailureClass
) -> None:
    storage = open_s3(proxy.endpoint)
    for call in (storage.put, storage.put_once):
        proxy.plan = InTurn(Status(status))
        assert await class_of(call(f"{bucket}x", b"x" * 100_000)) is expected
    assert not await storage.exists(f"{bucket}x")


@pytest.mark.parametrize("fault", [ResetUpload(), ResetUpload(50_000), LoseAnswer()], ids=str)
async def test_an_interrupted_upload_is_transport_and_may_be_repeated(
    open_s3: OpenS3, bucket: str, proxy: FaultProxy, fault: Fault
) -> None:
    proxy.plan = InTurn(fault)
    storage = open_s3(proxy.endpoint)
    content = os.urandom(100_000)
    assert await class_of(storage.put_once(f"{bucket}x", content)) is FailureClass.TRANSPORT
    await storage.put_once(f"{bucket}x", content)
    assert await storage.get(f"{bucket}x", 100_000) == content


@pytest.mark.parametrize(
    ("method", "number"), [("POST", 0), ("PUT", 1), ("POST", 1)], ids=["beginning", "a part", "the end"]
)
async def test_an_upload_in_parts_whose_answer_was_lost_may_be_repeated(
    open_s3: OpenS3, bucket: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, method: str, number: int
) -> None:
    monkeypatch.setattr(s3_module, "ONE_REQUEST_BYTES", 6 * 2**20)
    monkeypatch.setattr(s3_module, "PART_BYTES", 5 * 2**20)
    proxy.plan = InTurn(*[None] * number, LoseAnswer(), only=method)
    storage = open_s3(proxy.endpoint)
    content = os.urandom(11 * 2**20)
    assert await class_of(storage.put_once(f"{bucket}x", content)) is FailureClass.TRANSPORT
    await storage.put_once(f"{bucket}x", content)
    assert await storage.get(f"{bucket}x", len(content)) == content
    assert await storage.list_names(bucket, 10) == ["x"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("SlowDown", FailureClass.THROTTLED),
        ("InternalError", FailureClass.TRANSPORT),
        ("AccessDenied", FailureClass.TRANSPORT),  # of a request that began with 200; the next one tells
    ],
)
async def test_an_error_behind_a_200_has_the_class_of_its_code(
    open_s3: OpenS3,
    bucket: str,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    expected: FailureClass,
) -> None:
    monkeypatch.setattr(s3_module, "ONE_REQUEST_BYTES", 2**20)
    monkeypatch.setattr(s3_module, "PART_BYTES", 5 * 2**20)
    proxy.plan = InTurn(None, Status(200, body=f"<Error><Code>{code}</Code></Error>".encode()), only="POST")
    assert await class_of(open_s3(proxy.endpoint).put_once(f"{bucket}x", bytes(2**20 + 1))) is expected


@pytest.mark.parametrize(("retry_after", "seconds"), [("7", 7.0), ("0", 0.0), ("soon", None), (None, None)])
async def test_retry_after_comes_with_the_error(
    open_s3: OpenS3, bucket: str, proxy: FaultProxy, retry_after: str | None, seconds: float | None
) -> None:
    proxy.plan = InTurn(Status(503, retry_after))
    error = await error_of(open_s3(proxy.endpoint).get(f"{bucket}x", 1))
    assert error.retry_after_seconds == seconds


async def test_slow_down_is_throttled_whatever_its_status(open_s3: OpenS3, bucket: str, proxy: FaultProxy) -> None:
    proxy.plan = InTurn(Status(400, body=b"<Error><Code>SlowDown</Code></Error>"))
    assert await class_of(open_s3(proxy.endpoint).get(f"{bucket}x", 1)) is FailureClass.THROTTLED


async def test_an_endpoint_that_does_not_answer_is_transport(open_s3: OpenS3, bucket: str) -> None:
    assert await class_of(open_s3("http://127.0.0.1:1").get(f"{bucket}x", 10)) is FailureClass.TRANSPORT


async def test_an_answer_that_never_begins_is_broken_off(open_s3: OpenS3, bucket: str) -> None:
    """A server that keeps the connection busy with interim responses."""

    hung_up = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while not reader.at_eof():
                writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        hung_up.set()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        storage = open_s3(f"http://127.0.0.1:{port}", Timeouts(response_seconds=0.5))
        error = await error_of(storage.get(f"{bucket}x", 1))
        await hung_up.wait()
    assert (error.failure_class, "in time" in error.message) == (FailureClass.TRANSPORT, True)


async def test_a_slow_body_is_accepted_and_a_trickle_is_not(open_s3: OpenS3, bucket: str, proxy: FaultProxy) -> None:
    await open_s3().put(f"{bucket}x", b"x" * 20_000)
    patient = open_s3(proxy.endpoint, Timeouts(idle_seconds=1, bytes_per_second=10_000))
    proxy.plan = InTurn(Slow(40_000), Slow(2_000))
    assert await patient.get(f"{bucket}x", 20_000) == b"x" * 20_000
    error = await error_of(patient.get(f"{bucket}x", 20_000))
    assert (error.failure_class, "too slowly" in error.message) == (FailureClass.TRANSPORT, True)


@pytest.mark.parametrize("fault", [Reset(600_000), Stall(600_000)], ids=str)
async def test_a_download_goes_on_where_it_stopped(
    open_s3: OpenS3, bucket: str, proxy: FaultProxy, scratch: Path, fault: Fault
) -> None:
    content = os.urandom(1_000_000)
    storage = open_s3(proxy.endpoint, SHORT_TIMEOUTS)
    await storage.put(f"{bucket}x", content)
    version = await storage.head(f"{bucket}x")
    proxy.plan = InTurn(fault)
    assert await class_of(storage.download(f"{bucket}x", scratch / "copy", version)) is FailureClass.TRANSPORT
    arrived = (scratch / "copy").stat().st_size
    assert 0 < arrived <= 600_000
    sha256 = await storage.download(f"{bucket}x", scratch / "copy", version)
    assert sha256 == hashlib.sha256(content).hexdigest()
    assert (scratch / "copy").read_bytes() == content
    assert proxy.sent_bytes[-1] == 1_000_000 - arrived, "only the rest came again"


async def test_an_object_that_changed_since_the_interruption_is_not_joined(
    open_s3: OpenS3, bucket: str, proxy: FaultProxy, scratch: Path
) -> None:
    storage = open_s3(proxy.endpoint)
    await storage.put(f"{bucket}x", b"1" * 1_000_000)
    version = await storage.head(f"{bucket}x")
    proxy.plan = InTurn(Reset(600_000))
    assert await class_of(storage.download(f"{bucket}x", scratch / "copy", version)) is FailureClass.TRANSPORT
    await storage.put(f"{bucket}x", b"2" * 1_000_000)
    assert await class_of(storage.download(f"{bucket}x", scratch / "copy", version)) is FailureClass.INPUT_CHANGED


async def test_another_object_into_the_same_file_starts_anew(
    open_s3: OpenS3, bucket: str, proxy: FaultProxy, scratch: Path
) -> None:
    storage = open_s3(proxy.endpoint)
    for name in "ab":
        await storage.put(f"{bucket}{name}", name.encode() * 1_000_000)
    a, b = await storage.head(f"{bucket}a"), await storage.head(f"{bucket}b")
    proxy.plan = InTurn(Reset(600_000))
    assert await class_of(storage.download(f"{bucket}a", scratch / "copy", a)) is FailureClass.TRANSPORT
    await storage.download(f"{bucket}b", scratch / "copy", b)
    assert (scratch / "copy").read_bytes() == b"b" * 1_000_000


async def test_a_file_that_was_emptied_meanwhile_starts_anew(
    open_s3: OpenS3, bucket: str, proxy: FaultProxy, scratch: Path
) -> None:
    content = os.urandom(1_000_000)
    storage = open_s3(proxy.endpoint)
    await storage.put(f"{bucket}x", content)
    version = await storage.head(f"{bucket}x")
    proxy.plan = InTurn(Reset(600_000))
    assert await class_of(storage.download(f"{bucket}x", scratch / "copy", version)) is FailureClass.TRANSPORT
    (scratch / "copy").unlink()
    await storage.download(f"{bucket}x", scratch / "copy", version)
    assert (scratch / "copy").read_bytes() == content


async def test_nothing_is_lost_while_every_third_request_fails(
    open_s3: OpenS3, bucket: str, proxy: FaultProxy, scratch: Path
) -> None:
    clean = open_s3()
    contents = {f"clips/{number}": os.urandom(200_000 + number) for number in range(30)}
    for name, content in contents.items():
        await clean.put(f"{bucket}{name}", content)
    faults = (Status(500), Status(503, "0"), Reset(90_000), ResetUpload(10_000), LoseAnswer(), Stall(1000))
    proxy.plan = Seeded(7, 33, faults)
    storage = open_s3(proxy.endpoint, SHORT_TIMEOUTS)
    retrier = Retrier(Retries(max_retries=6, backoff=AT_ONCE))  # two for each request that a create may take

    async def carry(name: str, content: bytes) -> None:
        version = await retrier(lambda: storage.head(f"{bucket}{name}"))
        target = scratch / name.replace("/", "-")
        sha256 = await retrier(lambda: storage.download(f"{bucket}{name}", target, version))
        assert sha256 == hashlib.sha256(content).hexdigest()
        await retrier(lambda: storage.put_file(f"{bucket}out/{name}", target))

    await asyncio.gather(*(carry(name, content) for name, content in contents.items()))
    assert await retrier(lambda: storage.list_names(f"{bucket}out/", 100)) == sorted(contents)
    for name, content in contents.items():
        assert await clean.get(f"{bucket}out/{name}", 10**6) == content
    assert sum(retrier.counts.values()) > 12
    assert set(proxy.injected) == {type(fault).__name__ for fault in faults}, "every kind came up"


async def test_a_cancelled_download_lets_go(open_s3: OpenS3, bucket: str, proxy: FaultProxy, scratch: Path) -> None:
    storage = open_s3(proxy.endpoint)
    await storage.put(f"{bucket}x", b"x" * 1_000_000)
    version = await storage.head(f"{bucket}x")
    stalled = asyncio.Event()
    loop = asyncio.get_running_loop()

    def plan(_: object) -> Fault:
        loop.call_soon_threadsafe(stalled.set)
        return Stall(500_000)

    proxy.plan = plan
    task = asyncio.create_task(storage.download(f"{bucket}x", scratch / "copy", version))
    await stalled.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    proxy.plan = InTurn()
    assert await storage.get(f"{bucket}x", 10**6) == b"x" * 1_000_000
