"""The search for other files and streams among bytes that a parser does not know."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

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


def seconds(call: Callable[[], object]) -> float:
    """The least processor time of several calls."""

    def once() -> float:
        started = time.thread_time()
        call()
        return time.thread_time() - started

    return min(once() for _ in range(5))


@pytest.mark.parametrize("content", [bytes(2**20), b"\xff" * 2**20, NOISE], ids=["zeros", "ones", "noise"])
def test_bytes_without_a_mark_are_passed_over_as_fast_as_plain_marks_are_searched(content: bytes) -> None:
    # The measure is the machine's own search for the same marks, so load and age of the machine do not count.
    plain = seconds(lambda: [content.find(mark) for mark in MARKS])
    assert file_start(content) is None
    assert seconds(lambda: file_start(content)) <= 3 * plain


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
