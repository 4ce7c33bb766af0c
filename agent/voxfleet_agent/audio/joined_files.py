"""What begins another file or stream among bytes that a parser does not know: nobody would read its audio."""

from __future__ import annotations

import re

from voxfleet_agent.audio.header_facts import ClipReader, damaged
from voxfleet_agent.audio.mpeg_frames import HEADER_BYTES, parse_frame
from voxfleet_agent.audio.refused_formats import marked_file_name
from voxfleet_api.failures import VoxFleetError

HEAD_BYTES = 64
"""`another_file` looks at no more."""
_FILE_MARK = re.compile(
    rb"RIFF.{4}WAVE|RIFX.{4}WAVE|RF64.{4}WAVE|BW64.{4}WAVE|FORM.{4}AIF[FC]|caff\x00\x01..desc"
    rb"|fLaC[\x00\x80]\x00\x00\x22|ftyp(?<=\x00\x00\x00[\x08-\x7f]ftyp)|OggS\x00\x02.{8}"
    rb"|wvpk.{4}[\x02-\x10]\x04\x00|\x1aE\xdf\xa3.{1,8}\x42\x86\x81\x01",
    re.DOTALL,
)
"""Marks of files, long enough that audio does not hold them by accident. Each alternative begins with a letter of its
own, not with a group or a class: only then does `re` pass over other bytes ten times as fast."""
_LENGTH_BYTES = 4
"""Of the length ahead of `ftyp`."""
_FRAME_MARK = re.compile(rb"\xff(?=[\xe2-\xe7\xf0-\xfd])")
_RUN_FRAMES = 3
"""Frames in a row that are no accident."""
_ADTS_HEADER_BYTES = 7
_MIN_FREE_BYTES, _MAX_FREE_BYTES = 24, 4096
"""Of a frame of free format."""
_MAX_FREE_GUESSES = 16
_KBITS_LAYER_2 = {
    3: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""By version, MPEG 1 and 2."""
_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000)}
_Link = tuple[str, tuple[int, ...], int]
"""(what stream it is, what its frames have in common, bytes of this frame)."""


def another_file(head: bytes) -> str | None:
    """The kind of audio file that begins with `head`, with its article; None: nothing that is known here."""
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "a wav file"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "an aiff file"
    if head[:4] == b"caff" and head[4:6] == b"\0\x01":
        return "a caf file"
    if head[:4] == b"fLaC":
        return "a flac file"
    if head[4:8] == b"ftyp":
        return "an m4a file"
    if len(head) >= 12 and head[:4] in (b"RIFF", b"FORM"):
        return f"{'a RIFF' if head[:4] == b'RIFF' else 'an IFF'} file"
    return marked_file_name(head)


def other_audio(content: bytes) -> tuple[int, str] | None:
    """Where in `content` another file or a stream of frames begins, and its kind with its article; None: nowhere."""
    found = file_start(content)
    end = len(content) if found is None else found
    for mark in _FRAME_MARK.finditer(content, 0, end):
        position = mark.start()
        what = stream_at(content, position) or _free_format_at(content, position)
        if what is not None:
            return position, what
    return None if found is None else (end, another_file(content[end : end + HEAD_BYTES]) or "a file")


def file_start(content: bytes) -> int | None:
    """Where in `content` the mark of a file begins; None: nowhere."""
    mark = _FILE_MARK.search(content)
    if mark is None:
        return None
    return mark.start() - (_LENGTH_BYTES if mark[0] == b"ftyp" else 0)


def stream_at(content: bytes, start: int) -> str | None:
    """What stream's frames follow each other from `start` on, three or all up to the end; None: none do."""
    first = link = _link(content[start : start + _ADTS_HEADER_BYTES])
    count = 0
    while first is not None and link is not None and link[:2] == first[:2] and count < _RUN_FRAMES:
        start += link[2]
        if start > len(content):
            break
        count += 1
        link = _link(content[start : start + _ADTS_HEADER_BYTES])
    if first is None or count < _RUN_FRAMES - 1 or (count < _RUN_FRAMES and start != len(content)):
        return None
    return first[0]


def _free_format_at(content: bytes, start: int) -> str | None:
    """Frames of an mp3 of free format state no length: three headers follow each other at equal distances."""
    head = content[start : start + HEADER_BYTES]
    if len(head) < HEADER_BYTES or head[1] & 0xE6 != 0xE2 or head[1] >> 3 & 3 == 1:
        return None
    if head[2] >> 4 or head[2] & 0xC == 0xC:
        return None

    def begins(at: int) -> bool:
        other = content[at : at + 3]
        return len(other) == 3 and other[:2] == head[:2] and other[2] & 0xFC == head[2] & 0xFC

    second = start + _MIN_FREE_BYTES - 1
    for _ in range(_MAX_FREE_GUESSES):
        second = content.find(head[:2], second + 1, start + _MAX_FREE_BYTES)
        if second < 0:
            break
        third = 2 * second - start
        # A frame may have a byte of padding.
        if begins(second) and any(begins(third + spare) for spare in (-1, 0, 1)):
            return "an mp3 stream of free format"
    return None


def ends_in_a_stream(content: bytes) -> bool:
    """Whether three or more frames follow each other up to the end of `content`, zeros behind them left out; the last
    one may be cut off. Each frame is looked at once, however many chains of frames lead through it."""
    end = len(content.rstrip(b"\0"))
    leading: dict[int, tuple[_Link, int]] = {}
    """By offset: a frame from which frames lead to the end, and how many."""
    for position in reversed([mark.start() for mark in _FRAME_MARK.finditer(content)]):
        link = _link(content[position : position + _ADTS_HEADER_BYTES])
        if link is None:
            continue
        behind, count = position + link[2], 1
        if behind < end:
            following = leading.get(behind)
            if following is None or following[0][:2] != link[:2]:
                continue
            count += following[1]
        if count >= _RUN_FRAMES:
            return True
        leading[position] = (link, count)
    return False


def joined(clip: ClipReader, offset: int, kind: str) -> VoxFleetError:
    """The refusal of a clip for another file that begins at `offset`."""
    start = clip.in_file(offset)
    return damaged(
        f"is joined with another file: {clip.whole_bytes - start} bytes from byte {start} on, where {kind} begins,"
        " would not be read; split the file"
    )


def _link(head: bytes) -> _Link | None:
    """The frame that begins with `head`: of MPEG layer II or III, or of AAC (ADTS)."""
    if len(head) < HEADER_BYTES or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    frame = parse_frame(head[:HEADER_BYTES])
    if frame is not None:
        return "an mp3 stream", (frame.rate_hz, frame.channels), frame.length_bytes
    if head[1] & 0xF6 == 0xF0:
        return _adts(head)
    version, layer, bits, rate = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    if layer != 2 or version not in _RATES_HZ or bits in (0, 15) or rate == 3:
        return None
    rate_hz = _RATES_HZ[version][rate]
    length = 144_000 * _KBITS_LAYER_2[version][bits - 1] // rate_hz + (head[2] >> 1 & 1)
    return "an MPEG layer II audio stream", (rate_hz,), length


def _adts(head: bytes) -> _Link | None:
    if len(head) < _ADTS_HEADER_BYTES or head[2] >> 2 & 0xF > 12:
        return None
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    if length < _ADTS_HEADER_BYTES:
        return None
    return "a raw AAC stream (ADTS)", (head[1], head[2], head[3] & 0xF0), length
