"""MPEG audio layer III frames (ISO/IEC 11172-3, 13818-3), and the length headers of Xing, LAME and Fraunhofer."""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass

HEADER_BYTES = 4
SIDE_BYTES = 6
"""What `main_data_begin` reads of a frame behind its four bytes of header: a checksum and two bytes of side
information."""
LENGTH_HEADER_BYTES = 256
"""At most this much of a frame states a length: a Xing header with its table, and LAME's part of it."""
MAX_RESERVOIR_BYTES = 511
"""How far back main data may begin."""
_VERSIONS = {3: 1, 2: 2, 0: 25}  # MPEG 1, 2, 2.5
_KBITS_MPEG1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_MPEG2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES_HZ = {1: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 25: (11_025, 12_000, 8_000)}
_MONO = 3


@dataclass(frozen=True, slots=True)
class Frame:
    """What a frame's header says."""

    version: int
    rate_hz: int
    channels: int
    bits_per_second: int
    length_bytes: int
    checksum_bytes: int

    @property
    def samples(self) -> int:
        """The samples of one channel."""
        return 1152 if self.version == 1 else 576

    @property
    def side_info_bytes(self) -> int:
        if self.version == 1:
            return 17 if self.channels == 1 else 32
        return 9 if self.channels == 1 else 17

    @property
    def main_bytes(self) -> int:
        return max(0, self.length_bytes - HEADER_BYTES - self.checksum_bytes - self.side_info_bytes)

    def main_data_begin(self, head: bytes) -> int:
        """How many bytes before this frame its audio begins; `head`: its first HEADER_BYTES + SIDE_BYTES."""
        at = HEADER_BYTES + self.checksum_bytes
        return head[at] << 1 | head[at + 1] >> 7 if self.version == 1 else head[at]

    def like(self, other: Frame) -> bool:
        """Whether both may follow each other in one stream."""
        return self.rate_hz == other.rate_hz and self.channels == other.channels


@dataclass(frozen=True, slots=True)
class StatedLength:
    """What a first frame that holds no audio says of the stream."""

    frames: int | None
    """The number of frames behind this one."""
    stream_bytes: int | None
    """From the start of this frame."""
    padding_samples: int
    """Samples that the encoder added at both ends."""
    decoders_know_it: bool
    """Whether decoders take it for what it is, and not for a frame of silence."""


@functools.lru_cache(maxsize=4096)
def parse_frame(head: bytes) -> Frame | None:
    """The frame that begins with these four bytes; None when they begin none, or one of unstated length."""
    if len(head) < HEADER_BYTES or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version = _VERSIONS.get((head[1] >> 3) & 0x3)
    layer = (head[1] >> 1) & 0x3
    bitrate_index = head[2] >> 4
    rate_index = (head[2] >> 2) & 0x3
    if version is None or layer != 1 or bitrate_index in (0, 15) or rate_index == 3:
        return None
    kbits = (_KBITS_MPEG1 if version == 1 else _KBITS_MPEG2)[bitrate_index - 1]
    rate_hz = _RATES_HZ[version][rate_index]
    padding = (head[2] >> 1) & 0x1
    length_bytes = (144 if version == 1 else 72) * kbits * 1000 // rate_hz + padding
    channels = 1 if head[3] >> 6 == _MONO else 2
    return Frame(version, rate_hz, channels, kbits * 1000, length_bytes, 0 if head[1] & 1 else 2)


def stated_length(frame: Frame, head: bytes) -> StatedLength | None:
    """What the frame says of the stream; None when it is a frame of audio. `head`: its LENGTH_HEADER_BYTES or less."""
    xing = HEADER_BYTES + frame.side_info_bytes
    if head[xing : xing + 4] in (b"Xing", b"Info"):
        return _xing(head[xing:])
    if head[36:40] == b"VBRI":
        if len(head) < 54:
            return StatedLength(None, None, 0, decoders_know_it=False)
        stream_bytes, frames = struct.unpack(">II", head[46:54])
        return StatedLength(frames or None, stream_bytes or None, 0, decoders_know_it=False)
    return None


def _xing(header: bytes) -> StatedLength:
    flags = int.from_bytes(header[4:8], "big")
    position = 8
    values: list[int | None] = []
    for flag in (0x1, 0x2):
        values.append(None)
        if flags & flag and len(header) >= position + 4:
            values[-1] = int.from_bytes(header[position : position + 4], "big")
            position += 4
    position += (100 if flags & 0x4 else 0) + (4 if flags & 0x8 else 0)
    # The encoder's part begins with 9 bytes of name and has delay and padding as two 12-bit numbers at byte 21.
    gap = header[position + 21 : position + 24]
    padding = (gap[0] << 4 | gap[1] >> 4) + ((gap[1] & 0xF) << 8 | gap[2]) if len(gap) == 3 else 0
    return StatedLength(values[0] or None, values[1] or None, padding, decoders_know_it=True)
