"""When a child uses too much memory."""

from __future__ import annotations

import ctypes
import errno
import sys

import psutil
import pytest

from voxfleet_agent import process_memory
from voxfleet_agent.lanes.memory_guard import BASELINE_BATCHES, MemoryStep, RestingFootprint, memory_step, watch

CAP = 1000


@pytest.mark.parametrize(
    ("baseline_bytes", "footprint_bytes", "step"),
    [
        (None, 1000, MemoryStep.KEEP),
        (None, 1001, MemoryStep.KILL),
        (400, 650, MemoryStep.KEEP),
        (400, 651, MemoryStep.RECYCLE),
        (400, 300, MemoryStep.KEEP),
        (900, 1001, MemoryStep.KILL),
        (None, 651, MemoryStep.KEEP),
    ],
)
def test_memory_steps(baseline_bytes: int | None, footprint_bytes: int, step: MemoryStep) -> None:
    assert memory_step(CAP, baseline_bytes, footprint_bytes) is step


def test_growth_counts_from_the_first_batches() -> None:
    resting = RestingFootprint()
    first = [100, 300, 500]
    assert len(first) == BASELINE_BATCHES
    assert [resting.after_batch(CAP, footprint) for footprint in first] == [MemoryStep.KEEP] * 3
    assert resting.after_batch(CAP, 750) is MemoryStep.KEEP
    assert resting.after_batch(CAP, 751) is MemoryStep.RECYCLE


async def test_the_watch_ends_with_the_first_sample_over_the_cap() -> None:
    samples = iter([10, 1000, 1001, 5000])
    caps = iter([CAP, CAP, CAP])
    exceeded: list[int] = []
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    await watch(7, lambda: next(caps), exceeded.append, lambda pid: next(samples), pause)
    assert exceeded == [1001]
    assert pauses == [0.25, 0.25]


async def test_the_watch_ends_with_the_child() -> None:
    exceeded: list[int] = []

    def gone(pid: int) -> int:
        raise psutil.NoSuchProcess(pid)

    await watch(7, lambda: CAP, exceeded.append, gone)
    assert exceeded == []


@pytest.mark.parametrize(("error", "raised"), [(errno.ESRCH, psutil.NoSuchProcess), (errno.EPERM, psutil.AccessDenied)])
def test_a_child_that_macos_does_not_let_the_agent_measure_is_not_gone(
    monkeypatch: pytest.MonkeyPatch, error: int, raised: type[psutil.Error]
) -> None:
    """Else nothing would guard the Mac against its growth."""

    class LibProc:
        @staticmethod
        def proc_pid_rusage(*_: object) -> int:
            ctypes.set_errno(error)
            return -1

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: LibProc())
    with pytest.raises(raised):
        process_memory.footprint_bytes(7)
