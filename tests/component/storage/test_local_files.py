"""Storage on real files: versions, writes that reach the disk, and the class of each error."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.component.storage.errors import class_of, error_of
from tests.component.storage.local_data import contents, uri

from voxfleet_agent.durable_files import sync_file
from voxfleet_agent.storage import Storage, local_files, staged_file
from voxfleet_agent.storage.upload_content import BLOCK_BYTES
from voxfleet_api.failures import FailureClass


def touch_later(path: Path) -> None:
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))


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


@pytest.mark.parametrize(("verb", "publishes"), [("put", "rename"), ("put_once", "link")])
async def test_bytes_reach_the_disk_before_the_name_and_the_name_before_the_return(
    data: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch, verb: str, publishes: str
) -> None:
    calls: list[str] = []
    for name in ("fsync", publishes):
        real = getattr(os, name)

        def recorded(*arguments: object, real: Callable[..., None] = real, name: str = name, **options: object) -> None:
            calls.append(name)
            real(*arguments, **options)

        monkeypatch.setattr(os, name, recorded)
    await getattr(storage, verb)(uri(data / "x"), b"x")
    assert calls == ["fsync", publishes, "fsync"]


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
    call = storage.download(uri(data / "x"), tmp_path / "target", await storage.head(uri(data / "x")))
    assert await class_of(call, str(tmp_path)) is FailureClass.SCRATCH_EXHAUSTED
    assert victim.read_bytes() == b"old"


async def test_a_longer_existing_file_is_replaced(data: Path, storage: Storage, tmp_path: Path) -> None:
    (data / "x").write_bytes(b"new")
    (tmp_path / "target").write_bytes(b"something longer")
    await storage.download(uri(data / "x"), tmp_path / "target", await storage.head(uri(data / "x")))
    assert (tmp_path / "target").read_bytes() == b"new"


async def test_a_full_scratch_is_scratch_exhausted(data: Path, storage: Storage) -> None:
    (data / "x").write_bytes(b"new")
    call = storage.download(uri(data / "x"), Path("/dev/full"), await storage.head(uri(data / "x")))
    error = await error_of(call)
    assert error.failure_class is FailureClass.SCRATCH_EXHAUSTED
    assert os.strerror(errno.ENOSPC) in error.message


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


async def test_a_missing_object_is_input_not_found(data: Path, storage: Storage) -> None:
    (data / "file").write_bytes(b"")
    for missing in (data / "nope", data / "file" / "below"):
        assert await class_of(storage.get(uri(missing), 10)) is FailureClass.INPUT_NOT_FOUND


async def test_only_regular_files_are_read(data: Path, storage: Storage) -> None:
    os.mkfifo(data / "pipe")
    (data / "folder").mkdir()
    for special in (data / "pipe", data / "folder"):
        assert await class_of(storage.get(uri(special), 10)) is FailureClass.INVALID_INPUT
        assert await class_of(storage.open_reader(uri(special))) is FailureClass.INVALID_INPUT


async def test_put_file_creates_or_finds_the_same(data: Path, storage: Storage, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    spoken = tmp_path / "spoken"
    spoken.write_bytes(content)
    await storage.put_file(uri(data / "deep" / "a.wav"), spoken)
    await storage.put_file(uri(data / "deep" / "a.wav"), spoken)
    assert (data / "deep" / "a.wav").read_bytes() == content
    spoken.write_bytes(content[:-1] + b"?")
    assert await class_of(storage.put_file(uri(data / "deep" / "a.wav"), spoken)) is FailureClass.MACHINE_LOST
    assert (data / "deep" / "a.wav").read_bytes() == content


async def test_put_file_uploads_only_a_file(data: Path, storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    for odd in ("link", "pipe", "nothing"):
        call = storage.put_file(uri(data / "x"), tmp_path / odd)
        assert await class_of(call, str(tmp_path)) is FailureClass.SCRATCH_EXHAUSTED
    assert contents(data) == {}


async def test_a_file_that_becomes_a_link_in_between_is_not_read(data: Path, storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (data / "x").write_bytes(b"mine")
    version, reader = await storage.open_reader(uri(data / "x"))
    (data / "x").unlink()
    (data / "x").symlink_to(tmp_path / "secret")

    async def read() -> bytes:
        reader.seek(0)
        return reader.read(version.size_bytes)

    assert await class_of(read()) is FailureClass.ACCESS_DENIED


async def test_a_reader_notices_a_change(data: Path, storage: Storage) -> None:
    (data / "x").write_bytes(b"first")
    _, reader = await storage.open_reader(uri(data / "x"))
    touch_later(data / "x")

    async def read() -> bytes:
        return reader.read(1)

    assert await class_of(read()) is FailureClass.INPUT_CHANGED


async def test_a_file_system_without_hard_links_will_do(
    data: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulates the errors of SMB shares and exFAT volumes, which no test machine has."""

    def link(*_: object, **__: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(os, "link", link)
    await storage.put_once(uri(data / "x"), b"one")
    await storage.put_once(uri(data / "x"), b"one")
    assert await class_of(storage.put_once(uri(data / "x"), b"two")) is FailureClass.MACHINE_LOST
    assert contents(data) == {"x": b"one"}


async def test_of_two_that_create_at_once_one_wins(data: Path, storage: Storage) -> None:
    contents = [bytes([number]) * 100_000 for number in range(8)]
    results = await asyncio.gather(
        *(storage.put_once(uri(data / "x"), content) for content in contents), return_exceptions=True
    )
    winners = [content for content, result in zip(contents, results, strict=True) if result is None]
    assert winners == [(data / "x").read_bytes()]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, FailureClass.TRANSPORT),
        (errno.EDQUOT, FailureClass.TRANSPORT),
        (errno.EIO, FailureClass.TRANSPORT),
        (errno.ESTALE, FailureClass.TRANSPORT),
        (errno.EROFS, FailureClass.ACCESS_DENIED),
        (errno.EACCES, FailureClass.ACCESS_DENIED),
    ],
)
async def test_each_error_of_a_write_has_a_class(
    data: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch, number: int, expected: FailureClass
) -> None:
    def rename(*names: object, **_: object) -> None:
        raise OSError(number, os.strerror(number), str(data / "name of a clip.json"))

    monkeypatch.setattr(os, "rename", rename)
    assert await class_of(storage.put(uri(data / "x"), b"x"), "name of a clip") is expected
    assert contents(data) == {}


