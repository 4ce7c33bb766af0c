"""Checks of a FLAC file that libav omits: the checksum of all samples, and the rate that the frames state."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from voxfleet_agent.audio.flac_frames import metadata_end
from voxfleet_agent.audio.header_facts import ClipReader, damaged

_INFO_OFFSET = 8
_FRAME_SYNC = (b"\xff\xf8", b"\xff\xf9")
_RATES_HZ = (88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)


class SampleChecksum:
    """The MD5 over all samples, interleaved, as integers of whole bytes (RFC 9639, 8.2)."""

    def __init__(self, expected: bytes, bits: int) -> None:
        self._expected = expected
        self._bits = bits
        self._digest = hashlib.md5(usedforsecurity=False)

    def add(self, block: npt.NDArray[np.float32]) -> None:
        """Adds a block, (n, channels) float32; floats hold integers of up to 24 bits exactly."""
        scaled = block * np.float32(2 ** (self._bits - 1))
        if self._bits <= 8:
            self._digest.update(scaled.astype(np.int8).tobytes())
        elif self._bits <= 16:
            self._digest.update(scaled.astype("<i2").tobytes())
        else:
            packed = scaled.astype("<i4").reshape(-1, 1).view(np.uint8)[:, :3]
            self._digest.update(np.ascontiguousarray(packed).tobytes())

    def verify(self) -> None:
        """Call it after the last block. Raises VoxFleetError(DECODE_ERROR) when the checksum differs."""
        if self._digest.digest() != self._expected:
            raise damaged("decodes to other audio than its checksum is of")


def sample_checksum(clip: ClipReader) -> SampleChecksum | None:
    """The stated checksum; None when the file states none, or has samples that floats do not hold exactly."""
    info = clip.read_exactly(_INFO_OFFSET, 34, "header")
    bits = (int.from_bytes(info[12:14], "big") >> 4 & 0x1F) + 1
    expected = info[18:34]
    return SampleChecksum(expected, bits) if any(expected) and bits <= 24 else None


def refuse_other_rate(clip: ClipReader, rate_hz: int) -> None:
    """Raises VoxFleetError(DECODE_ERROR) when the rate in the first frame is not `rate_hz`, the stream's rate."""
    frame = clip.read_exactly(metadata_end(clip), 4, "metadata")
    if not frame.startswith(_FRAME_SYNC):
        raise damaged("has no audio behind its metadata")
    code = frame[2] & 0xF
    if 1 <= code <= len(_RATES_HZ) and _RATES_HZ[code - 1] != rate_hz:
        raise damaged(f"says {rate_hz} Hz, and its first frame {_RATES_HZ[code - 1]} Hz")
