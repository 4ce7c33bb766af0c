"""Scratch on a real file system."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from voxfleet_agent.attempts.key import AttemptKey
from voxfleet_agent.journal.journal import JournalError
from voxfleet_agent.scratch import Scratch
from voxfleet_api.failures import FailureClass, VoxFleetError

KEY = AttemptKey("shard-1", 1)


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Scratch]:
    opened = Scratch(tmp_path / "scratch", quota_bytes=1000, min_free_bytes=0)
    yield opened
    opened.close()


async def test_reservations_hold_the_quota_and_wait_for_siblings(scratch: Scratch) -> None:
    attempt = scratch.open_attempt(KEY)
    assert attempt.path.stat().st_mode & 0o777 == 0o700
    first = await attempt.reserve("a", 600)
    first.write_bytes(b"x" * 600)
    waiting = asyncio.create_task(attempt.reserve("b", 500))
    await asyncio.sleep(0)
    assert not waiting.done() and scratch.shortage(500) is not None
    await attempt.release(first)
    second = await waiting
    await attempt.release(first)
    assert not first.exists() and scratch.reserved_bytes == 500 and attempt.high_water_bytes == 600
    await attempt.release(second)
    assert scratch.reserved_bytes == 0
    attempt.close()


async def test_what_can_never_fit_is_refused(scratch: Scratch) -> None:
    attempt = scratch.open_attempt(KEY)
    with pytest.raises(VoxFleetError) as caught:
        await attempt.reserve("a", 1001)
    assert caught.value.failure_class is FailureClass.SCRATCH_EXHAUSTED and "quota" in caught.value.message
    for name in ("", ".", "..", "a/b", "../x", "/etc/x"):
        with pytest.raises(ValueError, match="plain file name"):
            await attempt.reserve(name, 1)
    attempt.close()


async def test_min_free_is_kept(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "scratch", quota_bytes=1000, min_free_bytes=2**62)
    attempt = scratch.open_attempt(KEY)
    with pytest.raises(VoxFleetError, match=r"minFree"):
        await attempt.reserve("a", 1)
    attempt.close()
    scratch.close()


async def test_cleanup_twice_unlinks_nothing_the_second_time(scratch: Scratch) -> None:
    attempt = scratch.open_attempt(KEY)
    (await attempt.reserve("a", 10)).write_bytes(b"x" * 10)
    (attempt.path / "deep" / "deeper").mkdir(parents=True)
    (attempt.path / "deep" / "deeper" / "file").write_bytes(b"y" * 7)
    attempt.close()
    assert scratch.residue_bytes(KEY) == 17
    assert await scratch.remove_attempt(KEY) == 5
    assert scratch.residue_bytes(KEY) == 0 and scratch.reserved_bytes == 0
    assert await scratch.remove_attempt(KEY) == 0
    assert await scratch.sweep(owned=()) == 0


async def test_a_planted_link_is_removed_and_never_followed(scratch: Scratch, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"keep")
    attempt = scratch.open_attempt(KEY)
    (attempt.path / "folder").symlink_to(outside)
    (attempt.path / "file").symlink_to(outside / "precious")
    (attempt.path / "loop").symlink_to(attempt.path)
    attempt.close()
    other = AttemptKey("shard-2", 1)
    (scratch.attempts_path / str(other)).symlink_to(outside)
    with pytest.raises(OSError, match=r"Not a directory|symbolic link"):
        scratch.open_attempt(other)
    await scratch.remove_attempt(KEY)
    await scratch.sweep(owned=())
    assert list(scratch.attempts_path.iterdir()) == []
    assert (outside / "precious").read_bytes() == b"keep"


async def test_a_folder_swapped_for_a_link_does_not_move_the_work(scratch: Scratch, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "clip").write_bytes(b"keep")
    attempt = scratch.open_attempt(KEY)
    path = await attempt.reserve("clip", 4)
    attempt.path.rename(tmp_path / "aside")
    attempt.path.symlink_to(outside)
    await attempt.release(path)
    attempt.close()
    assert (outside / "clip").read_bytes() == b"keep"


async def test_the_sweep_leaves_owned_folders_and_everything_beside_them(scratch: Scratch) -> None:
    mine, stale = AttemptKey("mine", 1), AttemptKey("stale", 4)
    for key in (mine, stale):
        scratch.open_attempt(key).close()
    beside = scratch.attempts_path.parent / "not-ours"
    beside.write_bytes(b"keep")
    assert await scratch.sweep(owned={str(mine)}) == 1
    assert [path.name for path in scratch.attempts_path.iterdir()] == [str(mine)] and beside.exists()


def test_two_agents_cannot_share_a_scratch_folder(scratch: Scratch) -> None:
    with pytest.raises(JournalError, match="another voxfleet-agent"):
        Scratch(scratch.attempts_path.parent, 1, 0)
