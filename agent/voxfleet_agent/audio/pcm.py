"""Samples as integers: the one rounding and clipping rule of files and streams, and 16-bit audio off a stream."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from voxfleet_agent.audio.header_facts import refused
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import Clipping

Samples = npt.NDArray[np.float32]

_FRAME_BYTES = 2
_FULL_SCALE = np.float32(2**15)


class PcmDecoder:
    """Little-endian 16-bit samples of one channel that arrive in pieces of any size."""

    def __init__(self) -> None:
        self._carried = b""

    @property
    def pending(self) -> bool:
        """Whether half a sample waits for the next piece."""
        return bool(self._carried)

    def feed(self, data: bytes) -> Samples:
        """(N,) float32 from -1.0 to below 1.0: the samples that are whole now, N possibly 0."""
        # Without half a sample, which is the rule, the piece is read where it lies.
        whole = self._carried + data if self._carried else data
        end = len(whole) // _FRAME_BYTES * _FRAME_BYTES
        self._carried = bytes(whole[end:])
        return np.frombuffer(whole, "<i2", end // _FRAME_BYTES).astype(np.float32) / _FULL_SCALE


def within_full_scale(samples: Samples, clipping: Clipping) -> Samples:
    """(N,) float32 within 1.0, as the contract's rule says of what is beyond it.

    Raises VoxFleetError(INFERENCE_ERROR) for samples that are not finite, and VoxFleetError(CONTRACT_VIOLATION) for
    those that the rule refuses.
    """
    if len(samples) == 0:
        return samples
    peak = max(abs(float(samples.max())), abs(float(samples.min())))
    if not np.isfinite(peak):
        raise VoxFleetError(FailureClass.INFERENCE_ERROR, "the model spoke samples that are not finite numbers")
    if peak > 1.0 and clipping is Clipping.REFUSE:
        raise refused(
            f"is spoken up to {peak:.3f} times full scale; write output.audio.clipping: Limit to have it cut off there"
        )
    return np.clip(samples, -1.0, 1.0) if peak > 1.0 else samples


def to_integers(samples: Samples, bits: int) -> Samples:
    """Rounds to the nearest step; +1.0, which has no integer of its own, takes the largest one."""
    scale = np.float32(2 ** (bits - 1))
    whole: Samples = np.clip(np.rint(samples * scale), -scale, scale - 1)
    return whole


def pcm16(samples: Samples) -> bytes:
    """(N,) float32 -> 2 N bytes, little-endian, cut off at full scale; `within_full_scale` comes before."""
    return to_integers(samples, 16).astype("<i2").tobytes()
