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
