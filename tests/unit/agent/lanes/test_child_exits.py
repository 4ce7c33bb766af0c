"""Exit statuses and stderr become failure classes."""

from __future__ import annotations

import signal

import pytest

from voxfleet_agent.lane_protocol.channel import MAX_MESSAGE_BYTES, frame
from voxfleet_agent.lane_protocol.messages import EXIT_GPU_FAULT, EXIT_LANE_BUSY, WorkerRefusal
from voxfleet_agent.lanes.child_exits import Blame, classify, over_memory_cap
from voxfleet_api.failures import FailureClass

METAL = (
    "libc++abi: terminating due to uncaught exception of type std::runtime_error: [METAL] Command buffer execution "
    "failed: {what} ({code:08x}:kIOGPUCommandBufferCallbackError{name})\n"
)


@pytest.mark.parametrize(
    ("returncode", "stderr", "failure_class"),
    [
        (
            -signal.SIGABRT,
            METAL.format(what="Insufficient Memory", code=8, name="OutOfMemory"),
            FailureClass.GPU_ABORT_OUT_OF_MEMORY,
        ),
        (
            -signal.SIGABRT,
            METAL.format(what="Caused GPU Timeout Error", code=2, name="Timeout"),
            FailureClass.GPU_ABORT_TIMEOUT,
        ),
        (
            -signal.SIGABRT,
            METAL.format(what="Impacting Interactivity", code=14, name="ImpactingInteractivity"),
            FailureClass.GPU_ABORT_TIMEOUT,
        ),
        (
            -signal.SIGABRT,
            METAL.format(what="Innocent Victim", code=5, name="InnocentVictim"),
            FailureClass.GPU_ABORT_INNOCENT_VICTIM,
        ),
        (-signal.SIGABRT, "free(): invalid pointer", FailureClass.LANE_CRASHED),
        (-signal.SIGSEGV, "", FailureClass.LANE_CRASHED),
        (-signal.SIGKILL, "", FailureClass.GPU_ABORT_OUT_OF_MEMORY),
        (-signal.SIGABRT, "terminating due to std::bad_alloc", FailureClass.MEMORY_EXCEEDED),
        (-signal.SIGABRT, "[metal::malloc] Attempting to allocate 9 bytes", FailureClass.MEMORY_EXCEEDED),
        (-signal.SIGSEGV, "an earlier bad_alloc", FailureClass.LANE_CRASHED),
        (EXIT_GPU_FAULT, METAL.format(what="x", code=2, name="Timeout"), FailureClass.GPU_ABORT_TIMEOUT),
        (1, "Traceback", FailureClass.LANE_CRASHED),
        (EXIT_LANE_BUSY, "", FailureClass.RUNTIME_MISMATCH),
        (None, "", FailureClass.LANE_CRASHED),
    ],
)
def test_classes(returncode: int | None, stderr: str, failure_class: FailureClass) -> None:
    assert classify(returncode, stderr).failure_class is failure_class


@pytest.mark.parametrize(
    ("returncode", "fault", "blame", "clip_class"),
    [
        (-signal.SIGSEGV, None, Blame.CLIP, FailureClass.LANE_CRASHED),
        (-signal.SIGABRT, "OutOfMemory", Blame.CLIP_OR_MAC, FailureClass.MEMORY_EXCEEDED),
        (-signal.SIGABRT, "Timeout", Blame.CLIP_OR_MAC, FailureClass.LANE_CRASHED),
        (-signal.SIGABRT, "ImpactingInteractivity", Blame.CLIP_OR_MAC, FailureClass.LANE_CRASHED),
        (-signal.SIGABRT, "InnocentVictim", Blame.MAC, None),
        (-signal.SIGKILL, None, Blame.MAC, None),
    ],
)
def test_who_can_be_at_fault(returncode: int, fault: str | None, blame: Blame, clip_class: FailureClass | None) -> None:
    end = classify(returncode, "" if fault is None else METAL.format(what="x", code=1, name=fault))
    assert end.blame is blame
    if clip_class is not None:
        assert end.clip_class is clip_class


def test_a_kill_from_outside_names_the_others_and_not_the_clip() -> None:
    assert "others on the Mac took the memory" in classify(-signal.SIGKILL, "").reason


def test_the_last_metal_fault_counts() -> None:
    text = METAL.format(what="a", code=5, name="InnocentVictim") + METAL.format(what="b", code=8, name="OutOfMemory")
    assert classify(-6, text).failure_class is FailureClass.GPU_ABORT_OUT_OF_MEMORY


def test_reasons_name_the_signal_and_never_stderr() -> None:
    end = classify(-signal.SIGSEGV, "secret words")
    assert "SIGSEGV" in end.reason and "secret" not in end.reason


def test_the_reason_of_a_child_over_its_cap_names_both_numbers() -> None:
    end = over_memory_cap(900 * 2**20, 512 * 2**20)
    assert (end.failure_class, end.clip_class) == (FailureClass.MEMORY_EXCEEDED, FailureClass.MEMORY_EXCEEDED)
    assert end.blame is Blame.CLIP
    assert "900 MiB" in end.reason and "512 MiB" in end.reason


def test_a_message_has_a_largest_size() -> None:
    with pytest.raises(ValueError, match="at most"):
        frame(WorkerRefusal(failure_class=FailureClass.LANE_CRASHED, message="x" * MAX_MESSAGE_BYTES))
