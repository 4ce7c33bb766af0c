"""https:// objects on servers of all kinds."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import os
import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

import httpcore2
import pytest
from tests.component.storage.certificates import Authority
from tests.component.storage.errors import class_of, error_of
from tests.component.storage.web_server import Page, WebServer

from voxfleet_agent.config import HttpsConfig
from voxfleet_agent.stages.plan.header_inspection import inspect_clip
from voxfleet_agent.stages.plan.input_clip import InputClip
from voxfleet_agent.storage import ObjectVersion, Storage, Timeouts, egress_policy
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.contract_input import Container, ContractInput
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

CONTENT = os.urandom(300_000)
MODIFIED = 1_700_000_000.0
CONTRACT = VoiceContractSpec(input=ContractInput(containers=(Container.WAV,), sample_rates_hz=(16000,), channels=(1,)))


@pytest.fixture
def server(authority: Authority) -> Iterator[WebServer]:
    with WebServer(authority) as running:
        running.pages["/in/x.wav"] = Page(CONTENT)
        yield running


@pytest.fixture
def https(authority: Authority) -> HttpsConfig:
    return HttpsConfig(ca_bundle=authority.ca_file, private_networks=("127.0.0.0/8",))


@pytest.fixture
async def storage(server: WebServer, https: HttpsConfig) -> AsyncIterator[Storage]:
    async with Storage([server.url("/in/"), server.url("/in/", "storage.test")], None, https) as opened:
        yield opened


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize(
    ("etag", "modified", "expected"),
    [
        ('"v1"', MODIFIED, '"v1"'),
        ('W/"v1"', None, 'W/"v1"'),
        (None, MODIFIED, "modified Tue, 14 Nov 2023 22:13:20 GMT"),
        (None, None, None),
    ],
)
async def test_reading_with_every_kind_of_version(
    server: WebServer,
    storage: Storage,
    scratch: Path,
    ranges: bool,
    etag: str | None,
    modified: float | None,
    expected: str | None,
) -> None:
    page = server.pages["/in/x.wav"] = Page(CONTENT, etag, modified, ranges)
    url = server.url("/in/x.wav")
    version = await storage.head(url)
    assert version == ObjectVersion(len(CONTENT), expected)
    assert await storage.get(url, len(CONTENT)) == CONTENT
    assert await storage.download(url, scratch / "copy", version) == hashlib.sha256(CONTENT).hexdigest()
    conditions = {name for name in server.asked[-1].headers if name.startswith("if-")}
    assert conditions == ({"if-match"} if etag == '"v1"' else {"if-unmodified-since"} if modified else set())
    seen, reader = await storage.open_reader(url)
    assert seen == version
    for offset, size in [(0, 12), (299_990, 100), (70_000, 100_000), (0, 1), (300_000, 5)]:
        reader.seek(offset)
        assert await asyncio.to_thread(reader.read, size) == CONTENT[offset : offset + size]

    page.content = CONTENT[::-1] if expected else CONTENT + b"longer"
    page.etag, page.modified = (etag and etag.replace("1", "2")), (modified and modified + 1)
    assert await class_of(storage.download(url, scratch / "copy", version)) is FailureClass.INPUT_CHANGED
    reader.seek(200_000)
    assert await class_of(asyncio.to_thread(reader.read, 1)) is FailureClass.INPUT_CHANGED


async def test_an_empty_object(server: WebServer, storage: Storage, scratch: Path) -> None:
    for ranges in (True, False):
        server.pages["/in/empty"] = Page(b"", ranges=ranges)
        version, reader = await storage.open_reader(server.url("/in/empty"))
        assert version == await storage.head(server.url("/in/empty")) == ObjectVersion(0, '"v1"')
        assert await asyncio.to_thread(reader.read, 5) == b""
        await storage.download(server.url("/in/empty"), scratch / "copy", version)


@pytest.mark.parametrize(
    ("page", "fetched_again"),
    [
        (Page(CONTENT), 200_000),
        (Page(CONTENT, None, MODIFIED), 200_000),
        (Page(CONTENT, 'W/"v1"'), 300_000),
        (Page(CONTENT, None), 300_000),
        (Page(CONTENT, ranges=False), 300_000),
    ],
    ids=["etag", "last-modified", "weak etag", "no version", "no ranges"],
)
async def test_an_interrupted_download_goes_on_where_that_is_safe(
    server: WebServer, storage: Storage, scratch: Path, page: Page, fetched_again: int
) -> None:
    server.pages["/in/x.wav"] = page
    url = server.url("/in/x.wav")
    version = await storage.head(url)
    page.cut_after_bytes = 100_000
    assert await class_of(storage.download(url, scratch / "copy", version)) is FailureClass.TRANSPORT
    server.asked.clear()
    assert await storage.download(url, scratch / "copy", version) == hashlib.sha256(CONTENT).hexdigest()
    assert (scratch / "copy").read_bytes() == CONTENT
    asked_from = int(server.asked[0].headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    assert len(CONTENT) - (asked_from if page.ranges else 0) == fetched_again


async def test_a_server_may_send_less_than_it_was_asked_for(server: WebServer, storage: Storage, scratch: Path) -> None:
    page = server.pages["/in/x.wav"]
    page.most_bytes, page.cut_after_bytes = 90_000, 100_000
    url = server.url("/in/x.wav")
    version, reader = await storage.open_reader(url)
    reader.seek(100_000)
    assert await class_of(asyncio.to_thread(reader.read, 100_000)) is FailureClass.TRANSPORT
    for expected in (100_000, 190_000, 280_000):
        assert await class_of(storage.download(url, scratch / "copy", version)) is FailureClass.TRANSPORT
        assert (scratch / "copy").stat().st_size == expected
    assert await storage.download(url, scratch / "copy", version) == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, FailureClass.ACCESS_DENIED),
        (403, FailureClass.ACCESS_DENIED),
        (404, FailureClass.INPUT_NOT_FOUND),
        (410, FailureClass.INPUT_NOT_FOUND),
        (429, FailureClass.THROTTLED),
        (500, FailureClass.TRANSPORT),
        (502, FailureClass.TRANSPORT),
        (503, FailureClass.THROTTLED),
    ],
)
async def test_an_answer_s_status_gives_its_class(
    server: WebServer, storage: Storage, status: int, expected: FailureClass
) -> None:
    server.pages["/in/secret-name"] = Page(b"secret-body", status=status)
    for call in (
        storage.get(server.url("/in/secret-name"), 10),
        storage.head(server.url("/in/secret-name")),
        storage.open_reader(server.url("/in/secret-name")),
    ):
        assert await class_of(call, "secret-name", "secret-body") is expected


async def test_retry_after_in_seconds_and_as_a_date(server: WebServer, storage: Storage) -> None:
    now = 1_800_000_000.0
    asking = {
        "7": 7.0,
        formatdate(now + 90, usegmt=True): 90.0,
        formatdate(now - 90, usegmt=True): 0.0,
        "soon": None,
        "-1": None,
    }
    for text, seconds in asking.items():
        server.pages["/in/busy"] = Page(status=429, headers={"Retry-After": text, "Date": formatdate(now, usegmt=True)})
        error = await error_of(storage.get(server.url("/in/busy"), 1))
        assert (error.failure_class, error.retry_after_seconds) == (FailureClass.THROTTLED, seconds)


async def test_sizes_are_bounded_and_must_be_stated(server: WebServer, storage: Storage) -> None:
    assert await class_of(storage.get(server.url("/in/x.wav"), 299_999)) is FailureClass.INVALID_INPUT
    server.pages["/in/endless"] = Page(b"abc", headers={"Content-Length": "", "Connection": "close"}, ranges=False)
    assert await class_of(storage.get(server.url("/in/endless"), 10)) is FailureClass.INVALID_INPUT
    server.pages["/in/packed"] = Page(b"abc", headers={"Content-Encoding": "gzip"})
    assert await class_of(storage.get(server.url("/in/packed"), 10)) is FailureClass.INVALID_INPUT


async def test_endless_headers_are_broken_off(server: WebServer, storage: Storage) -> None:
    server.pages["/in/x"] = Page(b"abc", headers={f"X-{number}": "x" * 1000 for number in range(200)})
    assert await class_of(storage.get(server.url("/in/x"), 10)) is FailureClass.TRANSPORT


async def test_a_presigned_query_is_sent_and_never_shown(
    server: WebServer, storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    query = "X-Amz-Signature=5ec2e7&X-Amz-Credential=AK%2F2026"
    assert await storage.get(server.url(f"/in/x.wav?{query}"), 300_000) == CONTENT
    assert server.asked[-1].target == f"/in/x.wav?{query}"
    for path in ("/in/nope", "/elsewhere/x"):
        await error_of(storage.get(server.url(f"{path}?{query}"), 1), "5ec2e7", "AK%2F2026", "nope")
    server.asked.clear()
    assert await class_of(storage.put(server.url(f"/in/out?{query}"), b""), "5ec2e7") is FailureClass.ACCESS_DENIED
    assert server.asked == [], "https is only read"
    assert "5ec2e7" not in repr(storage._allowed.resolve(server.url(f"/in/x.wav?{query}")))
    server.pages["/in/moved"] = redirect(f"x.wav?{query}")
    assert await storage.get(server.url("/in/moved"), 300_000) == CONTENT
    assert "5ec2e7" not in caplog.text


async def test_nothing_ambient_is_sent(
    server: WebServer, storage: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine localhost login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    server.pages["/in/x.wav"].headers = {"Set-Cookie": "id=1"}
    for _ in range(2):
        await storage.get(server.url("/in/x.wav"), 300_000)
    for asked in server.asked:
        assert set(asked.headers) <= {"host", "accept-encoding", "range"}
        assert asked.headers["accept-encoding"] == "identity"


# Redirects


def redirect(location: str, status: int = 302) -> Page:
    return Page(status=status, headers={"Location": location})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_inside_the_allowed_prefixes_are_followed(
    server: WebServer, storage: Storage, scratch: Path, status: int
) -> None:
    server.pages["/in/a"] = redirect(server.url("/in/b"), status)
    server.pages["/in/b"] = redirect("c?x=1", status)
    server.pages["/in/c"] = redirect("/in/x.wav", status)
    version = await storage.head(server.url("/in/a"))
    await storage.download(server.url("/in/a"), scratch / "copy", version)
    assert (scratch / "copy").read_bytes() == CONTENT


async def test_redirects_lead_nowhere_else(server: WebServer, storage: Storage) -> None:
    server.pages["/elsewhere/x"] = Page(b"secret")
    for number, location in enumerate(
        [
            "/elsewhere/x",
            "/in/../elsewhere/x",
            "/in/%2e%2e/elsewhere/x",
            f"https://127.0.0.1:{server.port}/in/x.wav",
            "https://169.254.169.254/in/x.wav",
            server.url("/in/x.wav").replace("https", "http"),
            "//example.com/in/x.wav",
            "file:///etc/passwd",
            "",
        ]
    ):
        server.pages[f"/in/{number}"] = redirect(location)
        call = storage.get(server.url(f"/in/{number}"), 10**6)
        assert await class_of(call, "passwd", "elsewhere/x") is FailureClass.ACCESS_DENIED, location
    assert all(asked.target.startswith("/in/") for asked in server.asked)


async def test_redirects_end(server: WebServer, storage: Storage) -> None:
    server.pages["/in/a"] = redirect("/in/a")
    assert await class_of(storage.get(server.url("/in/a"), 1)) is FailureClass.ACCESS_DENIED
    assert len(server.asked) == 4


# Hosts that may be connected to


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]"])
async def test_private_hosts_are_refused_without_a_connection(
    server: WebServer, authority: Authority, host: str
) -> None:
    prefix = server.url("/in/", host)
    async with Storage([prefix], None, HttpsConfig(ca_bundle=authority.ca_file)) as storage:
        assert await class_of(storage.get(f"{prefix}x.wav", 1)) is FailureClass.ACCESS_DENIED
    assert (server.asked, server.server_names) == ([], [])


async def test_the_address_that_was_checked_is_the_one_connected_to(
    server: WebServer, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name resolves to another machine each time, with a certificate that is still valid for the name."""
    answers = [["10.0.0.1", "8.8.8.8", "127.0.0.1"], ["10.0.0.1"]]
    asked: list[str] = []
    connected: list[str] = []
    connect = httpcore2.AnyIOBackend.connect_tcp

    def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers.pop(0)]

    async def recorded(
        tcp: httpcore2.AnyIOBackend,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- httpcore2's signature
        *_: object,
    ) -> httpcore2.AsyncNetworkStream:
        connected.append(host)
        if host != "127.0.0.1":
            raise httpcore2.ConnectError
        return await connect(tcp, host, port, timeout)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", recorded)
    url = server.url("/in/x.wav", "storage.test")
    assert await storage.get(url, 300_000) == CONTENT
    assert (asked, connected) == (["storage.test"], ["8.8.8.8", "127.0.0.1"])
    assert server.server_names == ["storage.test"]
    assert server.asked[0].headers["host"] == f"storage.test:{server.port}"

    await storage.aclose()
    assert await class_of(storage.get(url, 1), "storage.test") is FailureClass.ACCESS_DENIED
    assert connected == ["8.8.8.8", "127.0.0.1"]


