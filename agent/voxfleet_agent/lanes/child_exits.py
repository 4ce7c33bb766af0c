"""Why a lane's child ended, from its exit status and the end of its stderr. Pure."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import StrEnum

from voxfleet_agent.confinement.launch import EXIT_NOT_CONFINED
from voxfleet_agent.lane_protocol.failure_marks import gpu_abort, names_lack_of_memory
from voxfleet_agent.lane_protocol.messages import EXIT_LANE_BUSY
from voxfleet_api.failures import FailureClass

TOO_MUCH_AT_ONCE = frozenset(
    {FailureClass.GPU_ABORT_OUT_OF_MEMORY, FailureClass.GPU_ABORT_TIMEOUT, FailureClass.MEMORY_EXCEEDED}
)
"""Failures that a smaller batch may avoid."""


class Blame(StrEnum):
    """What can be at fault when a child ends while it works on a single clip."""

    CLIP = "Clip"
    CLIP_OR_MAC = "ClipOrMac"
    """The clip, provided that the Mac works for other clips."""
    MAC = "Mac"
    """Only the Mac: a child that worked on any other clip would have ended in the same way."""


@dataclass(frozen=True, slots=True)
class ChildEnd:
    failure_class: FailureClass
    reason: str
    blame: Blame = Blame.CLIP

    @property
    def caused_by_lane(self) -> bool:
        """Whether the lane itself ran out of memory.

        False after a GPU timeout, because the GPU may have been busy with what the Mac's user is doing.
        """
        return self.blame is not Blame.MAC and self.failure_class is not FailureClass.GPU_ABORT_TIMEOUT

    @property
    def clip_class(self) -> FailureClass:
        """The failure class of the clip, once the clip is known to be at fault."""
        if self.blame is Blame.CLIP:
            return self.failure_class
        short = self.failure_class is FailureClass.GPU_ABORT_OUT_OF_MEMORY
        return FailureClass.MEMORY_EXCEEDED if short else FailureClass.LANE_CRASHED


def classify(returncode: int | None, stderr_tail: str) -> ChildEnd:
    """Classifies the end of a child that the agent did not kill; `returncode` as in asyncio.

    The class is a GPU abort when stderr names a Metal fault. It is GPU_ABORT_OUT_OF_MEMORY, the Mac's own lack of
    memory, after a SIGKILL: systems end a process this way when memory is short, whichever process took it. It is
    MEMORY_EXCEEDED when the child gave up because its own request for memory failed, otherwise LANE_CRASHED.
    """
    fault = gpu_abort(stderr_tail)
    if fault is not None:
        victim = fault is FailureClass.GPU_ABORT_INNOCENT_VICTIM
        return ChildEnd(fault, "the GPU gave up the lane's work", Blame.MAC if victim else Blame.CLIP_OR_MAC)
    if returncode == EXIT_LANE_BUSY:
        return ChildEnd(
            FailureClass.RUNTIME_MISMATCH,
            "another process holds the lane; end the other agent that uses this scratch folder, or restart the Mac if"
            " the agent's log tells of a process that does not end",
            Blame.MAC,
        )
    if returncode == EXIT_NOT_CONFINED:
        guard = stderr_tail.strip().rpartition("\n")[2]
        return ChildEnd(
            FailureClass.RUNTIME_MISMATCH,
            f"the system no longer confines the lane as it did when the agent started ({guard[:100]}); restart the"
            " agent, and see `voxfleet-agent doctor -c FILE`",
            Blame.MAC,
        )
    if returncode == -signal.SIGKILL:
        return ChildEnd(
            FailureClass.GPU_ABORT_OUT_OF_MEMORY,
            "something other than the agent ended the lane's process by SIGKILL, below its memory cap, as systems do"
            " when others on the Mac took the memory",
            Blame.MAC,
        )
    if returncode == -signal.SIGABRT and names_lack_of_memory(stderr_tail):
        return ChildEnd(FailureClass.MEMORY_EXCEEDED, "the lane's process ended because it got no more memory")
    if returncode is not None and returncode < 0:
        return ChildEnd(
            FailureClass.LANE_CRASHED, f"the lane's process was ended by {signal.Signals(-returncode).name}"
        )
    return ChildEnd(FailureClass.LANE_CRASHED, f"the lane's process ended with status {returncode}")


STOPPED_BY_AGENT = ChildEnd(FailureClass.LANE_CRASHED, "the agent stopped the lane's process", Blame.MAC)


def load_timed_out(timeout_seconds: float) -> ChildEnd:
    """The end of a child that the agent killed because it did not answer Load."""
    return ChildEnd(
        FailureClass.RUNTIME_MISMATCH,
        f"the lane's process did not load its model within {timeout_seconds:.0f} s; look at the load of this Mac and of"
        " the disk that holds the model, or use a smaller model",
        Blame.MAC,
    )


def not_measurable(error: BaseException) -> ChildEnd:
    """The end of a child that the agent killed because nothing could guard the Mac against its growth."""
    return ChildEnd(
        FailureClass.RUNTIME_MISMATCH,
        f"the memory of the lane's process cannot be measured ({type(error).__name__}); the agent must run as root to"
        " measure a process of laneUser",
        Blame.MAC,
    )


def load_failure_class(end: ChildEnd) -> FailureClass:
    """The class of an attempt whose lane ended twice as it loaded its model.

    LANE_CRASHED would blame a clip, but no clip is at fault, and another Mac may do better.
    """
    crashed = end.failure_class is FailureClass.LANE_CRASHED
    return FailureClass.RUNTIME_MISMATCH if crashed else end.failure_class


def over_memory_cap(footprint_bytes: int, cap_bytes: int) -> ChildEnd:
    """The end of a child that the memory guard killed."""
    return ChildEnd(
        FailureClass.MEMORY_EXCEEDED,
        f"the lane's process took {footprint_bytes >> 20} MiB, its memory cap is {cap_bytes >> 20} MiB",
    )
