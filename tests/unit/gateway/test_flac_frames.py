from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxfleet_gateway.http_api.flac_frames import BLOCK_SAMPLES, FlacFrames, flac_header

pytestmark = pytest.mark.unit


@settings(max_examples=20)
@given(st.lists(st.integers(min_value=0, max_value=2 * BLOCK_SAMPLES), max_size=4))
def test_frames_do_not_depend_on_how_the_samples_come(lengths: list[int]) -> None:
    pcm = struct.pack(f"<{sum(lengths)}h", *(number % 65536 - 32768 for number in range(sum(lengths))))
    in_pieces, at_once = FlacFrames(), FlacFrames()
    ends = [0]
    for length in lengths:
        ends.append(ends[-1] + 2 * length)
    written = b"".join(in_pieces.take(pcm[start:end]) for start, end in pairwise(ends)) + in_pieces.rest()
    assert written == at_once.take(pcm) + at_once.rest()
    assert len(written) >= len(pcm)


def test_the_header_says_rate_width_and_length() -> None:
    header = flac_header(24_000, 5)
    assert len(header) == 42 and header[:4] == b"fLaC"
    told = int.from_bytes(header[18:26])
    assert told >> 44 == 24_000
    assert (told >> 41) & 0b111 == 0
    assert (told >> 36) & 0b11111 == 15
    assert told & (2**36 - 1) == 5
    assert int.from_bytes(flac_header(24_000, None)[18:26]) & (2**36 - 1) == 0


def test_frames_are_numbered_and_checked() -> None:
    written = FlacFrames().take(struct.pack("<h", -2) * BLOCK_SAMPLES * 3)
    length = len(written) // 3
    for number in range(3):
        frame = written[number * length : (number + 1) * length]
        assert frame[:7] == bytes((0xFF, 0xF8, 0x70, 0x08, number)) + (BLOCK_SAMPLES - 1).to_bytes(2)
        assert frame[7] == crc(frame[:7], 8, 0x07)
        assert frame[8:-2] == b"\x02" + b"\xff\xfe" * BLOCK_SAMPLES
        assert int.from_bytes(frame[-2:]) == crc(frame[:-2], 16, 0x8005)


def crc(data: bytes, width: int, polynomial: int) -> int:
    """Bit by bit, as RFC 9639 defines it."""
    register = 0
    for byte in data:
        register ^= byte << (width - 8)
        for _ in range(8):
            carry = register >> (width - 1)
            register = (register << 1) & ((1 << width) - 1) ^ (polynomial if carry else 0)
    return register
