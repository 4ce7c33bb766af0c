"""What is read from https:// servers of all kinds: versions, ranges, answers, secrets and redirects."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from email.utils import formatdate
from pathlib import Path

import pytest
from tests.component.storage.errors import class_of, error_of
from tests.component.storage.web_server import CONTENT, Page, WebServer

from voxfleet_agent.storage import ObjectVersion, Storage
from voxfleet_api.failures import FailureClass

MODIFIED = 1_700_000_000.0


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


async def test_https_is_only_read(storage: Storage, server: WebServer) -> None:
    for call in (storage.put(server.url("/in/x"), b""), storage.put_once(server.url("/in/x"), b"")):
        error = await error_of(call)
        assert error.failure_class is FailureClass.ACCESS_DENIED and "a bucket" in error.message
    assert await class_of(storage.list_names(server.url("/in/"), 10)) is FailureClass.INVALID_INPUT
    assert server.asked == []
