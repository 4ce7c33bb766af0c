"""The search for other files and streams among bytes that a parser does not know."""

from __future__ import annotations

import hashlib
import re

import pytest
from tests.unit.agent.audio.mp3_bytes import frames as mp3_frames

from voxfleet_agent.audio import joined_files
from voxfleet_agent.audio.joined_files import ends_in_a_stream, file_start

NOISE = hashlib.shake_128(b"noise").digest(2**20)
WAVS = (b"RIFF", b"RIFX", b"RF64", b"BW64")
MARKS = (*WAVS, b"FORM", b"caff", b"fLaC", b"ftyp", b"OggS", b"wvpk", b"\x1aE\xdf\xa3")
FILES = {
    **{f"{name.decode()} wav": name + b"1234WAVE" for name in WAVS},
    "aiff": b"FORM1234AIFF",
    "aifc": b"FORM1234AIFC",
    "caf": b"caff\0\1\0\0desc",
    "flac": b'fLaC\x80\0\0"',
    "m4a": b"\0\0\0\x1cftypM4A ",
    "ogg": b"OggS\0\2" + bytes(8),
    "wavpack": b"wvpk1234\x10\4\0",
    "matroska": b"\x1aE\xdf\xa3\x9f\x42\x86\x81\1",
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("ahead", [b"", bytes(9), b"RIF", b"RIFF1234", b"OggSftypRIFFORM", b"\0\0\0ftyp"])
def test_a_file_is_found_at_its_first_byte(name: str, ahead: bytes) -> None:
    content = ahead + FILES[name]
    assert file_start(content) == len(ahead)
    assert file_start(content + b"rest" + FILES["caf"]) == len(ahead)
    assert file_start(content[:-5]) is None


@pytest.mark.parametrize("content", [bytes(2**20), b"\xff" * 2**20, NOISE], ids=["zeros", "ones", "noise"])
def test_bytes_without_a_mark_begin_no_file(content: bytes) -> None:
    assert file_start(content) is None


def test_every_mark_begins_with_a_letter_of_its_own() -> None:
    """A group or a class there makes `re` stop at each byte of a clip, which took ten times as long."""
    alternatives = joined_files._FILE_MARK.pattern.split(b"|")
    assert len(alternatives) == len(MARKS)
    for alternative, mark in zip(alternatives, MARKS, strict=True):
        assert re.match(rb"[A-Za-z0-9]|\\x[0-9a-f]{2}", alternative)
        assert alternative.replace(rb"\x1a", b"\x1a").replace(rb"\xdf\xa3", b"\xdf\xa3").startswith(mark)


ADTS = bytes.fromhex("fff150800120fc") + b"aa"
LAST_OF_OTHER_RATE = bytes.fromhex("fff154800120fc") + b"aa"


@pytest.mark.parametrize(
    ("content", "ends"),
    [
        (3 * ADTS, True),
        (b"noise" + 3 * ADTS + bytes(20), True),
        (9 * ADTS, True),
        (3 * ADTS[:-1] + ADTS, False),
        (3 * ADTS + b"x", False),
        (2 * ADTS, False),
        (2 * ADTS + ADTS[:-1], True),  # the last one is cut off
        (2 * ADTS + LAST_OF_OTHER_RATE, False),
        (ADTS + b"aa" + 2 * ADTS, False),
        (3 * mp3_frames(1), True),
        (2 * mp3_frames(1), False),
    ],
)
def test_three_frames_in_a_row_up_to_the_end_are_a_stream(content: bytes, ends: bool) -> None:
    assert ends_in_a_stream(content) is ends


def test_no_frame_is_looked_at_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    link = joined_files._link

    def counting(head: bytes) -> joined_files._Link | None:
        nonlocal looks
        looks += 1
        return link(head)

    monkeypatch.setattr(joined_files, "_link", counting)
    # Frames of seven bytes: a chain through all that follow begins at each of them, and none ends at the end.
    content = bytes.fromhex("fff1508000fffc") * 2_000 + b"x"
    assert not ends_in_a_stream(content)
    assert 2_000 <= looks <= content.count(b"\xff")
