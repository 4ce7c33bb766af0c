"""Resamples audio that arrives piece by piece to exactly what the whole would become: with soxr, which keeps its state.

mlx-audio-io resamples only what is there as a whole, with the same libsoxr; so both give the same samples. Here the
largest difference is 0 for both qualities at every rate, whatever the pieces.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import soxr  # type: ignore[import-untyped] # it ships no types

from voxfleet_agent.audio.header_facts import refused
from voxfleet_api.kinds.contract_input import ResampleQuality

Samples = npt.NDArray[np.float32]

_STREAMED = (ResampleQuality.SOXR_HQ, ResampleQuality.SOXR_VHQ)


class StreamResampler:
    """One stream of one channel; it takes about 150 KiB at 24 kHz.

    A sample leaves only once its filter has heard what follows it: 37 ms later for soxr_hq and 77 ms for soxr_vhq, from
    24 or 48 kHz to 16. `finish` gives what is held back.
    """

    def __init__(self, from_hz: int, to_hz: int, quality: str) -> None:
        """`quality` is one of the contract's names.

        Raises VoxFleetError(CONTRACT_VIOLATION) for one that only a whole recording can be resampled with, and
        ValueError for a rate below 1.
        """
        if quality not in _STREAMED:
            raise refused(
                f"would be resampled with {quality}, which does not work piece by piece;"
                f" write conversions.resample.quality: {ResampleQuality.SOXR_VHQ}"
            )
        self._stream = soxr.ResampleStream(from_hz, to_hz, 1, "float32", str(quality))
        self._finished = False

    def process(self, samples: Samples) -> Samples:
        """(N,) float32 at `from_hz` -> (M,) float32 at `to_hz`, M possibly 0. Raises ValueError after `finish`."""
        return self._resampled(samples, last=False)

    def finish(self) -> Samples:
        """(M,) float32: the end of the stream. Raises ValueError the second time."""
        return self._resampled(np.zeros(0, np.float32), last=True)

    def _resampled(self, samples: Samples, *, last: bool) -> Samples:
        if self._finished:
            raise ValueError("the stream is finished; a new one begins with a new StreamResampler")
        self._finished = last
        resampled: Samples = self._stream.resample_chunk(samples, last=last)
        return resampled
