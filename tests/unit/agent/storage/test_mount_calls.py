"""Calls of a file system that hangs, begins to answer again, or is slow."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from voxfleet_agent.storage import mount_calls
from voxfleet_agent.storage.mount_calls import CallAbandoned, MountCalls, progress
from voxfleet_agent.storage.mounts import Mounts, mount_above
from voxfleet_api.failures import FailureClass, VoxFleetError

WAIT_SECONDS = 10.0


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    """Calls that wait for this event hang until the test's end."""
    event = threading.Event()
    yield event
    event.set()


def answer_of(calls: MountCalls) -> int:
    """Asks until the threads that were left behind have come back."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return calls.run_blocking(lambda: 3)
        except VoxFleetError:
            if time.monotonic() > deadline:
                raise


async def test_a_result_and_an_error_come_back() -> None:
    calls = MountCalls("/data")
    assert await calls.run(lambda: 3) == 3
    assert await asyncio.to_thread(calls.run_blocking, lambda: 4) == 4
    with pytest.raises(FileNotFoundError):
        await calls.run(lambda: open("/nowhere/at/all"))  # noqa: SIM115, PTH123 -- it raises


async def test_a_call_that_hangs_fails_and_names_its_mount(hang: threading.Event) -> None:
    calls = MountCalls("/data", seconds=0.05)
    with pytest.raises(VoxFleetError, match="the file system at /data does not answer") as caught:
        await calls.run(hang.wait)
    assert caught.value.failure_class is FailureClass.TRANSPORT
    with pytest.raises(VoxFleetError, match="/data"):
        await asyncio.to_thread(calls.run_blocking, hang.wait)
    assert calls.hanging == 2
    assert await calls.run(lambda: 3) == 3, "other threads of the mount still work"


async def test_without_a_free_thread_every_call_fails_at_once(hang: threading.Event) -> None:
    calls = MountCalls("/data", seconds=0.05, max_threads=2)
    results = await asyncio.gather(*(calls.run(hang.wait) for _ in range(6)), return_exceptions=True)
    assert all(isinstance(result, VoxFleetError) for result in results)
    began = threading.Event()
    with pytest.raises(VoxFleetError, match="/data"):
        await calls.run(began.set)
    assert not began.is_set() and calls.hanging == 2
    hang.set()
    assert await asyncio.to_thread(answer_of, calls) == 3, "the mount answers again"


async def test_calls_that_nobody_waits_for_are_counted_too(hang: threading.Event) -> None:
    """A file that is closed after an error may hang like any other call."""
    calls = MountCalls("/data", seconds=0.05, max_threads=1)
    calls.start(hang.wait)
    with pytest.raises(VoxFleetError, match="/data"):
        await calls.run(lambda: 3)
    assert calls.hanging == 1


async def test_a_call_that_makes_progress_may_take_long(hang: threading.Event) -> None:
    calls = MountCalls("/data", seconds=0.5)
    pause = threading.Event()

    def long() -> int:
        for _ in range(12):
            progress()
            pause.wait(0.05)
        return 3

    assert await calls.run(long) == 3


async def test_a_silent_mount_is_not_waited_for_again(hang: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call waits its whole time; the following ones only find out that nothing has changed."""
    monkeypatch.setattr(mount_calls, "SILENT_SECONDS", 0.01)
    calls = MountCalls("/data", seconds=0.5)
    before = calls._submit(hang.wait, lambda: None)
    assert calls._remaining_seconds(before) > 0.01
    with pytest.raises(VoxFleetError):
        await calls.run(hang.wait)
    after = calls._submit(hang.wait, lambda: None)
    assert calls._remaining_seconds(after) <= 0.01


async def test_a_late_result_is_thrown_away_and_a_late_step_does_not_happen() -> None:
    calls = MountCalls("/data", seconds=0.05)
    answer, discarded = threading.Event(), threading.Event()

    def opened() -> int:
        answer.wait(WAIT_SECONDS)
        return 3

    with pytest.raises(VoxFleetError):
        await calls.run(opened, lambda result: discarded.set() if result == 3 else None)
    met: list[BaseException] = []
    ended = threading.Event()

    def publishes() -> None:
        answer.wait(WAIT_SECONDS)
        try:
            progress()
        except CallAbandoned as error:
            met.append(error)
        ended.set()

    with pytest.raises(VoxFleetError):
        await calls.run(publishes)
    answer.set()
    assert await asyncio.to_thread(discarded.wait, WAIT_SECONDS)
    assert await asyncio.to_thread(ended.wait, WAIT_SECONDS) and len(met) == 1


async def test_a_cancelled_caller_leaves_a_call_that_hangs(
    hang: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mount_calls, "CANCEL_SECONDS", 0.01)
    calls = MountCalls("/data")
    begun = threading.Event()

    def hangs() -> None:
        begun.set()
        hang.wait()

    task = asyncio.create_task(calls.run(hangs))
    assert await asyncio.to_thread(begun.wait, WAIT_SECONDS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert calls.hanging == 1


def test_a_path_lies_on_the_deepest_mount_that_its_text_names() -> None:
    folders = ["/", "/data", "/data/nas", "/data/nas2", "/Volumes/x y"]
    expected = {
        "/data/nas/a.wav": "/data/nas",
        "/data/nas": "/data/nas",
        "/data/nasty/a.wav": "/data",
        "/data/nas2/b": "/data/nas2",
        "/Volumes/x y/b": "/Volumes/x y",
        "/Volumes/x": "/",
        "/data/nas/../other": "/data",
    }
    assert {path: mount_above(path, folders) for path in expected} == expected


def test_each_allowed_folder_has_threads_of_its_own() -> None:
    mounts = Mounts(["/data/a", "/data/b"])
    assert mounts.of("/data/a/x") is mounts.of("/data/a/y/z") is not mounts.of("/data/b/x")
    assert mounts.of("/proc/1").folder == "/proc", "a mount that no prefix names"


async def test_a_late_result_that_cannot_be_thrown_away_leaves_its_thread_at_work(hang: threading.Event) -> None:
    calls = MountCalls("/data", seconds=0.05, max_threads=1)

    def discard(_: bool) -> None:
        raise OSError("the server reset the connection")

    with pytest.raises(VoxFleetError):
        await calls.run(hang.wait, discard)
    hang.set()
    assert await asyncio.wait_for(asyncio.to_thread(answer_of, calls), WAIT_SECONDS) == 3


async def test_a_thread_that_cannot_start_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = MountCalls("/data", max_threads=1)

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError, match="new thread"):
            calls.start(lambda: None)
    assert await asyncio.wait_for(calls.run(lambda: 3), WAIT_SECONDS) == 3
