"""What a fragmented m4a says of its samples."""

from __future__ import annotations

import struct

import pytest
from tests.unit.agent.audio.audio_bytes import box
from tests.unit.agent.audio.header_files import clip
from tests.unit.agent.audio.whole_files import refusal_of

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