async def test_a_slow_disk_does_not_stop_the_loop(data: Path, storage: Storage, tmp_path: Path) -> None:
    """The copy waits in a thread until the event loop has made progress."""
    (data / "x").write_bytes(b"x")
    version = await storage.head(uri(data / "x"))
    begun, went_on = threading.Event(), threading.Event()
    write = os.write

    def slow_write(descriptor: int, block: bytes) -> int:
        begun.set()
        assert went_on.wait(10), "the loop stood still"
        return write(descriptor, block)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", slow_write)
        task = asyncio.create_task(storage.download(uri(data / "x"), tmp_path / "copy", version))
        await asyncio.to_thread(begun.wait, 10)
        went_on.set()
        await task
    assert (tmp_path / "copy").read_bytes() == b"x"


async def test_a_large_file_is_synced_piece_by_piece(
    data: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sync of everything may take longer than a mount may be silent."""
    monkeypatch.setattr(local_files, "SYNC_BYTES", BLOCK_BYTES)
    sizes: list[int] = []
    sync = sync_file

    def synced(descriptor: int) -> None:
        sizes.append(os.fstat(descriptor).st_size)
        sync(descriptor)

    monkeypatch.setattr(staged_file, "sync_file", synced)
    await storage.put(uri(data / "large"), bytes(2 * BLOCK_BYTES + 1))
    assert sizes == [BLOCK_BYTES, 2 * BLOCK_BYTES, 2 * BLOCK_BYTES + 1]
