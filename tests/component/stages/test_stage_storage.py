"""Storage on real files, and the classes of what an S3 endpoint on loopback answers."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr
from tests.component.stages.stage_rig import touch_later

from voxfleet_agent.storage import Storage
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.protocol import S3Credentials


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def storage(data: Path) -> Storage:
    return Storage([f"{data.as_uri()}/"])


def uri(path: Path) -> str:
    return f"file://{path}"


async def class_of(call: object) -> FailureClass:
    with pytest.raises(VoxFleetError) as caught:
        await call  # type: ignore[misc] # a coroutine of any result
    assert "/" not in caught.value.message.replace("s3://", "").replace("HTTP/", ""), "no address in a message"
    return caught.value.failure_class


async def test_put_get_head_and_list(data: Path, storage: Storage) -> None:
    odd = data / "deep" / "a b#1%20ü?.txt"
    await storage.put(uri(odd), b"one")
    await storage.put(uri(odd), b"three")
    assert odd.read_bytes() == await storage.get(uri(odd), 5) == b"three"
    assert (await storage.head(uri(odd))).size_bytes == 5
    assert await storage.exists(uri(odd))
    assert not await storage.exists(uri(data / "nope"))
    assert await storage.list_names(f"{uri(data)}/", 10) == ["deep/a b#1%20ü?.txt"]
    assert await storage.list_names(f"{uri(data)}/nope/", 10) == []


async def test_put_once_keeps_what_is_there(data: Path, storage: Storage) -> None:
    await storage.put_once(uri(data / "x"), b"one")
    await storage.put_once(uri(data / "x"), b"one")
    assert await class_of(storage.put_once(uri(data / "x"), b"two")) is FailureClass.MACHINE_LOST
    assert (data / "x").read_bytes() == b"one"


async def test_download_takes_one_version_and_gives_its_sha256(data: Path, storage: Storage, tmp_path: Path) -> None:
    content = os.urandom(700_000)
    (data / "x").write_bytes(content)
    version = await storage.head(uri(data / "x"))
    target = tmp_path / "copy"
    assert await storage.download(uri(data / "x"), target, version) == hashlib.sha256(content).hexdigest()
    assert target.read_bytes() == content
    touch_later(data / "x")
    assert await class_of(storage.download(uri(data / "x"), target, version)) is FailureClass.INPUT_CHANGED


async def test_download_does_not_write_through_a_link(data: Path, storage: Storage, tmp_path: Path) -> None:
    (data / "x").write_bytes(b"new")
    victim = tmp_path / "victim"
    victim.write_bytes(b"old")
    (tmp_path / "target").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        await storage.download(uri(data / "x"), tmp_path / "target", await storage.head(uri(data / "x")))
    assert victim.read_bytes() == b"old"


async def test_a_reader_sees_any_part(data: Path, storage: Storage) -> None:
    content = os.urandom(200_000)
    (data / "x").write_bytes(content)
    version, reader = await storage.open_reader(uri(data / "x"))
    assert version.size_bytes == 200_000
    for offset, size in [(0, 12), (8, 4), (199_990, 100), (70_000, 100_000), (0, 1), (200_000, 5), (300_000, 5)]:
        assert reader.seek(offset) == offset
        assert reader.read(size) == content[offset : offset + size]


async def test_sizes_are_bounded(data: Path, storage: Storage) -> None:
    (data / "x").write_bytes(b"12345")
    assert await class_of(storage.get(uri(data / "x"), 4)) is FailureClass.INVALID_INPUT
    (data / "y").write_bytes(b"")
    assert await class_of(storage.list_names(f"{uri(data)}/", 1)) is FailureClass.INVALID_INPUT


async def test_what_is_absent_is_input_not_found(data: Path, storage: Storage) -> None:
    (data / "file").write_bytes(b"")
    for missing in (data / "nope", data / "file" / "below"):
        assert await class_of(storage.get(uri(missing), 10)) is FailureClass.INPUT_NOT_FOUND


async def test_only_regular_files_are_read(data: Path, storage: Storage) -> None:
    os.mkfifo(data / "pipe")
    (data / "folder").mkdir()
    for special in (data / "pipe", data / "folder"):
        assert await class_of(storage.get(uri(special), 10)) is FailureClass.ACCESS_DENIED
        assert await class_of(storage.open_reader(uri(special))) is FailureClass.ACCESS_DENIED


async def test_links_lead_nowhere_outside(data: Path, storage: Storage, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (data / "link").symlink_to(outside / "secret")
    (data / "folder").symlink_to(outside)
    for name in ("link", "folder/secret", "folder/new"):
        assert await class_of(storage.get(uri(data / name), 10)) is FailureClass.ACCESS_DENIED
        assert await class_of(storage.put(uri(data / name), b"x")) is FailureClass.ACCESS_DENIED
    assert await class_of(storage.list_names(f"{uri(data)}/", 10)) is FailureClass.ACCESS_DENIED
    assert list(outside.iterdir()) == [outside / "secret"]


async def test_links_inside_are_followed_to_files(data: Path, storage: Storage) -> None:
    (data / "x").write_bytes(b"here")
    (data / "link").symlink_to(data / "x")
    assert await storage.get(uri(data / "link"), 10) == b"here"


async def test_files_that_obstore_has_not_finished_are_not_listed(data: Path, storage: Storage) -> None:
    (data / "part.jsonl#1").write_bytes(b"half")
    assert await storage.list_names(f"{uri(data)}/", 10) == []


# S3


class Answering(BaseHTTPRequestHandler):
    """Answers every request with the status that its path ends with."""

    requests: list[str]
    headers_seen: list[str]

    def do_GET(self) -> None:
        self.requests.append(f"{self.command} {self.path}")
        self.headers_seen.append(str(self.headers))
        self.send_response(int(self.path.rpartition("/")[2]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_PUT = do_GET  # noqa: N815 -- the names that http.server calls

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    Answering.requests, Answering.headers_seen = [], []
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def s3(endpoint: str) -> Storage:
    credentials = S3Credentials(
        access_key_id=SecretStr("KEYID"), secret_access_key=SecretStr("SECRET"), endpoint_url=endpoint
    )
    return Storage(["s3://calls/"], credentials)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, FailureClass.ACCESS_DENIED),
        (403, FailureClass.ACCESS_DENIED),
        (404, FailureClass.INPUT_NOT_FOUND),
        (412, FailureClass.INPUT_CHANGED),
        (429, FailureClass.THROTTLED),
        (500, FailureClass.TRANSPORT),
        (503, FailureClass.THROTTLED),
    ],
)
async def test_an_answer_s_status_gives_its_class(endpoint: str, status: int, expected: FailureClass) -> None:
    assert await class_of(s3(endpoint).get(f"s3://calls/a/{status}", 10)) is expected
    assert Answering.requests == [f"GET /calls/a/{status}"], "retries are not the store's business"


async def test_an_endpoint_that_does_not_answer_is_transport() -> None:
    assert await class_of(s3("http://127.0.0.1:1").get("s3://calls/x", 10)) is FailureClass.TRANSPORT


async def test_only_the_job_s_credentials_are_used(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AMBIENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "AMBIENT")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "AMBIENT")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert await class_of(s3(endpoint).get("s3://calls/404", 10)) is FailureClass.INPUT_NOT_FOUND
    (headers,) = Answering.headers_seen
    assert "KEYID" in headers
    assert "AMBIENT" not in headers
    assert "SECRET" not in headers


async def test_s3_without_credentials_is_denied() -> None:
    assert await class_of(Storage(["s3://calls/"]).get("s3://calls/x", 10)) is FailureClass.ACCESS_DENIED
