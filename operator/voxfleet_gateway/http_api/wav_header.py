"""The header of a WAV file with PCM16 of one channel. Pure."""

from __future__ import annotations

import struct

from voxfleet_api.session_protocol import SAMPLE_BYTES

UNKNOWN_LENGTH = 0xFFFF_FFFF
"""What a WAV that is written to a pipe says, as ffmpeg's do: it lasts until its end."""
_BEYOND_RIFF = 36
"""How many of the header's bytes the RIFF length counts."""


def wav_header(sample_rate_hz: int, data_bytes: int | None) -> bytes:
    """44 bytes. None: the length is not known yet."""
    riff, data = UNKNOWN_LENGTH, UNKNOWN_LENGTH
    if data_bytes is not None:
        riff, data = _BEYOND_RIFF + data_bytes, data_bytes
    pcm, channels = 1, 1
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        riff,
        b"WAVE",
        b"fmt ",
        16,
        pcm,
        channels,
        sample_rate_hz,
        sample_rate_hz * SAMPLE_BYTES,
        SAMPLE_BYTES,
        SAMPLE_BYTES * 8,
        b"data",
        data,
    )
