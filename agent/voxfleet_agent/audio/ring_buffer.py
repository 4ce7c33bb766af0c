"""The ring of decoded audio between the thread that decodes and the thread that infers."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.quantities import duration_milliseconds

BYTES_PER_FRAME = 4
_ROUNDING_MILLISECONDS = 10
"""Clips are held against the contract in whole milliseconds, and resampling rounds to whole frames."""


@dataclass(frozen=True, slots=True)
class RingSlot:
    """Consecutive frames of the ring that one piece of a clip occupies."""

    start: int
    frames: int


def longest_piece_milliseconds(contract: VoiceContractSpec) -> int:
    """What the model is given at once: a window where the contract declares windows, else a whole clip."""
    longest = duration_milliseconds(contract.input.max_clip)
    windows = contract.conversions.windows
    return longest if windows is None else min(longest, duration_milliseconds(windows.length))


def piece_frames(contract: VoiceContractSpec, rate_hz: int) -> int:
    """Longest piece, in frames at the model's rate."""
    return _frames(contract, rate_hz, 100)


def ring_frames(contract: VoiceContractSpec, rate_hz: int) -> int:
    """Longest piece x (1 + headroom), in frames at the model's rate."""
    return _frames(contract, rate_hz, 100 + contract.buffer.headroom_percent)


def _frames(contract: VoiceContractSpec, rate_hz: int, percent: int) -> int:
    frames = -(-longest_piece_milliseconds(contract) * rate_hz * percent // 100_000)
    return frames + rate_hz * _ROUNDING_MILLISECONDS // 1000


class RingBuffer:
    """A fixed float32 array, written by one thread and read by another, in the order of writing.

    Each piece lies in one run of frames, so that reading it is one copy. Every page is touched at once: the ring's
    bytes are part of the lane's footprint from the beginning, not when the longest clip comes.
    """

    def __init__(self, frames: int) -> None:
        self._frames = np.empty(frames, dtype=np.float32)
        self._frames.fill(0.0)
        self._slots: deque[RingSlot] = deque()
        self._changed = threading.Condition()
        self._used = 0
        self._high_water = 0
        self.underruns = 0
        """Times that the reader found no audio while clips were queued; counted by the reader."""
        self.resets: Counter[str] = Counter()
        """Times that decoded audio was dropped, by cause; counted by the reader."""

    @property
    def size_bytes(self) -> int:
        return self._frames.nbytes

    @property
    def high_water_bytes(self) -> int:
        return self._high_water * BYTES_PER_FRAME

    def write(self, samples: npt.NDArray[np.float32]) -> RingSlot:
        """Copies float32 samples (N,) in; waits until they fit in one run of free frames.

        Raises ValueError for more frames than the ring has, or none.
        """
        frames = samples.shape[0]
        if not 0 < frames <= self._frames.shape[0]:
            raise ValueError(f"{frames} frames do not fit a ring of {self._frames.shape[0]}")
        with self._changed:
            while (start := self._room(frames)) is None:
                self._changed.wait()
            slot = RingSlot(start, frames)
            self._slots.append(slot)
            self._used += frames
            self._high_water = max(self._high_water, self._used)
        # The reader learns of the slot only after this call: nobody reads it while it is filled.
        self._frames[start : start + frames] = samples
        return slot

    def take(self, slot: RingSlot) -> npt.NDArray[np.float32]:
        """A copy of the oldest slot's samples (N,), whose frames are then free. Raises ValueError for another slot."""
        samples = self._frames[slot.start : slot.start + slot.frames].copy()
        self.drop(slot)
        return samples

    def drop(self, slot: RingSlot) -> None:
        """Frees the oldest slot. Raises ValueError for another slot."""
        with self._changed:
            if not self._slots or self._slots[0] != slot:
                raise ValueError("slots are read in the order in which they were written")
            self._slots.popleft()
            self._used -= slot.frames
            self._changed.notify()

    def _room(self, frames: int) -> int | None:
        """Where so many frames are free in one run; None: nowhere yet."""
        if not self._slots:
            return 0
        oldest, end = self._slots[0].start, self._slots[-1].start + self._slots[-1].frames
        if self._slots[-1].start < oldest:  # wrapped around
            return end if end + frames <= oldest else None
        if end + frames <= self._frames.shape[0]:
            return end
        return 0 if frames <= oldest else None
