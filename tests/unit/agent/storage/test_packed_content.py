from __future__ import annotations

import hashlib
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.storage.packed_content import PackedContent
from voxfleet_agent.storage.upload_content import BLOCK_BYTES

LINE = bytes(range(256)) * 997


def packed(pieces: list[bytes]) -> PackedContent:
    content = PackedContent()
    for piece in pieces:
        content.append(piece)
    return content


@given(
    sizes=st.lists(st.integers(0, 2 * BLOCK_BYTES // 3), max_size=8),
    places=st.tuples(st.integers(0, 2**23), st.integers(0, 2**23)),
)
async def test_any_stretch_is_read_back_as_it_was_appended(sizes: list[int], places: tuple[int, int]) -> None:
    pieces = [(LINE * 4)[number : number + size] for number, size in enumerate(sizes)]
    whole = b"".join(pieces)
    start, stop = sorted(min(place, len(whole)) for place in places)

    content = packed(pieces)

    assert content.size_bytes == len(whole)
    assert b"".join([block async for block in content.blocks(start, stop)]) == whole[start:stop]
    assert await content.sha256(start, stop) == hashlib.sha256(whole[start:stop]).hexdigest()
    assert content.whole_sha256 == hashlib.sha256(whole).hexdigest()


def test_repeating_lines_take_a_small_part_of_their_size() -> None:
    line = b'{"audioMilliseconds": 1200, "customId": "clip", "uri": "s3://bucket/folder/clip.wav"}\n'
    tracemalloc.start()
    try:
        content = packed([line] * 200_000)
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept_bytes < content.size_bytes // 4
