"""When a silent child counts as hung. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_agent.lanes.child_process import ChildProcess
from voxfleet_agent.lanes.lane_types import ClipTask
from voxfleet_agent.lanes.work_call import WorkCall

CHECK_SECONDS = 0.25
"""Between two looks at a child that owes an answer: what it announces, and its decoder's processor time, change."""


@dataclass(frozen=True, slots=True)
class HangTimeouts:
    inferring_seconds: float = 120.0
    """Of silence, on top of ten times the length of the audio in the model's hands."""
    decoding_seconds: float = 15.0
    """Of silence, on top of a twentieth of the clip's announced length: for a child that gets no processor, or waits
    for the disk."""
    decoding_cpu_seconds: float = 3.0
    """Of processor time, on top of what the clip's length and size allow: a busy machine cannot stretch it."""

    def silence_seconds(self, *, inferring_milliseconds: int | None, decoding_milliseconds: int | None) -> float:
        """`inferring_milliseconds`: audio that the model has in its hands; `decoding_milliseconds`: announced length of
        the clip that is being decoded; None: neither is at work.

        A model at work is waited for whatever is decoded beside it: decoding may be waiting for room in the ring.
        """
        if inferring_milliseconds is not None:
            return self.inferring_seconds + inferring_milliseconds / 100
        if decoding_milliseconds is not None:
            return self.decoding_seconds + decoding_milliseconds / 20_000
        return self.inferring_seconds

    def cpu_seconds(self, audio_milliseconds: int, size_bytes: int) -> float:
        """Processor time that decoding one clip may take.

        `audio_milliseconds`: as announced, at most what the contract accepts.

        48 kHz stereo, resampled at the best quality, was measured at 4 ms for each second of audio, however few bytes
        it takes, and dense compression (digital silence in flac) at 8 us for each byte. Allowed are 10 ms for each
        second announced, and on top of it 50 ms for each second or 200 us for each byte, whichever is less. So a
        header that lies over a few bytes earns its file 10 ms x maxClip: 3.3 s in all where that is 30 s, 4.8 s for
        3 minutes, 9 s for 10; and half an hour of silence in a few kilobytes, which takes 7 s, may take 21 s.
        """
        length_seconds = audio_milliseconds / 1000
        return self.decoding_cpu_seconds + length_seconds / 100 + min(length_seconds / 20, size_bytes / 5_000)


def silence_seconds(patience: HangTimeouts, call: WorkCall, child: ChildProcess, longest_milliseconds: int) -> float:
    """How long the child may be silent. `longest_milliseconds`: the most that the contract accepts."""
    decoding_milliseconds = None
    if child.decoding is not None:
        decoding_milliseconds = _milliseconds(call.docket.in_flight(child.decoding), longest_milliseconds)
    return patience.silence_seconds(
        inferring_milliseconds=child.inferring_milliseconds if child.inferring else None,
        decoding_milliseconds=decoding_milliseconds,
    )


def endless_decode(
    patience: HangTimeouts, call: WorkCall, child: ChildProcess, longest_milliseconds: int
) -> ClipTask | None:
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
