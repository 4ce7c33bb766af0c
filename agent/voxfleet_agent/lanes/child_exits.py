"""Why a lane's child ended, told by its exit status and what it last wrote to stderr."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import StrEnum

from voxfleet_agent.lane_protocol.failure_marks import gpu_abort, names_want_of_memory
from voxfleet_agent.lane_protocol.messages import EXIT_LANE_BUSY
from voxfleet_api.failures import FailureClass

TOO_MUCH_AT_ONCE = frozenset(
    {FailureClass.GPU_ABORT_OUT_OF_MEMORY, FailureClass.GPU_ABORT_TIMEOUT, FailureClass.MEMORY_EXCEEDED}
)
"""What a smaller batch may mend."""


class Blame(StrEnum):
    """Who can be at fault when a clip has ended children alone."""

    CLIP = "Clip"
    CLIP_OR_MAC = "ClipOrMac"
    """The clip, if the Mac works for others."""
    MAC = "Mac"
    """Never the clip: whoever was at work would have met it."""


@dataclass(frozen=True, slots=True)
class ChildEnd:
    failure_class: FailureClass
    reason: str
    blame: Blame = Blame.CLIP

    @property
    def own_shortage(self) -> bool:
        """Nobody else took the memory. A GPU that took too long may just have served whoever uses the screen."""
        return self.blame is not Blame.MAC and self.failure_class is not FailureClass.GPU_ABORT_TIMEOUT

    @property
    def clip_class(self) -> FailureClass:
        """What it is called once a clip is at fault."""
        if self.blame is Blame.CLIP:
            return self.failure_class
        short = self.failure_class is FailureClass.GPU_ABORT_OUT_OF_MEMORY
        return FailureClass.MEMORY_EXCEEDED if short else FailureClass.LANE_CRASHED


def classify(returncode: int | None, stderr_tail: str) -> ChildEnd:
    """Of a child that the agent did not end; `returncode` as in asyncio.

    A GpuAbort class where stderr names a Metal fault. GPU_ABORT_OUT_OF_MEMORY, the Mac's own class of memory, for a
    SIGKILL: so systems end a process when memory is short, whoever took it. MEMORY_EXCEEDED for a child that gave up
    because its own request for memory failed. Else LANE_CRASHED.
    """
    fault = gpu_abort(stderr_tail)
    if fault is not None:
        victim = fault is FailureClass.GPU_ABORT_INNOCENT_VICTIM
        return ChildEnd(fault, "the GPU gave up the lane's work", Blame.MAC if victim else Blame.CLIP_OR_MAC)
    if returncode == EXIT_LANE_BUSY:
        return ChildEnd(FailureClass.LANE_CRASHED, "another process holds the lane")
    if returncode == -signal.SIGKILL:
        return ChildEnd(
            FailureClass.GPU_ABORT_OUT_OF_MEMORY,
            "the lane's process was ended by SIGKILL below its memory cap, as systems do when others on the Mac took"
            " the memory",
            Blame.MAC,
        )
    if returncode == -signal.SIGABRT and names_want_of_memory(stderr_tail):
        return ChildEnd(FailureClass.MEMORY_EXCEEDED, "the lane's process ended because it got no more memory")
    if returncode is not None and returncode < 0:
        return ChildEnd(
            FailureClass.LANE_CRASHED, f"the lane's process was ended by {signal.Signals(-returncode).name}"
        )
    return ChildEnd(FailureClass.LANE_CRASHED, f"the lane's process ended with status {returncode}")


def over_cap(footprint_bytes: int, cap_bytes: int) -> ChildEnd:
    """The memory guard ended the child."""
    return ChildEnd(
        FailureClass.MEMORY_EXCEEDED,
        f"the lane's process took {footprint_bytes >> 20} MiB, its memory cap is {cap_bytes >> 20} MiB",
    )
