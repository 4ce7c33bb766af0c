"""The ledger archive in a bucket of a real S3 server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.unit.billing.test_archive import FIRST, MAC, MONTH, addition, chain, newest, stored_rows

from voxfleet_billing import archive_bucket
from voxfleet_billing.archive_access import ArchiveError, ArchiveStore, ObjectMissing
from voxfleet_billing.archive_probe import OverwritesObjects, check_creates_once
from voxfleet_billing.archive_reader import month_indexes
from voxfleet_billing.archive_store import open_archive
from voxfleet_billing.archive_writer import revise, with_rows
from voxfleet_dev.s3 import S3Server

pytestmark = pytest.mark.component


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    found = S3Server(tmp_path_factory.mktemp("s3"))
    found.start()
    found.bucket("ledger")
    yield found
    found.stop()


@pytest.fixture
def store(server: S3Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ArchiveStore:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_access_key)
    return open_archive(f"s3://ledger/fleet/{request.node.name}")


def test_an_object_is_created_once(store: ArchiveStore) -> None:
    assert store.create("2026-11/mac-a/index/1.json", b"1")
    assert not store.create("2026-11/mac-a/index/1.json", b"2")
    assert store.get("2026-11/mac-a/index/1.json") == b"1"
    assert store.names("2026-11/mac-a/index") == ["1.json"] and store.names("2026-11") == ["mac-a"]
    assert store.names("2026-10") == [] and store.names("") == ["2026-11"]
    store.delete("2026-11/mac-a/index/1.json")
    store.delete("2026-11/mac-a/index/1.json")
    with pytest.raises(ObjectMissing, match=r"s3://ledger/fleet/.*/2026-11/mac-a/index/1\.json"):
        store.get("2026-11/mac-a/index/1.json")


def test_rows_go_there_and_come_back(store: ArchiveStore) -> None:
    rows, known = chain(6), None
    for begin in (0, 2, 4):
        known = revise(store, FIRST, known, with_rows(addition(rows[begin : begin + 2])))
    revise(store, FIRST, None, with_rows(addition(rows[4:])))
    assert stored_rows(store) == rows and newest(store).revision == 3
    assert [index.mac for index in month_indexes(store, MONTH)] == [MAC]


@pytest.mark.parametrize(("variable", "value"), [("AWS_SECRET_ACCESS_KEY", "wrong"), (None, None)])
def test_what_is_wrong_is_named(
    store: ArchiveStore, monkeypatch: pytest.MonkeyPatch, variable: str | None, value: str | None
) -> None:
    monkeypatch.setattr(archive_bucket, "RETRIES", 0)
    if variable is not None:
        monkeypatch.setenv(variable, str(value))
    other = open_archive("s3://ledger/fleet" if variable else "s3://no-such-bucket/fleet")
    for call in (lambda: other.names("2026-11"), lambda: other.create("a", b"1"), lambda: other.get("a")):
        with pytest.raises(ArchiveError, match="check that the bucket exists") as caught:
            call()
        assert not isinstance(caught.value, ObjectMissing) and "wrong" not in str(caught.value)


def test_a_server_that_is_gone_is_named_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_bucket, "RETRIES", 0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(ArchiveError, match="AWS_ENDPOINT_URL"):
        open_archive("s3://ledger").names("2026-11")


class OverwritingServer(BaseHTTPRequestHandler):
    """Takes every PUT, whatever it asks for."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("ETag", '"etag"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing to say."""


def test_a_server_that_ignores_if_none_match_is_refused(store: ArchiveStore, monkeypatch: pytest.MonkeyPatch) -> None:
    check_creates_once(store)
    check_creates_once(store)  # another leader has been there before
    with ThreadingHTTPServer(("127.0.0.1", 0), OverwritingServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(OverwritesObjects, match=r"s3://ledger/fleet/create-once\.probe: was overwritten"):
            check_creates_once(open_archive("s3://ledger/fleet"))
        server.shutdown()
