"""The ring of decoded audio between the decoding thread and the inference thread."""

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
"""Durations are checked against the contract in whole milliseconds, and resampling rounds to whole frames."""


@dataclass(frozen=True, slots=True)
class RingSlot:
    """The consecutive frames of the ring that one piece of a clip occupies."""

    start: int
    frames: int


def longest_piece_milliseconds(contract: VoiceContractSpec) -> int:
    """The longest input of the model: a window when the contract declares windows, otherwise a whole clip."""
    longest = duration_milliseconds(contract.input.max_clip)
    windows = contract.conversions.windows
    return longest if windows is None else min(longest, duration_milliseconds(windows.length))


def piece_frames(contract: VoiceContractSpec, rate_hz: int) -> int:
    """The longest piece, in frames at the model's rate."""
    return _frames(contract, rate_hz, 100)


def ring_frames(contract: VoiceContractSpec, rate_hz: int) -> int:
    """The longest piece x (1 + headroom), in frames at the model's rate."""
    return _frames(contract, rate_hz, 100 + contract.buffer.headroom_percent)


def _frames(contract: VoiceContractSpec, rate_hz: int, percent: int) -> int:
    frames = -(-longest_piece_milliseconds(contract) * rate_hz * percent // 100_000)
    return frames + rate_hz * _ROUNDING_MILLISECONDS // 1000


class RingBuffer:
    """A fixed float32 array that one thread writes and another reads in the order of writing.

    Each piece occupies one run of frames, so that reading it is a single copy. The constructor touches every page, so
    the ring counts towards the lane's memory from the start and not only once the longest clip arrives.
    """

    def __init__(self, frames: int) -> None:
        self._frames = np.empty(frames, dtype=np.float32)
        self._frames.fill(0.0)
        self._slots: deque[RingSlot] = deque()
        self._changed = threading.Condition()
        self._used = 0
        self._high_water = 0
        self.resets: Counter[str] = Counter()
        """How often decoded audio was dropped, by cause; the reader counts."""

    @property
    def size_bytes(self) -> int:
        return self._frames.nbytes

    @property
    def high_water_bytes(self) -> int:
        return self._high_water * BYTES_PER_FRAME

    def write(self, samples: npt.NDArray[np.float32]) -> RingSlot:
        """Copies float32 samples (N,) into the ring; blocks until one run of free frames is large enough.

        Raises ValueError for no frames or more than the ring has.
        """
        frames = samples.shape[0]
        if not 0 < frames <= self._frames.shape[0]:
            raise ValueError(f"{frames} frames do not fit a ring of {self._frames.shape[0]}")
        with self._changed:
            while (start := self._find_room(frames)) is None:
                self._changed.wait()
            slot = RingSlot(start, frames)
            self._slots.append(slot)
            self._used += frames
            self._high_water = max(self._high_water, self._used)
        # The reader receives the slot only after this call, so filling it needs no lock.
        self._frames[start : start + frames] = samples
        return slot

    def take(self, slot: RingSlot) -> npt.NDArray[np.float32]:
        """Returns a copy of the oldest slot's samples (N,) and frees the slot. Raises ValueError for any other slot."""
        samples = self._frames[slot.start : slot.start + slot.frames].copy()
        self.drop(slot)
        return samples

    def drop(self, slot: RingSlot) -> None:
        """Frees the oldest slot. Raises ValueError for any other slot."""
        with self._changed:
            if not self._slots or self._slots[0] != slot:
                raise ValueError("slots are read in the order in which they were written")
            self._slots.popleft()
            self._used -= slot.frames
            self._changed.notify()

    def _find_room(self, frames: int) -> int | None:
        """The start of a run of that many free frames; None when there is none yet."""
        if not self._slots:
            return 0
        oldest, end = self._slots[0].start, self._slots[-1].start + self._slots[-1].frames
        if self._slots[-1].start < oldest:  # wrapped around
            return end if end + frames <= oldest else None
        if end + frames <= self._frames.shape[0]:
            return end
        return 0 if frames <= oldest else None
