"""Scratch on a real file system."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from voxfleet_agent.folder_lock import FolderInUseError
from voxfleet_agent.scratch import Scratch
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.failures import FailureClass, VoxFleetError

KEY = AttemptKey("shard-1", 1)


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Scratch]:
    opened = Scratch(tmp_path / "scratch", quota_bytes=1000, min_free_bytes=0)
    yield opened
    opened.close()


async def test_reservations_hold_the_quota_and_wait_for_siblings(scratch: Scratch) -> None:
    attempt = scratch.open_attempt(KEY, 10_000)
    assert attempt.path.stat().st_mode & 0o777 == 0o700
    first = await attempt.reserve("a", 600)
    first.write_bytes(b"x" * 600)
    waiting = asyncio.create_task(attempt.reserve("b", 500))
    await asyncio.sleep(0)
    assert not waiting.done() and scratch.reserved_bytes == 600
    await attempt.release(first)
    second = await waiting
    await attempt.release(first)
    assert not first.exists() and scratch.reserved_bytes == 500 and attempt.high_water_bytes == 600
    await attempt.release(second)
    assert scratch.reserved_bytes == 0
    attempt.close()


async def test_a_resumed_attempt_begins_with_an_empty_folder(scratch: Scratch, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"keep")
    left = scratch.attempts_path / str(KEY)
    (left / "deep" / "deeper").mkdir(parents=True)
    (left / "deep" / "deeper" / "file").write_bytes(b"x")
    (left / "clip-1").write_bytes(b"x" * 5000)
    (left / "link").symlink_to(outside)
    (left / "deep" / "link").symlink_to(outside / "precious")
    sibling = scratch.attempts_path / "shard-2.1"
    sibling.mkdir()
    (sibling / "clip-1").write_bytes(b"y")
    attempt = scratch.open_attempt(KEY, 10_000)
    assert list(attempt.path.iterdir()) == []
    assert [path.name for path in outside.iterdir()] == ["precious"] and (sibling / "clip-1").exists()
    attempt.close()


async def test_an_attempt_is_refused_when_another_folder_lies_in_the_place_of_scratch(
    scratch: Scratch, tmp_path: Path
) -> None:
    scratch.attempts_path.rename(tmp_path / "unmounted")
    for _ in range(2):
        with pytest.raises(VoxFleetError, match="its volume was unmounted") as caught:
            scratch.open_attempt(KEY, 100)
        assert caught.value.failure_class is FailureClass.SCRATCH_EXHAUSTED
        scratch.attempts_path.mkdir(exist_ok=True)
    assert list(scratch.attempts_path.iterdir()) == []


async def test_a_reservation_that_can_never_fit_is_refused(scratch: Scratch) -> None:
    attempt = scratch.open_attempt(KEY, 10_000)
    with pytest.raises(VoxFleetError) as caught:
        await attempt.reserve("a", 1001)
    assert caught.value.failure_class is FailureClass.SCRATCH_EXHAUSTED and "quota" in caught.value.message
    for name in ("", ".", "..", "a/b", "../x", "/etc/x"):
        with pytest.raises(ValueError, match="plain file name"):
            await attempt.reserve(name, 1)
    attempt.close()


async def test_min_free_is_kept(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "scratch", quota_bytes=1000, min_free_bytes=2**62)
    attempt = scratch.open_attempt(KEY, 10_000)
    with pytest.raises(VoxFleetError, match=r"minFree"):
        await attempt.reserve("a", 1)
    attempt.close()
    scratch.close()


async def test_a_volume_that_other_programs_fill_ends_the_wait(tmp_path: Path) -> None:
    facts = os.statvfs(tmp_path)
    free_bytes, capacity_bytes = facts.f_bavail * facts.f_frsize, facts.f_blocks * facts.f_frsize
    scratch = Scratch(
        tmp_path / "scratch", 1000, min_free_bytes=(free_bytes + capacity_bytes) // 2, patience_seconds=0.05
    )
    attempt = scratch.open_attempt(KEY, 10_000)
    with pytest.raises(VoxFleetError, match=r"bytes free and scratch\.minFree is \d+; free the volume") as caught:
        await attempt.reserve("a", 1)
    assert caught.value.failure_class is FailureClass.SCRATCH_EXHAUSTED
    attempt.close()
    scratch.close()


async def test_what_stays_until_the_end_of_an_attempt_is_never_waited_for(scratch: Scratch) -> None:
    attempt = scratch.open_attempt(KEY, 10_000)
    with pytest.raises(VoxFleetError, match=r"400 .* until the attempt ends and 601 beside them, .*scratch\.quota"):
        await attempt.reserve_kept("reference", 400, 601)
    await attempt.reserve_kept("reference", 400, 600)
    first = await attempt.reserve("a", 600)
    waiting = asyncio.create_task(attempt.reserve("b", 600))
    await asyncio.sleep(0)
    assert not waiting.done(), "it waits for the attempt's own passing bytes"
    await attempt.release(first)
    await waiting
    attempt.close()


async def test_two_attempts_keep_no_bytes_that_the_other_needs(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "scratch", 1000, min_free_bytes=0, patience_seconds=0.05)
    attempts = [scratch.open_attempt(AttemptKey(f"shard-{number}", 1), 10_000) for number in range(2)]
    await attempts[0].reserve_kept("reference", 400, 400)
    with pytest.raises(
        VoxFleetError, match=r"scratch\.quota of this Mac is 1000 and 400 are in use, 400 of them until"
    ):
        await attempts[1].reserve_kept("reference", 400, 400)
    await attempts[0].reserve("a", 400)
    waiting = asyncio.create_task(attempts[1].reserve_kept("reference", 400, 400))
    await scratch.remove_attempt(AttemptKey("shard-0", 1))
    await waiting
    for attempt in attempts:
        attempt.close()
    scratch.close()


async def test_a_cancelled_wait_hands_its_turn_on(scratch: Scratch) -> None:
    attempts = [scratch.open_attempt(AttemptKey(f"shard-{number}", 1), 10_000) for number in range(3)]
    await attempts[0].reserve("a", 600)
    first = asyncio.create_task(attempts[1].reserve("a", 600))
    second = asyncio.create_task(attempts[2].reserve("a", 300))
    await asyncio.sleep(0)
    assert not first.done() and not second.done(), "400 are free, and wait for 600"
    first.cancel()
    await asyncio.wait({first})
    await second
    assert (attempts[1].reserved_bytes, scratch.reserved_bytes) == (0, 900)
    for attempt in attempts:
        attempt.close()


async def test_an_attempt_keeps_to_its_contract_s_own_limit(scratch: Scratch) -> None:
    attempt, sibling = scratch.open_attempt(KEY, 300), scratch.open_attempt(AttemptKey("shard-2", 1), 300)
    with pytest.raises(VoxFleetError, match=r"scratch\.maxBytes is 300") as caught:
        await attempt.reserve("a", 301)
    assert caught.value.failure_class is FailureClass.SCRATCH_EXHAUSTED
    first = await attempt.reserve("a", 200)
    waiting = asyncio.create_task(attempt.reserve("b", 200))
    await asyncio.sleep(0)
    await sibling.reserve("a", 200)
    assert not waiting.done(), "the attempt waits for its own bytes, whatever room the quota has"
    with pytest.raises(VoxFleetError, match=r"scratch\.maxBytes"):
        await attempt.reserve("c", 200, wait=False)
    await attempt.release(first)
    await waiting
    assert (attempt.reserved_bytes, attempt.high_water_bytes, scratch.reserved_bytes) == (200, 200, 400)
    attempt.close()
    sibling.close()


async def test_cleanup_twice_unlinks_nothing_the_second_time(scratch: Scratch) -> None:
    attempt = scratch.open_attempt(KEY, 10_000)
    (await attempt.reserve("a", 10)).write_bytes(b"x" * 10)
    (attempt.path / "deep" / "deeper").mkdir(parents=True)
    (attempt.path / "deep" / "deeper" / "file").write_bytes(b"y" * 7)
    attempt.close()
    assert scratch.residue_bytes(KEY) == 17
    assert await scratch.remove_attempt(KEY) == 5
    assert scratch.residue_bytes(KEY) == 0 and scratch.reserved_bytes == 0
    assert await scratch.remove_attempt(KEY) == 0
    assert await scratch.sweep(owned=()) == 0


async def test_a_run_that_ends_late_leaves_the_next_run_its_scratch(scratch: Scratch) -> None:
    late = scratch.open_attempt(KEY, 10_000)
    path = await late.reserve("clip-1", 600)
    waiting = asyncio.create_task(late.reserve("clip-2", 600))
    await asyncio.sleep(0)
    current = scratch.open_attempt(KEY, 10_000)
    with pytest.raises(VoxFleetError, match="runs again"):
        await asyncio.wait_for(waiting, 10)
    (await current.reserve("clip-1", 500)).write_bytes(b"x")
    await current.reserve("clip-2", 500)
    await late.release(path)
    with pytest.raises(VoxFleetError, match="runs again"):
        await late.reserve("clip-3", 0)
    late.close()
    assert path.read_bytes() == b"x" and current.reserved_bytes == 1000
    await current.release(path)
    assert not path.exists() and current.reserved_bytes == 500
    current.close()


async def test_a_planted_link_is_removed_and_never_followed(scratch: Scratch, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"keep")
    attempt = scratch.open_attempt(KEY, 10_000)
    (attempt.path / "folder").symlink_to(outside)
    (attempt.path / "file").symlink_to(outside / "precious")
    (attempt.path / "loop").symlink_to(attempt.path)
    attempt.close()
    other = AttemptKey("shard-2", 1)
    (scratch.attempts_path / str(other)).symlink_to(outside)
    with pytest.raises(VoxFleetError, match=r"scratch answered: (Not a directory|.*symbolic link)"):
        scratch.open_attempt(other, 10_000)
    await scratch.remove_attempt(KEY)
    await scratch.sweep(owned=())
    assert list(scratch.attempts_path.iterdir()) == []
    assert (outside / "precious").read_bytes() == b"keep"


async def test_a_folder_swapped_for_a_link_does_not_move_the_work(scratch: Scratch, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "clip").write_bytes(b"keep")
    attempt = scratch.open_attempt(KEY, 10_000)
    path = await attempt.reserve("clip", 4)
    attempt.path.rename(tmp_path / "aside")
    attempt.path.symlink_to(outside)
    await attempt.release(path)
    attempt.close()
    assert (outside / "clip").read_bytes() == b"keep"


async def test_the_sweep_leaves_owned_folders_and_everything_beside_them(scratch: Scratch) -> None:
    mine, stale = AttemptKey("mine", 1), AttemptKey("stale", 4)
    for key in (mine, stale):
        scratch.open_attempt(key, 10_000).close()
    beside = scratch.attempts_path.parent / "not-ours"
    beside.write_bytes(b"keep")
    assert await scratch.sweep(owned={str(mine)}) == 1
    assert [path.name for path in scratch.attempts_path.iterdir()] == [str(mine)] and beside.exists()


def test_two_agents_cannot_share_a_scratch_folder(scratch: Scratch) -> None:
    with pytest.raises(FolderInUseError, match="another voxfleet-agent"):
        Scratch(scratch.attempts_path.parent, 1, 0)


async def test_a_sweep_is_bounded_per_pass_and_the_next_one_goes_on(scratch: Scratch) -> None:
    """Half of the stray files lie beside the attempts' folders, the others in a folder without an attempt."""
    mine, stale = AttemptKey("mine", 1), AttemptKey("stale", 4)
    for key in (mine, stale):
        scratch.open_attempt(key, 10_000).close()
    for number in range(75):
        (scratch.attempts_path / f"stray-{number}").touch()
        (scratch.attempts_path / str(stale) / f"inside-{number}").touch()
    removed = [await scratch.sweep(owned={str(mine)}, limit=100) for _ in range(3)]
    assert removed == [100, 51, 0], "each stray file and the folder that nobody owns"
    assert [path.name for path in scratch.attempts_path.iterdir()] == [str(mine)]


async def test_a_folder_with_as_many_entries_as_a_pass_may_unlink_is_gone_after_two(scratch: Scratch) -> None:
    scratch.open_attempt(KEY, 10_000).close()
    for number in range(3):
        (scratch.attempts_path / str(KEY) / f"file-{number}").touch()
    assert [await scratch.sweep(owned=(), limit=3) for _ in range(3)] == [3, 1, 0]
