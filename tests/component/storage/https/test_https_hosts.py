"""Which https:// hosts are connected to, how they prove who they are, and what a look-up of their names holds up."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpcore2
import pytest
from tests.component.storage.certificates import Authority
from tests.component.storage.errors import class_of, error_of
from tests.component.storage.web_server import CONTENT, Page, WebServer

from voxfleet_agent.config import HttpsConfig
from voxfleet_agent.stages.plan.header_inspection import inspect_clip
from voxfleet_agent.stages.plan.input_clip import InputClip
from voxfleet_agent.storage import Storage, Timeouts, egress_policy
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.contract_input import Container, ContractInput
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

CONTRACT = VoiceContractSpec(input=ContractInput(containers=(Container.WAV,), sample_rates_hz=(16000,), channels=(1,)))


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
