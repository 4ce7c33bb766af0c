"""https:// output to a real WebDAV server."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest
from tests.component.storage.certificates import Authority
from tests.component.storage.errors import class_of, error_of
from tests.component.storage.raw_server import Asked, RawServer, head
from tests.component.storage.web_server import Page, WebDavServer, WebServer

from voxfleet_agent.config import HttpsConfig
from voxfleet_agent.storage import Storage
from voxfleet_agent.storage.upload_content import BytesContent
from voxfleet_api.failures import FailureClass, VoxFleetError

_NUMBERS = itertools.count()


@pytest.fixture
def folder(web_dav: WebDavServer) -> Path:
    """A folder for this test alone, which does not exist yet."""
    return web_dav.folder / f"test-{next(_NUMBERS)}"


@pytest.fixture
def prefix(web_dav: WebDavServer, folder: Path) -> str:
    return f"{web_dav.url}{folder.name}/"


@pytest.fixture
async def storage(authority: Authority, prefix: str) -> AsyncIterator[Storage]:
    https = HttpsConfig(ca_bundle=authority.ca_file, private_networks=("127.0.0.0/8",))
    async with Storage([prefix], None, https) as opened:
        yield opened


async def test_put_get_head_and_list(storage: Storage, prefix: str, folder: Path) -> None:
    await storage.put(f"{prefix}job/parts/a%20b.jsonl", b"one")
    await storage.put(f"{prefix}job/parts/a%20b.jsonl", b"three")
    await storage.put(f"{prefix}job/plan.json", b"")
    assert (folder / "job" / "parts" / "a b.jsonl").read_bytes() == b"three"
    assert await storage.get(f"{prefix}job/parts/a%20b.jsonl", 5) == b"three"
    assert (await storage.head(f"{prefix}job/parts/a%20b.jsonl")).size_bytes == 5
    assert await storage.exists(f"{prefix}job/plan.json")
    assert not await storage.exists(f"{prefix}job/nope.json")
    assert await storage.list_names(prefix, 10) == ["job/parts/a%20b.jsonl", "job/plan.json"]
    assert await storage.list_names(f"{prefix}job/parts/", 10) == ["a%20b.jsonl"]
    assert await storage.list_names(f"{prefix}nope/", 10) == []
    assert await class_of(storage.list_names(prefix, 1)) is FailureClass.INVALID_INPUT


async def test_names_survive_a_round_trip(storage: Storage, prefix: str) -> None:
    for name in ("ü 日本.wav", "a+b&c=d.wav", "(1)!$',;@~.wav", "100%25.wav", "a%3Fb%23c.wav"):
        await storage.put(f"{prefix}{name.replace(' ', '%20')}", name.encode())
    names = await storage.list_names(prefix, 10)
    contents = {(await storage.get(f"{prefix}{name}", 100)).decode() for name in names}
    assert contents == {"ü 日本.wav", "a+b&c=d.wav", "(1)!$',;@~.wav", "100%25.wav", "a%3Fb%23c.wav"}


async def test_put_once_keeps_what_is_there(storage: Storage, prefix: str) -> None:
    await storage.put_once(f"{prefix}x", b"one")
    await storage.put_once(f"{prefix}x", b"one")
    assert await class_of(storage.put_once(f"{prefix}x", b"two")) is FailureClass.MACHINE_LOST
    assert await storage.get(f"{prefix}x", 10) == b"one"


async def test_of_two_that_create_at_once_one_wins(storage: Storage, prefix: str) -> None:
    contents = [bytes([number]) * 50_000 for number in range(8)]
    results = await asyncio.gather(
        *(storage.put_once(f"{prefix}x", content) for content in contents), return_exceptions=True
    )
    winners = [content for content, result in zip(contents, results, strict=True) if result is None]
    assert winners == [await storage.get(f"{prefix}x", 100_000)]


class Breaking(BytesContent):
    """Content that cannot be read to its end, so that the upload breaks off."""

    async def blocks(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        async for block in super().blocks(start, stop // 2):
            yield block
        raise VoxFleetError(FailureClass.SCRATCH_EXHAUSTED, "gone")


@pytest.mark.parametrize("verb", ["put", "create"])
async def test_half_an_upload_is_never_an_object(storage: Storage, prefix: str, verb: str) -> None:
    await storage.put(f"{prefix}folder/other", b"")
    address = storage._allowed.resolve(f"{prefix}folder/x")
    assert await class_of(getattr(storage._web, verb)(address, Breaking(b"x" * 3_000_000))) is (
        FailureClass.SCRATCH_EXHAUSTED
    )
    assert await storage.list_names(prefix, 10) == ["folder/other"]
    await storage.put_once(f"{prefix}folder/x", b"whole")
    assert await storage.get(f"{prefix}folder/x", 10) == b"whole"


async def test_a_move_whose_answer_was_lost_may_be_repeated(authority: Authority) -> None:
    """The temporary upload is gone afterwards."""
    stored: dict[str, bytes] = {}

    async def script(asked: Asked) -> None:
        body = await asked.read_body()
        if asked.method == "PUT":
            stored[asked.target] = body
            await asked.send(head(201, "Content-Length: 0"))
        elif asked.method == "DELETE":
            await asked.send(head(204 if stored.pop(asked.target, None) is not None else 404, "Content-Length: 0"))
        elif asked.method == "GET":
            await asked.send(head(200, f"Content-Length: {len(stored[asked.target])}"), stored[asked.target])
        elif "/in/x" in stored:
            await asked.send(head(412, "Content-Length: 0"))
        else:
            stored["/in/x"] = stored.pop(asked.target)
            asked.hang_up()

    https = HttpsConfig(ca_bundle=authority.ca_file, private_networks=("127.0.0.0/8",))
    async with RawServer(script, authority.server_context()) as server:
        uri = server.url("/in/x")
        async with Storage([server.url("/in/")], None, https) as storage:
            assert await class_of(storage.put_once(uri, b"one")) is FailureClass.TRANSPORT
            await storage.put_once(uri, b"one")
            assert await class_of(storage.put_once(uri, b"two")) is FailureClass.MACHINE_LOST
    assert stored == {"/in/x": b"one"}


async def test_no_folder_is_made_above_the_allowed_prefix(authority: Authority) -> None:
    https = HttpsConfig(ca_bundle=authority.ca_file, private_networks=("127.0.0.0/8",))
    with WebServer(authority) as server:
        async with Storage([server.url("/teams/a/")], None, https) as storage:
            await class_of(storage.put(server.url("/teams/a/job/x"), b""))
    assert [asked.target for asked in server.asked if asked.method == "MKCOL"] == ["/teams/a/"]


async def test_download_and_put_file(storage: Storage, prefix: str, scratch: Path) -> None:
    content = os.urandom(3_000_000)
    (scratch / "spoken").write_bytes(content)
    await storage.put_file(f"{prefix}deep/er/a.wav", scratch / "spoken")
    await storage.put_file(f"{prefix}deep/er/a.wav", scratch / "spoken")
    version, reader = await storage.open_reader(f"{prefix}deep/er/a.wav")
    reader.seek(2_999_995)
    assert await asyncio.to_thread(reader.read, 100) == content[-5:]
    sha256 = await storage.download(f"{prefix}deep/er/a.wav", scratch / "copy", version)
    assert sha256 == hashlib.sha256(content).hexdigest()


async def test_many_folders_at_once(storage: Storage, prefix: str) -> None:
    names = [f"parts/{number % 5}/{number}.jsonl" for number in range(40)]
    await asyncio.gather(*(storage.put_once(f"{prefix}{name}", name.encode()) for name in names))
    assert await storage.list_names(prefix, 100) == sorted(names)


@pytest.mark.parametrize("status", [200, 405, 501])
async def test_unsupported_methods_of_a_plain_web_server_are_reported(authority: Authority, status: int) -> None:
    https = HttpsConfig(ca_bundle=authority.ca_file, private_networks=("127.0.0.0/8",))
    with WebServer(authority) as server:
        server.everything_else = Page(b"<html>", status=status)
        async with Storage([server.url("/out/")], None, https) as storage:
            listing = await error_of(storage.list_names(server.url("/out/"), 10))
            creating = await error_of(storage.put_once(server.url("/out/x"), b""))
    assert listing.failure_class is creating.failure_class is FailureClass.INVALID_INPUT
    assert "PROPFIND" in listing.message
    assert ("MOVE" if status == 200 else "does not support") in creating.message


@pytest.mark.parametrize(
    "document",
    [
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><multistatus xmlns="DAV:">&b;</multistatus>',
        b"\xff\xfe<\x00!\x00D\x00",
        b"no xml",
        b"",
    ],
)
async def test_hostile_listings_are_refused(authority: Authority, document: bytes) -> None:
    https = HttpsConfig(ca_bundle=authority.ca_file, private_networks=("127.0.0.0/8",))
    with WebServer(authority) as server:
        server.pages["/out/"] = Page(document, status=207)
        async with Storage([server.url("/out/")], None, https) as storage:
            assert await class_of(storage.list_names(server.url("/out/"), 10)) is FailureClass.TRANSPORT


async def test_a_listing_stays_in_its_folder(authority: Authority) -> None:
    """Whatever the server lists: the folder itself, parent folders, other hosts, the same folder forever."""
    hrefs = ["/out/", "/", "/etc/passwd", "/out/../secret", "https://other.test/out/x", "/out/deep/b.wav", "/out/a.wav"]
    responses = "".join(f"<response><href>{href}</href></response>" for href in [*hrefs, *hrefs])
    is_folder = "<propstat><prop><resourcetype><collection/></resourcetype></prop></propstat>"
    for folder in ("/out/", "/", "/out/deep/", "/out/deep/"):
        responses += f"<response><href>{folder}</href>{is_folder}</response>"
    document = f'<multistatus xmlns="DAV:">{responses}</multistatus>'.encode()
    https = HttpsConfig(ca_bundle=authority.ca_file, private_networks=("127.0.0.0/8",))
    with WebServer(authority) as server:
        server.everything_else = Page(document, status=207)
        async with Storage([server.url("/out/")], None, https) as storage:
            assert await storage.list_names(server.url("/out/"), 10) == ["a.wav", "deep/b.wav", "x"]
    assert [asked.target for asked in server.asked] == ["/out/", "/out/deep/"]
