"""What a fragmented m4a says of its samples."""

from __future__ import annotations

import io
import struct
import tracemalloc

import pytest
from tests.unit.agent.audio.audio_bytes import box
from tests.unit.agent.audio.header_files import clip
from tests.unit.agent.audio.whole_files import facts_of, refusal_of

from voxfleet_agent.audio.header_facts import ClipReader
from voxfleet_agent.audio.mp4_boxes import Movie
from voxfleet_agent.audio.mp4_fragments import fragments_of

FILE = clip("m4a-16000-04.m4a")
TRACK = struct.pack(">II", 0x20000, 1)


def fragment(track: bytes = TRACK, time: bytes = bytes(8), run: bytes = bytes(8)) -> bytes:
    return box(b"moof", box(b"traf", box(b"tfhd", track), box(b"tfdt", time), box(b"trun", run)))


@pytest.mark.parametrize("length", range(8))
@pytest.mark.parametrize("name", ["track", "time", "run"])
def test_a_box_that_is_too_short_is_a_broken_fragment(name: str, length: int) -> None:
    bodies = {"track": TRACK[:length], "time": b"\1"[:length] + bytes(max(0, length - 1)), "run": bytes(length)}
    message = refusal_of(FILE + fragment(**{name: bodies[name]}))
    assert message == f"has a broken fragment at byte {len(FILE)}"


@pytest.mark.parametrize("samples", [0, 1, 1_500, 2**15])
@pytest.mark.parametrize("flags", [0x100, 0x200, 0x300, 0xE00, 0xF00])
def test_a_run_is_added_up_in_little_memory(samples: int, flags: int) -> None:
    fields = [flag for flag in (0x100, 0x200, 0x400, 0x800) if flags & flag]
    row = struct.pack(f">{len(fields)}I", *(2**32 - 1 - flag for flag in fields))
    run = struct.pack(">II", flags, samples) + row * samples
    body = memoryview(box(b"traf", box(b"tfhd", struct.pack(">IIII", 0x20018, 1, 7, 9)), box(b"trun", run)))
    movie = Movie(memoryview(b""), fragments=[(100, body)])
    tracemalloc.start()
    try:
        (found,) = fragments_of(movie, 1, ClipReader(io.BytesIO(), 0))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    each_duration, each_bytes = (2**32 - 1 - flag if flags & flag else each for flag, each in ((0x100, 7), (0x200, 9)))
    assert (found.samples, found.duration) == (samples, samples * each_duration)
    assert found.extents == ((100, samples * each_bytes),)
    assert peak_bytes < 2**19


@pytest.mark.parametrize(
    ("config", "packet_frames"),
    [
        ("1408", 1024),
        ("140c", 960),
        ("2c0a0800", 2048),  # with replication
        ("2c0a0a00", 1920),
    ],
)
def test_fragments_last_as_long_as_their_packets(config: str, packet_frames: int) -> None:
    new = bytes.fromhex(config).ljust(5, b"\0")
    at = FILE.index(bytes.fromhex("05808080051408"))
    file = FILE[: at + 5] + new + FILE[at + 10 :]
    packets = int.from_bytes(FILE[FILE.index(b"stsz") + 12 :][:4], "big")
    content = file + fragment(run=struct.pack(">II", 0, 3))
    assert facts_of(content).frames == (packets + 3) * packet_frames
