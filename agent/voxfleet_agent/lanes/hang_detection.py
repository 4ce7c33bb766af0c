"""When a child that sends nothing counts as hung. HangTimeouts is pure; the functions look at the child."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_agent.lanes.child_process import ChildProcess
from voxfleet_agent.lanes.lane_types import ClipTask
from voxfleet_agent.lanes.work_call import WorkCall

CHECK_SECONDS = 0.25
"""Time between two checks of a child that owes an answer; meanwhile its announcements and processor time change."""


@dataclass(frozen=True, slots=True)
class HangTimeouts:
    inferring_seconds: float = 120.0
    """Least time without a message while the model works. Where the model tells no progress within a clip, ten times
    the length of its audio comes on top."""
    inferring_factor: int = 10
    """A slow model may take this many times as long as it ever took until a sign of life: a long phrase, heard again
    and again because it came out badly, may follow a short one."""
    slow_inferring_seconds: float = 900.0
    """Most time that slowness earns a model."""
    decoding_seconds: float = 15.0
    """Time without a message while a clip is decoded, on top of a twentieth of its announced length. It covers a child
    that gets no processor, or waits for the disk."""
    decoding_cpu_seconds: float = 3.0
    """Processor time of decoding a clip, on top of what its length and size allow. A busy machine does not use
    it up."""

    def message_timeout_seconds(
        self,
        *,
        inferring_milliseconds: int | None,
        decoding_milliseconds: int | None,
        tells_progress: bool = False,
        slowest_seconds: float = 0.0,
    ) -> float:
        """How long a child may send nothing.

        `inferring_milliseconds`: length of the audio that the model works on, None when it is idle.
        `decoding_milliseconds`: announced length of the clip that is being decoded, None when there is none. While the
        model works, only its timeout counts: decoding may be waiting for room in the ring.
        `tells_progress`: the model tells how far it has come within a clip, and the timeout starts anew each time.
        `slowest_seconds`: the longest time that this child's model ever took until a sign of life.

        So a model that tells its progress and hangs is found within 2 to 15 minutes, however long its clip is.
        """
        if inferring_milliseconds is not None:
            patience_seconds = min(slowest_seconds * self.inferring_factor, self.slow_inferring_seconds)
            audio_seconds = 0.0 if tells_progress else inferring_milliseconds / 1000
            return max(self.inferring_seconds, patience_seconds) + 10 * audio_seconds
        if decoding_milliseconds is not None:
            return self.decoding_seconds + decoding_milliseconds / 20_000
        return self.inferring_seconds

    def cpu_limit_seconds(self, audio_milliseconds: int, size_bytes: int) -> float:
        """Processor time that decoding one clip may take.

        `audio_milliseconds`: as announced, at most what the contract accepts.

        48 kHz stereo, resampled at the best quality, was measured at 4 ms for each second of audio, however few bytes
        it takes, and dense compression (digital silence in flac) at 8 us for each byte. The limit is 10 ms for each
        announced second, plus 50 ms for each second or 200 us for each byte, whichever is less. So a few bytes with a
        lying header get 10 ms x maxClip: 3.3 s in all where maxClip is 30 s, 4.8 s for 3 minutes, 9 s for 10 minutes.
        Half an hour of silence in a few kilobytes takes 7 s and may take 21 s.
        """
        length_seconds = audio_milliseconds / 1000
        return self.decoding_cpu_seconds + length_seconds / 100 + min(length_seconds / 20, size_bytes / 5_000)


def allowed_seconds(timeouts: HangTimeouts, call: WorkCall, child: ChildProcess, max_clip_milliseconds: int) -> float:
    """How long the child may send nothing now. `max_clip_milliseconds`: the longest clip that the contract accepts."""
    decoding_milliseconds = None
    if child.decoding is not None:
        decoding_milliseconds = _announced_milliseconds(call.queue.in_flight(child.decoding), max_clip_milliseconds)
    return timeouts.message_timeout_seconds(
        inferring_milliseconds=child.inferring_milliseconds if child.inferring else None,
        decoding_milliseconds=decoding_milliseconds,
        tells_progress=child.tells_progress,
        slowest_seconds=child.pace.slowest_seconds,
    )


def endless_decode(
    timeouts: HangTimeouts, call: WorkCall, child: ChildProcess, max_clip_milliseconds: int
) -> ClipTask | None:
    """The clip on which the decoder has spent more processor time than its length and size allow; None without one."""
    clip = None if child.decoding is None else call.queue.in_flight(child.decoding)
    if clip is None or child.inferring:
        return None
    spent_seconds = call.cpu_seconds_since_activity(child)
    if spent_seconds < timeouts.decoding_cpu_seconds:
        return None
    audio_milliseconds = min(_announced_milliseconds(clip, max_clip_milliseconds), max_clip_milliseconds)
    limit_seconds = timeouts.cpu_limit_seconds(audio_milliseconds, clip.path.stat().st_size)
    return clip if spent_seconds >= limit_seconds else None


def _announced_milliseconds(clip: ClipTask | None, max_clip_milliseconds: int) -> int:
    """The clip's announced length; without one, or without a clip, the longest that the contract accepts."""
    return max_clip_milliseconds if clip is None else clip.audio_milliseconds or max_clip_milliseconds
