"""Where a window of a long clip ends. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxfleet_api.kinds.contract_input import Windows
from voxfleet_api.quantities import duration_milliseconds

_QUIET_MILLISECONDS = 20
_MIN_REST_MILLISECONDS = 1000
"""Models reject pieces of a few samples, so the last window of a clip is not shorter, where `seek` leaves room."""


@dataclass(frozen=True, slots=True)
class WindowRule:
    """A contract's windows, counted in samples of one clip."""

    length_frames: int
    seek_frames: int
    quiet_frames: int
    rest_frames: int
    """Kept for the window that follows."""

    @classmethod
    def of(cls, windows: Windows, sample_rate_hz: int) -> WindowRule:
        seek_frames = duration_milliseconds(windows.seek) * sample_rate_hz // 1000
        return cls(
            length_frames=duration_milliseconds(windows.length) * sample_rate_hz // 1000,
            seek_frames=seek_frames,
            quiet_frames=_QUIET_MILLISECONDS * sample_rate_hz // 1000,
            rest_frames=min(seek_frames, _MIN_REST_MILLISECONDS * sample_rate_hz // 1000),
        )

    @property
    def ahead_frames(self) -> int:
        """How many samples must be known before a window can be ended."""
        return self.length_frames + self.rest_frames

    def end(self, samples: npt.NDArray[np.float32]) -> int:
        """How many of `samples` (N,), the rest of the clip or its next `ahead_frames`, the next window takes.

        All of them when they fit in one window. Else the window ends in the middle of the quietest 20 ms of its last
        `seek`; of equals, the last one.
        """
        known = len(samples)
        if known <= self.length_frames:
            return known
        latest = min(self.length_frames, known - self.rest_frames)
        count = (latest - (self.length_frames - self.seek_frames)) // self.quiet_frames
        if count < 1:
            return latest
        stretch = samples[latest - count * self.quiet_frames : latest].reshape(count, self.quiet_frames)
        energy = np.einsum("ij,ij->i", stretch, stretch, dtype=np.float64)
        quietest = count - 1 - int(np.argmin(energy[::-1]))
        return latest - (count - quietest) * self.quiet_frames + self.quiet_frames // 2
