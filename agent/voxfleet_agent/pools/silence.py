"""What a lane makes of a child that says nothing."""

from __future__ import annotations

from voxfleet_agent.pools.call import Call
from voxfleet_agent.pools.child import Child
from voxfleet_agent.pools.patience import Patience
from voxfleet_agent.stages.stage import ClipTask


def silence_seconds(patience: Patience, call: Call, child: Child, longest_milliseconds: int) -> float:
    """How long the child may be silent. `longest_milliseconds`: the most that the contract accepts."""
    decoding_milliseconds = None
    if child.decoding is not None:
        decoding_milliseconds = _milliseconds(call.docket.in_flight(child.decoding), longest_milliseconds)
    return patience.silence_seconds(
        inferring_milliseconds=child.inferring_milliseconds if child.inferring else None,
        decoding_milliseconds=decoding_milliseconds,
    )


def endless_clip(patience: Patience, call: Call, child: Child, longest_milliseconds: int) -> ClipTask | None:
    """The clip that the decoder comes to no end with, told by the processor time of this silence."""
    clip = None if child.decoding is None else call.docket.in_flight(child.decoding)
    if clip is None or child.inferring:
        return None
    spent_seconds = call.spent_seconds(child)
    if spent_seconds < patience.decoding_cpu_seconds:
        return None
    announced_milliseconds = min(_milliseconds(clip, longest_milliseconds), longest_milliseconds)
    allowed_seconds = patience.cpu_seconds(announced_milliseconds, clip.path.stat().st_size)
    return clip if spent_seconds >= allowed_seconds else None


def _milliseconds(clip: ClipTask | None, longest_milliseconds: int) -> int:
    """As announced; the longest of all for a clip that does not say, or whose verdict is known already."""
    return longest_milliseconds if clip is None else clip.audio_milliseconds or longest_milliseconds
