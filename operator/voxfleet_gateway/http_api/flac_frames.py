"""FLAC (RFC 9639) with PCM16 of one channel, stored and not compressed. Pure.

Predicting and coding each sample takes time that a gateway does not have; libFLAC's bindings bring NumPy along. So the
subframes are verbatim ones, and a file is as large as its WAV: it is for those who read FLAC, and not to save bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache

from voxfleet_api.session_protocol import SAMPLE_BYTES

BLOCK_SAMPLES = 4096
_SYNC = b"\xff\xf8"  # blocks of one length
_LENGTH_FOLLOWS_RATE_OF_STREAM = 0x70
_MONO_16_BITS = 0x08
_VERBATIM = b"\x02"
_CRC8, _CRC16 = 0x07, 0x8005


def flac_header(sample_rate_hz: int, samples: int | None) -> bytes:
    """The marker and STREAMINFO, 42 bytes. None: the length is not known yet. No MD5 is told."""
    rate_channels_bits_samples = (sample_rate_hz << 44) | ((SAMPLE_BYTES * 8 - 1) << 36) | (samples or 0)
    return b"".join(
        (
            b"fLaC",
            b"\x80\x00\x00\x22",  # the last block of metadata, of 34 bytes
            BLOCK_SAMPLES.to_bytes(2) * 2,
            bytes(6),  # lengths of frames: not known
            rate_channels_bits_samples.to_bytes(8),
            bytes(16),
        )
    )


class FlacFrames:
    """Cuts samples into frames."""

    def __init__(self) -> None:
        self._waiting = b""
        self._number = 0

    def take(self, pcm: bytes) -> bytes:
        """`pcm`: whole samples. Returns the frames that became full."""
        pcm = self._waiting + pcm
        full = len(pcm) - len(pcm) % (BLOCK_SAMPLES * SAMPLE_BYTES)
        self._waiting = pcm[full:]
        return b"".join(self._frames(pcm[:full]))

    def rest(self) -> bytes:
        """The last frame, which may be shorter."""
        pcm, self._waiting = self._waiting, b""
        return b"".join(self._frames(pcm))

    def _frames(self, pcm: bytes) -> Iterator[bytes]:
        for start in range(0, len(pcm), BLOCK_SAMPLES * SAMPLE_BYTES):
            yield _frame(self._number, pcm[start : start + BLOCK_SAMPLES * SAMPLE_BYTES])
            self._number += 1


def _frame(number: int, pcm: bytes) -> bytes:
    header = b"".join(
        (
            _SYNC,
            bytes((_LENGTH_FOLLOWS_RATE_OF_STREAM, _MONO_16_BITS)),
            chr(number).encode("utf-8", "surrogatepass"),  # FLAC writes numbers as UTF-8 writes characters
            (len(pcm) // SAMPLE_BYTES - 1).to_bytes(2),
        )
    )
    head = header + bytes((_crc8(header),)) + _VERBATIM
    little, big = bytearray(pcm), bytearray(len(pcm))
    big[0::2], big[1::2] = little[1::2], little[0::2]
    values = memoryview(little if sys.byteorder == "little" else big).cast("H")
    return b"".join((head, big, _crc16(head, values).to_bytes(2)))


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ _CRC8 if crc & 0x80 else crc << 1) & 0xFF
    return crc


def _crc16(head: bytes, samples: memoryview[int]) -> int:
    """`samples`: of 16 bits, which the frame has with their high byte first."""
    table, crc = _crc16_of_words(), 0
    for byte in head:
        crc = table[crc >> 8 ^ byte] ^ (crc << 8) & 0xFF00
    for sample in samples:
        crc = table[crc ^ sample]
    return crc


@cache
def _crc16_of_words() -> list[int]:
    """The CRC of each value of 16 bits; those of 0 to 255 are the ones of single bytes, too."""
    table = [0] * 0x10000
    for value in range(0x100):
        crc = value << 8
        for _ in range(8):
            crc = (crc << 1 ^ _CRC16 if crc & 0x8000 else crc << 1) & 0xFFFF
        table[value] = crc
    for value in range(0x100, 0x10000):
        first = table[value >> 8]
        table[value] = table[first >> 8 ^ value & 0xFF] ^ (first << 8) & 0xFF00
    return table
