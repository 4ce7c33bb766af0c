"""A WAV file that comes piece by piece and does not know its length: its header, and whole samples. Pure."""

from __future__ import annotations

import struct

SAMPLE_BYTES = 2
HEADER_BYTES = 44
MAX_HEADER_BYTES = 64 * 1024
UNKNOWN_BYTES = 2**32 - 1
"""What a header says whose file's length is not known."""
_PCM = 1


class NoStreamedWav(Exception):
    """What came is no WAV with PCM16 of one channel; the message says what it is."""


class StreamedWav:
    """Takes the bytes as they come and gives samples back."""

    def __init__(self) -> None:
        self.rate_hz: int | None = None
        """None until the header is there."""
        self.total_bytes = 0
        """Of all samples that were given back."""
        self._rest = b""

    def feed(self, content: bytes) -> bytes:
        """Returns whole PCM16 samples, perhaps none. Raises NoStreamedWav."""
        self._rest += content
        if self.rate_hz is None and not self._take_header():
            return b""
        size = len(self._rest) // SAMPLE_BYTES * SAMPLE_BYTES
        samples, self._rest = self._rest[:size], self._rest[size:]
        self.total_bytes += size
        return samples

    @property
    def seconds(self) -> float:
        return self.total_bytes / SAMPLE_BYTES / self.rate_hz if self.rate_hz else 0.0

    def _take_header(self) -> bool:
        """False: more of it has to come."""
        if len(self._rest) < 12:
            return False
        if self._rest[:4] != b"RIFF" or self._rest[8:12] != b"WAVE":
            raise NoStreamedWav("the answer is no WAV")
        position, rate_hz = 12, 0
        while position + 8 <= len(self._rest):
            name, size = struct.unpack_from("<4sI", self._rest, position)
            if name == b"data":
                if not rate_hz:
                    raise NoStreamedWav("the WAV's samples come before their format")
                self.rate_hz, self._rest = rate_hz, self._rest[position + 8 :]
                return True
            if name == b"fmt " and len(self._rest) >= position + 24:
                kind, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", self._rest, position + 8)
                if (kind, channels, bits) != (_PCM, 1, 8 * SAMPLE_BYTES):
                    raise NoStreamedWav(f"the WAV has {channels} channels of {bits} bits (format {kind}), not PCM16")
            position += 8 + size + size % 2
        if len(self._rest) > MAX_HEADER_BYTES:
            raise NoStreamedWav("the WAV's header does not end")
        return False


def header(rate_hz: int, data_bytes: int) -> bytes:
    """Of a file of PCM16 of one channel. `data_bytes`: of its samples, or UNKNOWN_BYTES."""
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(
            b"RIFF",
            min(UNKNOWN_BYTES, HEADER_BYTES - 8 + data_bytes),
            b"WAVE",
            b"fmt ",
            16,
            _PCM,
            1,
            rate_hz,
            rate_hz * SAMPLE_BYTES,
        ),
        *(SAMPLE_BYTES, 8 * SAMPLE_BYTES, b"data", data_bytes),
    )
