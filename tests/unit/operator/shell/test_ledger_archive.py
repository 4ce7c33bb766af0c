"""What the event loop asks of a ledger archive before it trusts it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import pytest
from structlog.testing import capture_logs
from tests.rig.memory_archive import MemoryArchive

from voxfleet_billing.archive_access import ArchiveError, ArchiveStore, ObjectDamaged, ObjectMissing
from voxfleet_billing.archive_probe import OverwritesObjects
from voxfleet_operator.ledger_archive import LONGEST_PAUSE_SECONDS, LedgerArchive

T = TypeVar("T")


class Overwriting(MemoryArchive):
    """A server that ignores If-None-Match."""

    def create(self, path: str, content: bytes) -> bool:
        super().create(path, content)
        self.objects[path] = content
        return True


async def at_once(work: Callable[[], T]) -> T:
    return work()


async def test_an_archive_that_overwrites_is_refused_at_the_start() -> None:
    with pytest.raises(OverwritesObjects, match=r"memory://archive/create-once\.probe: was overwritten"):
        await LedgerArchive(Overwriting(), clock=lambda: 0.0, run=at_once).refuse_overwriting()


async def test_one_that_is_down_at_the_start_is_tried_before_it_is_used() -> None:
    store, now = Overwriting(), [0.0]
    store.down = True
    archive = LedgerArchive(store, clock=lambda: now[0], run=at_once)
    await archive.refuse_overwriting()
    assert not archive.answers
    store.down = False
    for _ in range(2):
        now[0] += LONGEST_PAUSE_SECONDS
        with pytest.raises(ArchiveError, match="was overwritten"):
            await archive.call(lambda found: found.create("2026-11/mac-a/index/00000001.json", b"{}"))
    assert [*store.objects] == ["create-once.probe"] and not archive.answers


async def test_one_that_keeps_its_word_is_tried_once() -> None:
    store = MemoryArchive()
    for _ in range(2):
        archive, writes = LedgerArchive(store, clock=lambda: 0.0, run=at_once), list[str]()
        store.before_write = writes.append
        await archive.refuse_overwriting()
        await archive.call(lambda found: found.names(""))
        assert writes == ["create-once.probe"] * 2 and archive.answers


async def test_a_failure_is_logged_once_until_it_answers_again() -> None:
    """Before there is a statement, no condition could tell it."""
    store, now = MemoryArchive(), [0.0]
    store.down = True
    archive = LedgerArchive(store, clock=lambda: now[0], run=at_once)
    with capture_logs() as logs:
        for down in (True, True, False, True):
            store.down = down
            now[0] += LONGEST_PAUSE_SECONDS
            with suppress(ArchiveError):
                await archive.call(lambda found: found.names(""))
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("the ledger archive failed", "warning")] * 2


@pytest.mark.parametrize("trouble", [ObjectDamaged, ObjectMissing])
async def test_one_damaged_object_keeps_nobody_else_from_the_archive(trouble: type[ArchiveError]) -> None:
    archive = LedgerArchive(MemoryArchive(), clock=lambda: 0.0, run=at_once)

    def read(_: ArchiveStore) -> None:
        raise trouble("2026-11/mac-a/index/00000001.json")

    with pytest.raises(trouble):
        await archive.call(read)
    assert archive.answers and await archive.call(lambda found: found.names("2026-11")) == []
