"""Forms and bodies that no honest client sends: each gets its documented status, and no lane is asked for them."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import StreamReader
from tests.rig.fake_lane_session import FakeLane
from tests.rig.served_endpoint import ServedEndpoint, contract_spec, serving, voice_endpoint

from voxfleet_api.session_protocol import AudioTaken
from voxfleet_gateway import loop_share
from voxfleet_gateway.http_api import ROUTES
from voxfleet_gateway.http_api.upload_form import MAX_FIELDS

pytestmark = pytest.mark.component

FORM = {"Content-Type": "multipart/form-data; boundary=b"}
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
END = b"\r\n--b--\r\n"


@pytest.fixture
def lane() -> FakeLane:
    return FakeLane()


@pytest.fixture
async def uploads(lane: FakeLane) -> AsyncIterator[str]:
    async with serving(ServedEndpoint(voice_endpoint(), contract_spec(), lane), ROUTES) as address:
        yield f"{address}/v1/audio/transcriptions"


@pytest.fixture
async def texts(lane: FakeLane) -> AsyncIterator[str]:
    endpoint = voice_endpoint(task="Synthesize", synthesis={"voice": "af_heart"})
    async with serving(ServedEndpoint(endpoint, contract_spec(), lane), ROUTES) as address:
        yield f"{address}/v1/audio/speech"


async def refused(address: str, body: bytes, headers: dict[str, str]) -> tuple[int, str, str]:
    """Status, code and message."""
    async with (
        asyncio.timeout(5),
        aiohttp.ClientSession() as client,
        client.post(address, data=pieces(body), headers=headers) as response,
    ):
        error = (await response.json())["error"]
        return response.status, error["code"], error["message"]


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 2**16):
        yield body[start : start + 2**16]


def field(name: str, value: bytes) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="' + name.encode() + b'"\r\n\r\n' + value + b"\r\n"


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"", {"Content-Type": "multipart/form-data"}, 400, "invalid_form"),
        (b"", FORM, 400, "invalid_form"),
        (b"RIFF", {"Content-Type": "audio/wav"}, 400, "invalid_content_type"),
        (b"no boundary in it", FORM, 400, "invalid_form"),
        (b"--b--\r\n", FORM, 400, "missing_file"),
        (field("model", b"captions") + b"--b--\r\n", FORM, 400, "missing_file"),
        (FILE + END, FORM, 400, "empty_file"),
        (FILE + b"RIFF", FORM, 400, "invalid_form"),
        (FILE + b"RIFF\r\n" + FILE + b"RIFF" + END, FORM, 400, "invalid_form"),
        (field("prompt", bytes(2**24)) + b"--b--\r\n", FORM, 400, "invalid_form"),
        (field("prompt", b"x" * 2_000) * 40 + b"--b--\r\n", FORM, 400, "invalid_form"),
        (field("prompt", b"\xff\xfe") + b"--b--\r\n", FORM, 400, "invalid_form"),
        (field("model", b"captions") * (MAX_FIELDS + 1) + b"--b--\r\n", FORM, 400, "invalid_form"),
        (b"--b\r\nX: " + b"x" * 5000 + b"\r\n\r\n" + END, FORM, 400, "invalid_form"),
        (b"--b\r\n\r\nno name" + END, FORM, 400, "invalid_form"),
        (b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c--" + END, FORM, 400, "invalid_form"),
        (field("_charset_", b"x" * 40) + b"--b--\r\n", FORM, 400, "invalid_form"),
        (field("model", b"/etc/passwd") + FILE + b"RIFF" + END, FORM, 404, "model_not_found"),
        (field("ref_audio", b"/etc/passwd") + FILE + b"RIFF" + END, FORM, 400, "invalid_value"),
    ],
)
async def test_a_damaged_form_is_refused(
    body: bytes, headers: dict[str, str], status: int, code: str, uploads: str, lane: FakeLane
) -> None:
    answer = await refused(uploads, body, headers)
    assert answer[:2] == (status, code)
    assert "/etc/passwd" not in answer[2]
    assert lane.sessions == []


async def test_a_file_has_an_extension_and_no_name(uploads: str, lane: FakeLane) -> None:
    named = FILE.replace(b"a.wav", b"../../etc/passwd%00.M4A")
    calling = asyncio.create_task(refused(uploads, named + b"RIFF" + END, FORM))
    async with asyncio.timeout(5):
        session = await lane.next_session()
        calling.cancel()
        await session.left.wait()
    assert getattr(session.request, "extension", None) == "m4a"


@pytest.mark.parametrize("begins", [FILE, field("prompt", b"")[:-2]], ids=["a file", "a field"])
async def test_an_upload_that_drips_is_refused_and_takes_no_lane(begins: bytes, lane: FakeLane) -> None:
    """A byte now and then does not keep it alive."""
    endpoint = voice_endpoint(session={"idleSeconds": 1})

    async def drops() -> AsyncIterator[bytes]:
        yield begins
        while True:
            yield b"x"
            await asyncio.sleep(0.05)

    async with (
        asyncio.timeout(5),
        serving(ServedEndpoint(endpoint, contract_spec(), lane), ROUTES) as address,
        aiohttp.ClientSession() as client,
        client.post(f"{address}/v1/audio/transcriptions", data=drops(), headers=FORM) as response,
    ):
        assert response.status == 408
    assert lane.sessions == []


async def test_empty_lines_before_a_form_keep_the_loop_from_nobody(
    uploads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, looks = 0, Counter[int]()
    monkeypatch.setattr(loop_share, "SLICE_SECONDS", 0.0)
    read = StreamReader.readline

    async def readline(self: StreamReader, *, max_line_length: int | None = None) -> bytes:
        looks[turns] += 1
        return await read(self, max_line_length=max_line_length)

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    monkeypatch.setattr(StreamReader, "readline", readline)
    other = asyncio.create_task(others())
    assert (await refused(uploads, b"\r\n" * 2_000 + b"--b--\r\n", FORM))[1] == "missing_file"
    other.cancel()
    assert looks.total() > 2_000
    assert max(looks.values()) < 100


async def test_a_client_that_goes_away_in_the_middle_of_its_form_leaves_nothing(uploads: str, lane: FakeLane) -> None:
    begun = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield FILE + bytes(3 * 2**20)
        begun.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(5), aiohttp.ClientSession() as client:
        calling = asyncio.create_task(client.post(uploads, data=half(), headers=FORM))
        await begun.wait()
        session = await lane.next_session()
        calling.cancel()
        await session.left.wait()


async def test_a_slow_upload_holds_nothing_of_what_the_lane_has_counted(uploads: str, lane: FakeLane) -> None:
    async def half() -> AsyncIterator[bytes]:
        yield FILE + bytes(3 * 2**20)
        await asyncio.Event().wait()

    async with asyncio.timeout(20), aiohttp.ClientSession() as client:
        calling = asyncio.create_task(client.post(uploads, data=half(), headers=FORM))
        session = await lane.next_session()
        session.tell(*(AudioTaken(total_bytes=number) for number in range(500)))
        while not session._events.empty():  # noqa: ASYNC110 # nobody tells of it
            await asyncio.sleep(0.01)
        assert sum(isinstance(held, AudioTaken) for held in gc.get_objects()) < 10
        calling.cancel()
        await session.left.wait()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"[" * 200_000, 400, "invalid_json"),
        (b'{"input": "' + b"x" * 100_000 + b'"}', 400, "invalid_value"),
        (b'{"input": "' + b"x" * 2**21 + b'"}', 413, "body_too_large"),
        (b'{"input": "a", "ref_audio": "/etc/passwd"}', 400, "invalid_value"),
        (b'{"input": "a", "voice": "/etc/passwd"}', 400, "invalid_value"),
        (b'{"input": "a", "model": "/etc/passwd"}', 404, "model_not_found"),
    ],
)
async def test_a_damaged_text_is_refused(body: bytes, status: int, code: str, texts: str, lane: FakeLane) -> None:
    answer = await refused(texts, body, {"Content-Type": "application/json"})
    assert answer[:2] == (status, code)
    assert "/etc/passwd" not in answer[2]
    assert lane.sessions == []
