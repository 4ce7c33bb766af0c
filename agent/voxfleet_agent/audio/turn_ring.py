"""The latest audio of a session, by the numbers that its frames have from the first one on."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

BLOCK_FRAMES = 2**15
"""Memory is taken and given back so much at a time: 128 KiB, 2 s at 16 kHz. A page that is not written takes none."""


class TurnRingFull(Exception):
    """More audio came than the ring holds; whoever reads it has not dropped enough."""


class TurnRing:
    """At most `capacity_frames` of one channel, on one thread. Until audio comes it takes no memory."""

    def __init__(self, capacity_frames: int) -> None:
        self.capacity_frames = capacity_frames
        self.start_frame = 0
        """The first frame that is held."""
        self.end_frame = 0
        """Behind the last frame."""
        self._blocks: deque[Samples] = deque()
        self._first_block = 0
        """The number of the first block; block b holds the frames from b * BLOCK_FRAMES on."""

    @property
    def allocated_bytes(self) -> int:
        return sum(block.nbytes for block in self._blocks)

    def write(self, samples: Samples) -> None:
        """Appends (N,) float32. Raises TurnRingFull, and then writes nothing, when that exceeds the capacity."""
        held = self.end_frame + len(samples) - self.start_frame
        if held > self.capacity_frames:
            raise TurnRingFull(
                f"{len(samples)} more frames make {held}, and the ring holds {self.capacity_frames};"
                " drop what is read before more is written"
            )
        while len(samples):
            position, offset = divmod(self.end_frame, BLOCK_FRAMES)
            if not self._blocks:
                self._first_block = position
            if position == self._first_block + len(self._blocks):
                self._blocks.append(np.empty(BLOCK_FRAMES, np.float32))
            block = self._blocks[position - self._first_block]
            part = samples[: BLOCK_FRAMES - offset]
            block[offset : offset + len(part)] = part
            self.end_frame += len(part)
            samples = samples[len(part) :]

    def read(self, start_frame: int, end_frame: int) -> Samples:
        """(end_frame - start_frame,) float32, a copy. Raises ValueError for frames that are not held."""
        if not self.start_frame <= start_frame <= end_frame <= self.end_frame:
            raise ValueError(
                f"frames {start_frame} to {end_frame} are not held, but {self.start_frame} to {self.end_frame}"
            )
        samples = np.empty(end_frame - start_frame, np.float32)
        filled = 0
        while filled < len(samples):
            position, offset = divmod(start_frame + filled, BLOCK_FRAMES)
            part = self._blocks[position - self._first_block][offset : offset + len(samples) - filled]
            samples[filled : filled + len(part)] = part
            filled += len(part)
        return samples

    def drop_before(self, frame: int) -> None:
        """Forgets what is older than `frame`; what is gone stays gone. Raises ValueError for the future."""
        if frame > self.end_frame:
            raise ValueError(f"frame {frame} has not come yet: the ring ends at {self.end_frame}")
        self.start_frame = max(self.start_frame, frame)
        if self.start_frame == self.end_frame:
            self._blocks.clear()
        while self._blocks and self._first_block < self.start_frame // BLOCK_FRAMES:
            self._blocks.popleft()
            self._first_block += 1