async def test_a_certificate_of_another_host_is_refused(
    server: WebServer, https: HttpsConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(host: str, port: int) -> list[egress_policy.IpAddress]:
        return [ipaddress.ip_address("127.0.0.1")]

    monkeypatch.setattr(egress_policy, "resolve", resolve)
    prefix = server.url("/in/", "other.test")
    async with Storage([prefix], None, https) as storage:
        error = await error_of(storage.get(f"{prefix}x.wav", 1), "other.test")
    assert error.failure_class is FailureClass.ACCESS_DENIED
    assert "certificate" in error.message


async def test_an_untrusted_certificate_is_refused(server: WebServer) -> None:
    async with Storage([server.url("/in/")], None, HttpsConfig(private_networks=("127.0.0.0/8",))) as storage:
        error = await error_of(storage.get(server.url("/in/x.wav"), 1))
    assert error.failure_class is FailureClass.ACCESS_DENIED
    assert "certificate" in error.message
    assert server.asked == []


async def test_a_bundle_without_certificates_is_reported(server: WebServer, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    storage = Storage([server.url("/in/")], None, HttpsConfig(ca_bundle=tmp_path / "ca.pem"))
    error = await error_of(storage.get(server.url("/in/x.wav"), 1), str(tmp_path))
    assert error.failure_class is FailureClass.RUNTIME_MISMATCH, "another Mac may have its certificates"
    assert "caBundle" in error.message


async def test_without_a_bundle_the_machines_own_roots_are_trusted(
    server: WebServer, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = server.url("/in/")
    https = HttpsConfig(private_networks=("127.0.0.0/8",))
    async with Storage([prefix], None, https) as storage:
        assert await class_of(storage.get(f"{prefix}x.wav", 1)) is FailureClass.ACCESS_DENIED
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    async with Storage([prefix], None, https) as storage:
        assert await storage.get(f"{prefix}x.wav", len(CONTENT)) == CONTENT


async def test_roots_that_cannot_be_read_are_named(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    prefix = server.url("/in/")
    async with Storage([prefix], None, HttpsConfig(private_networks=("127.0.0.0/8",))) as storage:
        error = await error_of(storage.get(f"{prefix}x.wav", 1))
    assert error.failure_class is FailureClass.RUNTIME_MISMATCH
    assert "SSL_CERT_FILE" in error.message


async def test_an_unknown_host_is_transport(https: HttpsConfig) -> None:
    async with Storage(["https://storage.invalid/"], None, https) as storage:
        assert await class_of(storage.get("https://storage.invalid/x", 1), "invalid") is FailureClass.TRANSPORT


# Threads


@contextmanager
def few_threads(count: int) -> Iterator[None]:
    """Gives the event loop `count` threads for blocking calls; a stuck one does not delay the test."""
    executor = ThreadPoolExecutor(max_workers=count)
    asyncio.get_running_loop().set_default_executor(executor)
    try:
        yield
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


async def test_more_headers_than_threads_are_read_from_a_server_that_keeps_no_connection(
    server: WebServer, https: HttpsConfig
) -> None:
    """Each header is in two ranges, and each range takes a connection, which takes a look-up of the name."""
    behind = wav_behind(100_000)
    for number in range(8):
        server.pages[f"/in/{number}.wav"] = Page(behind, headers={"Connection": "close"})
    async with Storage([server.url("/in/")], None, https, Timeouts(response_seconds=10.0)) as storage:
        sources = [InputClip(str(number), server.url(f"/in/{number}.wav")) for number in range(8)]
        with few_threads(2):
            rows = await asyncio.gather(
                *(inspect_clip(storage, CONTRACT, number, source) for number, source in enumerate(sources))
            )
    assert [(row.refusal, row.audio_milliseconds) for row in rows] == [(None, 1000)] * 8


async def test_a_name_server_that_does_not_answer_holds_up_nobody_else(
    server: WebServer, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the look-up nor the header that waits for it occupies a thread that the rest of the agent needs."""
    server.pages["/in/x.wav"] = Page(wav_behind(100_000), headers={"Connection": "close"})
    asked, answer = asyncio.Event(), threading.Event()
    loop, really = asyncio.get_running_loop(), socket.getaddrinfo
    look_ups = 0

    def slow(host: str, port: int, **kinds: int) -> list[object]:
        nonlocal look_ups
        look_ups += 1
        if look_ups > 1:  # for the header's second range
            loop.call_soon_threadsafe(asked.set)
            assert answer.wait(30)
        return [*really(host, port, **kinds)]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with few_threads(1):
        inspecting = asyncio.create_task(inspect_clip(storage, CONTRACT, 0, InputClip("x", server.url("/in/x.wav"))))
        try:
            await asyncio.wait_for(asked.wait(), 10)
            assert await asyncio.wait_for(asyncio.to_thread(lambda: "done"), 10) == "done"
        finally:
            answer.set()
        assert (await inspecting).refusal is None


def wav_behind(chunk_bytes: int) -> bytes:
    """A wav of one second at 16 kHz after a chunk of other data, as studio software writes it."""
    chunks = [
        (b"fmt ", struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16)),
        (b"LIST", bytes(chunk_bytes)),
        (b"data", bytes(32000)),
    ]
    body = b"".join(name + struct.pack("<I", len(content)) + content for name, content in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


async def test_https_is_only_read(storage: Storage, server: WebServer) -> None:
    for call in (storage.put(server.url("/in/x"), b""), storage.put_once(server.url("/in/x"), b"")):
        error = await error_of(call)
        assert error.failure_class is FailureClass.ACCESS_DENIED and "a bucket" in error.message
    assert await class_of(storage.list_names(server.url("/in/"), 10)) is FailureClass.INVALID_INPUT
    assert server.asked == []
