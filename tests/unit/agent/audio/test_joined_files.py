"""The search for other files and streams among bytes that a parser does not know."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

import pytest

from voxfleet_agent.audio.joined_files import file_start

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
