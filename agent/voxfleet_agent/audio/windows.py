"""Finds where each window of a long clip ends. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxfleet_api.kinds.contract_input import Windows
from voxfleet_api.quantities import duration_milliseconds

_QUIET_MILLISECONDS = 20
_MIN_REST_MILLISECONDS = 1000
"""The minimum length of a clip's last window, if `seek` leaves room for it: models reject pieces of a few samples."""


@dataclass(frozen=True, slots=True)
class WindowRule:
    """A contract's windows in samples of one clip."""

    length_frames: int
    seek_frames: int
    quiet_frames: int
    rest_frames: int
    """The minimum to leave for the next window."""

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
        """How many samples must be decoded before the end of a window can be chosen."""
        return self.length_frames + self.rest_frames

    def end(self, samples: npt.NDArray[np.float32]) -> int:
        """The length of the next window, in samples.

        `samples` (N,) are the rest of the clip or its next `ahead_frames`. If they fit into one window, it has all of
        them. Otherwise it ends in the middle of the quietest 20 ms within its last `seek`; the latest of equals wins.
        """
        available = len(samples)
        if available <= self.length_frames:
            return available
        latest = min(self.length_frames, available - self.rest_frames)
        count = (latest - (self.length_frames - self.seek_frames)) // self.quiet_frames
        if count < 1:
            return latest
        stretch = samples[latest - count * self.quiet_frames : latest].reshape(count, self.quiet_frames)
        energy = np.einsum("ij,ij->i", stretch, stretch, dtype=np.float64)
        quietest = count - 1 - int(np.argmin(energy[::-1]))
        return latest - (count - quietest) * self.quiet_frames + self.quiet_frames // 2
