"""Servers that a tenant runs: hostile responses fail only the tenant's own job."""

from __future__ import annotations

import asyncio
import itertools
import os
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import SecretStr
from tests.component.storage.certificates import Authority
from tests.component.storage.errors import LOOPBACK, class_of
from tests.component.storage.web_server import Page, WebServer

from voxfleet_agent.config import HttpsConfig
from voxfleet_agent.stages.plan.header_inspection import inspect_clip
from voxfleet_agent.stages.plan.input_clip import InputClip
from voxfleet_agent.storage import Storage, Timeouts
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Container, ContractInput
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.protocol import S3Credentials
from voxfleet_api.rows import ManifestRow

Body = Callable[[int], bytes]
MORE = b"<IsTruncated>true</IsTruncated><NextContinuationToken>%d</NextContinuationToken>"


class HostileS3:
    """Answers the nth GET with what `body` makes of n; knows better than every PUT."""

    def __init__(self, body: Body, headers: tuple[tuple[str, str], ...] = ()) -> None:
        numbers = itertools.count(1)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body are two writes

            def do_GET(self) -> None:
                content = body(next(numbers))
                self.send_response(200)
                for name, value in headers or (("Content-Length", str(len(content))),):
                    self.send_header(name, value)
                self.end_headers()
                try:
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True

            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(412)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Storage:
        self.thread.start()
        return s3_at(f"http://127.0.0.1:{self.server.server_port}")

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def s3_at(endpoint: str, access_key_id: str = "k", session_token: str | None = None) -> Storage:
    credentials = S3Credentials(
        access_key_id=SecretStr(access_key_id),
        secret_access_key=SecretStr("s"),
        session_token=None if session_token is None else SecretStr(session_token),
        endpoint_url=endpoint,
    )
    return Storage(["s3://bucket/"], credentials, LOOPBACK)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (lambda n: b"<R>" + MORE % n + b"</R>", FailureClass.INVALID_INPUT),
        (lambda n: b"<R><Contents><Key>p/%d/</Key></Contents>%b</R>" % (n, MORE % n), FailureClass.INVALID_INPUT),
        (lambda n: b"<R><Contents><Key>q/%d</Key></Contents>%b</R>" % (n, MORE % n), FailureClass.INVALID_INPUT),
        (lambda n: b"<R><Contents><Key>p/%d</Key></Contents>%b</R>" % (n, MORE % 1), FailureClass.INVALID_INPUT),
        (lambda n: b"<R><Contents><Key>p/%b</Key></Contents></R>" % (b"a" * 1025), FailureClass.INVALID_INPUT),
        (lambda _: b"<R>" + b"<a/>" * 2_000_000 + b"</R>", FailureClass.TRANSPORT),
    ],
    ids=[
        "empty pages",
        "folders for ever",
        "names of elsewhere",
        "one page for ever",
        "a name without end",
        "more tags than names",
    ],
)
async def test_a_listing_takes_neither_all_time_nor_all_memory(body: Body, expected: FailureClass) -> None:
    with HostileS3(body) as storage:
        async with storage, asyncio.timeout(60):
            assert await class_of(storage.list_names("s3://bucket/p/", 10**6)) is expected


async def test_an_object_whose_key_ends_in_a_slash_is_listed_and_a_folder_of_a_console_is_not() -> None:
    listing = (
        b"<R><Contents><Key>p/call.wav/</Key><Size>5</Size></Contents>"
        b"<Contents><Key>p/made/</Key><Size>0</Size></Contents></R>"
    )
    with HostileS3(lambda _: listing) as storage:
        async with storage:
            assert await storage.list_names("s3://bucket/p/", 10) == ["call.wav/"]


async def test_an_object_that_does_not_end_is_another_one() -> None:
    """The object states its length and sends chunks."""
    endless = b"10000\r\n%b\r\n" % bytes(65536) * 100
    lies = (("Content-Length", "3"), ("Transfer-Encoding", "chunked"), ("ETag", '"x"'))
    with HostileS3(lambda _: endless, lies) as storage:
        async with storage, asyncio.timeout(60):
            assert await class_of(storage.put_once("s3://bucket/x", b"abc")) is FailureClass.MACHINE_LOST


@pytest.mark.parametrize(("key", "token"), [("key-€", None), ("key", "token-€"), ("key\nX-Other: 1", None), ("", None)])
async def test_keys_that_no_header_can_hold_are_never_quoted(key: str, token: str | None) -> None:
    async with s3_at("http://127.0.0.1:1", key, token) as storage:
        with pytest.raises(VoxFleetError) as caught:
            await storage.head("s3://bucket/x")
    assert caught.value.failure_class is FailureClass.ACCESS_DENIED
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_an_s3_address_is_a_different_one_at_each_endpoint() -> None:
    origins = {s3_at(endpoint).origin("s3://bucket/m/") for endpoint in ("http://127.0.0.1:1", "http://127.0.0.1:2")}
    assert len(origins) == 2
    assert s3_at("http://127.0.0.1:1").origin("s3://bucket/m/") in origins


@pytest.fixture
def server(authority: Authority) -> Iterator[WebServer]:
    with WebServer(authority) as running:
        yield running


def web(server: WebServer, authority: Authority, timeouts: Timeouts | None = None) -> Storage:
    https = HttpsConfig(ca_bundle=authority.ca_file, private_networks=("127.0.0.0/8",))
    return Storage([server.url("/in/")], None, https, timeouts)


@pytest.mark.parametrize("location", ["https://[::1", "//[x]/", "https://a/..//[", "https://a:b@c/"])
async def test_a_redirect_to_what_is_no_address_is_refused(
    server: WebServer, authority: Authority, location: str
) -> None:
    server.pages["/in/x"] = Page(status=302, headers={"Location": location})
    async with web(server, authority) as storage:
        assert await class_of(storage.get(server.url("/in/x"), 10), location) is FailureClass.ACCESS_DENIED


async def test_readers_leave_threads_for_the_rest_of_the_agent(server: WebServer, authority: Authority) -> None:
    """Each reader needs a second range, and so a connection, for which the event loop resolves the host in a thread."""
    junk = b"LIST" + struct.pack("<I", 200_000) + os.urandom(200_000)
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16)
    body = b"WAVE" + form + junk + b"data" + struct.pack("<I", 32_000) + bytes(32_000)
    server.pages["/in/x.wav"] = Page(b"RIFF" + struct.pack("<I", len(body)) + body)
    accepted = ContractInput(containers=(Container.WAV,), sample_rates_hz=(16000,), channels=(1,))
    contract = VoiceContractSpec(input=accepted)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    async with web(server, authority, Timeouts(response_seconds=5)) as storage:
        source = InputClip("a", server.url("/in/x.wav"))
        found = await asyncio.gather(
            *(inspect_clip(storage, contract, index, source) for index in range(4)), return_exceptions=True
        )
    assert [row.audio_milliseconds if isinstance(row, ManifestRow) else row for row in found] == [1000] * 4
