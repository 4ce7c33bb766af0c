"""Storage on real folders: listings, links that lead out of them, and the sweep of what killed writers left."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from tests.component.storage.errors import class_of
from tests.component.storage.local_data import contents, uri

from voxfleet_agent.addresses import Address
from voxfleet_agent.storage import Storage, local_folders
from voxfleet_agent.storage.local_paths import open_folder
from voxfleet_agent.storage.staging_names import STAGING_PREFIX, staging_name
from voxfleet_api.failures import FailureClass


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
