"""Storage on real files."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.component.storage.errors import class_of, error_of
from tests.rig.loop_guard import files_off_the_loop

from voxfleet_agent.addresses import Address
from voxfleet_agent.durable_files import sync_file
from voxfleet_agent.storage import Storage, local_files, local_folders, staged_file
from voxfleet_agent.storage.local_paths import open_folder
from voxfleet_agent.storage.staging_names import STAGING_PREFIX, staging_name
from voxfleet_agent.storage.upload_content import BLOCK_BYTES
from voxfleet_api.failures import FailureClass


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def guard(data: Path) -> Iterator[None]:
    with files_off_the_loop(data):
        yield


@pytest.fixture
def storage(data: Path) -> Storage:
    return Storage([f"{data.as_uri()}/"])


def uri(path: Path) -> str:
    return f"file://{path}"


def touch_later(path: Path) -> None:
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() if path.is_file() else b"" for path in folder.iterdir()}


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
    assert contents(outside) == {"secret": b"secret"}


async def test_links_inside_are_followed_to_files(data: Path, storage: Storage) -> None:
    (data / "x").write_bytes(b"here")
    (data / "link").symlink_to(data / "x")
    assert await storage.get(uri(data / "link"), 10) == b"here"


async def test_unfinished_files_are_not_listed(data: Path, storage: Storage) -> None:
    (data / f"{STAGING_PREFIX}1").write_bytes(b"half")
    (data / ".DS_Store").write_bytes(b"")
    assert await storage.list_names(f"{uri(data)}/", 10) == [".DS_Store"]


async def test_nothing_unfinished_is_left(data: Path, storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "spoken").write_bytes(b"audio")
    await storage.put(uri(data / "a"), b"1")
    await storage.put_once(uri(data / "a"), b"1")
    await storage.put_file(uri(data / "b"), tmp_path / "spoken")
    (data / "folder").mkdir()
    await class_of(storage.put(uri(data / "folder"), b"not a folder"))
    assert sorted(contents(data)) == ["a", "b", "folder"]


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


async def test_a_folder_that_becomes_a_link_in_between_leads_nowhere(
    data: Path, storage: Storage, tmp_path: Path
) -> None:
    """The address is resolved, then the folder is swapped, then the file is opened."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_bytes(b"secret")
    (data / "folder").mkdir()
    (data / "folder" / "x").write_bytes(b"mine")
    locate = storage._local._locate

    async def locate_then_swap(address: Address) -> object:
        resolved = await locate(address)
        (data / "folder").rename(data / "gone")
        (data / "folder").symlink_to(outside)
        return resolved

    for call in (
        lambda: storage.get(uri(data / "folder" / "x"), 100),
        lambda: storage.put(uri(data / "folder" / "x"), b"replaced"),
        lambda: storage.put_once(uri(data / "folder" / "new"), b"planted"),
        lambda: storage.open_reader(uri(data / "folder" / "x")),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(storage._local, "_locate", locate_then_swap)
            assert await class_of(call()) in (FailureClass.ACCESS_DENIED, FailureClass.INPUT_NOT_FOUND)
        (data / "folder").unlink()
        (data / "gone").rename(data / "folder")
    assert contents(outside) == {"x": b"secret"}


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


async def test_a_folder_that_becomes_a_link_while_it_is_listed_is_not_followed(
    storage: Storage, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "in" / "sub").mkdir(parents=True)
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "payroll.wav").touch()
    real_scandir = os.scandir

    def swap(folder: int | str) -> os._ScandirIterator[str]:
        if (data / "in" / "sub").is_symlink():
            return real_scandir(folder)
        with real_scandir(folder) as entries:
            found = list(entries)
        (data / "in" / "sub").rmdir()
        (data / "in" / "sub").symlink_to(tmp_path / "private")
        return contextlib.nullcontext(iter(found))  # type: ignore[return-value] # the entries read before the swap

    monkeypatch.setattr("voxfleet_agent.storage.local_folders.os.scandir", swap)
    assert await class_of(storage.list_names(uri(data / "in") + "/", 10)) in (
        FailureClass.INPUT_NOT_FOUND,
        FailureClass.ACCESS_DENIED,
    )


async def test_a_link_may_be_the_allowed_folder_or_lead_into_another_one(tmp_path: Path) -> None:
    for name in ("real", "other", "outside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_bytes(name.encode())
        (tmp_path / "real" / f"to-{name}").symlink_to(tmp_path / name / "x")
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    storage = Storage([f"file://{tmp_path}/alias/", f"file://{tmp_path}/other/"])
    assert await storage.get(f"file://{tmp_path}/alias/x", 10) == b"real"
    assert await storage.get(f"file://{tmp_path}/alias/to-other", 10) == b"other"
    assert await class_of(storage.get(f"file://{tmp_path}/alias/to-outside", 10)) is FailureClass.ACCESS_DENIED
    assert await class_of(storage.get(f"file://{tmp_path}/real/x", 10)) is FailureClass.ACCESS_DENIED


async def test_what_a_killed_writer_left_is_removed_and_nothing_else(data: Path, storage: Storage) -> None:
    """The writer is a process that is killed in the middle of its upload; another one goes on."""
    program = f"""
        import asyncio, os, signal, sys
        from voxfleet_agent.storage import Storage

        class Endless:
            size_bytes = 10
            async def blocks(self, start, stop):
                yield b"half"
                print("begun", flush=True)
                await asyncio.Event().wait()

        asyncio.run(Storage(["{data.as_uri()}/"]).put("{(data / "deep" / "killed").as_uri()}", Endless()))
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    writers = [await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE) for _ in range(2)]
    for writer in writers:
        assert writer.stdout is not None and await writer.stdout.readline() == b"begun\n"
    writers[0].kill()
    await writers[0].wait()
    foreign = data / "deep" / f"{STAGING_PREFIX}000000000000-1234"
    for name, age_seconds in ((foreign, 60), (foreign.with_suffix(".old"), 30 * 86_400)):
        name.write_bytes(b"of another machine")
        os.utime(name, (time.time() - age_seconds,) * 2)
    (data / "deep" / "result").write_bytes(b"kept")
    assert await storage.remove_unfinished(f"{data.as_uri()}/") == 2
    left = sorted(path.name for path in (data / "deep").iterdir())
    assert len(left) == 3 and foreign.name in left and "result" in left
    writers[1].kill()
    await writers[1].wait()
    assert await storage.remove_unfinished(f"{data.as_uri()}/") == 1
    assert sorted(path.name for path in (data / "deep").iterdir()) == [foreign.name, "result"]


async def test_a_sweep_leaves_what_it_may_not_touch_and_goes_on(
    data: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two folders one may not be entered; beside the other's leftover lies a name that cannot be opened."""
    for name in ("closed", "open"):
        (data / name).mkdir()
        (data / name / staging_name()).write_bytes(b"half")
    (data / "open" / staging_name()).symlink_to("nowhere")
    other_machine = data / "open" / f"{STAGING_PREFIX}000000000000-1234"
    other_machine.symlink_to("nowhere")
    enter = open_folder

    def refuse(allowed: str, path: str, below: tuple[str, ...] = ()) -> contextlib.AbstractContextManager[int]:
        if below == ("closed",):
            raise PermissionError(errno.EACCES, "Permission denied")
        return enter(allowed, path, below)

    monkeypatch.setattr(local_folders, "open_folder", refuse)
    assert await storage.remove_unfinished(f"{data.as_uri()}/") == 1
    assert all(path.is_symlink() for path in (data / "open").iterdir())


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


ODD_NAMES = [
    "a%2Fb", "100%25", "%2e%2e", "a%5Cb", "back\\slash", "..;x", "x%00y", "...", " lead", "trail ", "new\nline", "*?",
]  # fmt: skip


async def test_every_name_that_a_listing_gives_can_be_read(data: Path, storage: Storage, tmp_path: Path) -> None:
    for name in ODD_NAMES:
        (data / name).write_bytes(name.encode())
    names = await storage.list_names(f"{uri(data)}/", 100)
    assert names == sorted(ODD_NAMES)
    for name in names:
        address = f"{uri(data)}/{name}"
        assert await storage.get(address, 100) == name.encode()
        await storage.download(address, tmp_path / "copy", await storage.head(address))
        assert (tmp_path / "copy").read_bytes() == name.encode()
