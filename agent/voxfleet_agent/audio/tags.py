"""Tags and padding around audio frames: ID3v1, ID3v2, APE and Lyrics3, found from either end of a file.

Sources: id3.org (ID3v2.2, v2.3, v2.4 and v1), the APEv2 specification of hydrogenaud.io, and Lyrics3 v1 and v2 of
id3.org.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from voxfleet_agent.audio.header_facts import ClipReader

_ID3V1_BYTES = 128
_ID3V1_EXTENDED_BYTES = 227
_ID3V2_BYTES = 10
_APE_BYTES = 32
_APE_START = b"APETAGEX"
_APE_ITEM = re.compile(rb".{3}[\x00-\x03].{4}[\x20-\x7e]{2,255}\x00", re.DOTALL)
"""The bytes of its value, flags and a name."""
_MAX_APE_ITEM_BYTES = 8 + 256
_APE_IS_HEADER = 1 << 29
_APE_HAS_HEADER = 1 << 31
_LYRICS_START = b"LYRICSBEGIN"
_LYRICS_ENDS = (b"LYRICS200", b"LYRICSEND")
_MAX_LYRICS_BYTES = 2**20
_LYRICS_READ_BYTES = 4096
_MAX_TAGS = 64
_ZEROS_READ_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag, or the part of it that is there."""

    start: int
    end: int
    name: str
    """With its article."""
    complete: bool = True


def tag_at(clip: ClipReader, offset: int) -> Tag | None:
    """The tag that begins at `offset`. One that the file ends inside of ends with it and is not complete."""
    head = clip.peek(offset, _APE_BYTES)
    if head.startswith(b"ID3"):
        return _id3v2_at(clip, offset, head)
    if head.startswith(b"TAG+"):
        return _cut_at_end(clip, offset, _ID3V1_EXTENDED_BYTES, "an extended ID3v1 tag")
    if head.startswith(b"TAG"):
        return _cut_at_end(clip, offset, _ID3V1_BYTES, "an ID3v1 tag")
    if head.startswith(_APE_START) and len(head) == _APE_BYTES:
        _, size, _, flags = struct.unpack("<IIII", head[8:24])
        # A footer without items before it is a tag as well: its size is its own.
        return _cut_at_end(clip, offset, _APE_BYTES + (size if flags & _APE_IS_HEADER else 0), "an APE tag")
    if head.startswith(_LYRICS_START):
        return _lyrics_at(clip, offset)
    return None


def leading_tags(clip: ClipReader) -> tuple[Tag, ...]:
    """The complete tags at the start of the file, one behind the other, and a last one that is not complete."""
    tags: list[Tag] = []
    offset = 0
    while len(tags) < _MAX_TAGS and (tag := tag_at(clip, offset)) is not None:
        tags.append(tag)
        offset = tag.end
    return tuple(tags)


def trailing_tags(clip: ClipReader, start: int) -> tuple[Tag, ...]:
    """The complete tags at the end of the file, first to last; none of them begins before `start`."""
    tags: list[Tag] = []
    end = clip.size_bytes
    while len(tags) < _MAX_TAGS and (tag := _tag_before(clip, end)) is not None and tag.start >= start:
        tags.append(tag)
        end = tag.start
    return tuple(reversed(tags))


def zeros_end(clip: ClipReader, offset: int) -> int:
    """Where the zero bytes end that begin at `offset`."""
    while window := clip.peek(offset, _ZEROS_READ_BYTES):
        rest = len(window.lstrip(b"\0"))
        offset += len(window) - rest
        if rest:
            break
    return offset


def zeros_start(clip: ClipReader, start: int, end: int) -> int:
    """Where the zero bytes begin that end at `end`; not before `start`."""
    while end > start:
        from_bytes = max(start, end - _ZEROS_READ_BYTES)
        rest = len(clip.peek(from_bytes, end - from_bytes).rstrip(b"\0"))
        if rest:
            return from_bytes + rest
        end = from_bytes
    return end


def _id3v2_at(clip: ClipReader, offset: int, head: bytes) -> Tag | None:
    if len(head) < _ID3V2_BYTES or head[3] == 0xFF or head[4] == 0xFF:
        return None
    if any(byte & 0x80 for byte in head[6:10]):  # not in seven bits a byte, as the standard has it
        length = _ID3V2_BYTES + int.from_bytes(head[6:10], "big")
    else:
        length = _ID3V2_BYTES + _synchsafe(head[6:10])
    if head[5] & 0x10 and clip.peek(offset + length, 3) == b"3DI":
        length += _ID3V2_BYTES
    return _cut_at_end(clip, offset, length, "an ID3v2 tag")


def _lyrics_at(clip: ClipReader, offset: int) -> Tag:
    longest_mark = max(map(len, _LYRICS_ENDS))
    for start in range(offset, offset + _MAX_LYRICS_BYTES, _LYRICS_READ_BYTES):
        text = clip.peek(start, _LYRICS_READ_BYTES + longest_mark)
        ends = [position + len(mark) for mark in _LYRICS_ENDS if (position := text.find(mark)) >= 0]
        if ends:
            return Tag(offset, start + min(ends), "a Lyrics3 tag")
        if len(text) <= _LYRICS_READ_BYTES:
            break
    return Tag(offset, clip.size_bytes, "a Lyrics3 tag", complete=False)


def _cut_at_end(clip: ClipReader, offset: int, length: int, name: str) -> Tag:
    end = offset + length
    return Tag(offset, min(end, clip.size_bytes), name, complete=end <= clip.size_bytes)


def _tag_before(clip: ClipReader, end: int) -> Tag | None:
    """The complete tag that ends at `end`."""
    if clip.peek(end - _ID3V1_BYTES, 3) == b"TAG" and end >= _ID3V1_BYTES:
        start = end - _ID3V1_BYTES
        extended = start - _ID3V1_EXTENDED_BYTES
        if extended >= 0 and clip.peek(extended, 4) == b"TAG+":
            return Tag(extended, end, "an extended ID3v1 tag")
        return Tag(start, end, "an ID3v1 tag")
    if end < _APE_BYTES:
        return None
    foot = clip.peek(end - _APE_BYTES, _APE_BYTES)
    if foot.startswith(_APE_START):
        return _ape_before(clip, end, foot)
    if foot[-_ID3V2_BYTES:].startswith(b"3DI") and not any(byte & 0x80 for byte in foot[-4:]):
        start = end - 2 * _ID3V2_BYTES - _synchsafe(foot[-4:])
        return Tag(start, end, "an ID3v2 tag") if start >= 0 and clip.peek(start, 3) == b"ID3" else None
    if foot.endswith(_LYRICS_ENDS):
        return _lyrics_before(clip, end, foot)
    return None


def _ape_before(clip: ClipReader, end: int, foot: bytes) -> Tag | None:
    _, size, _, flags = struct.unpack("<IIII", foot[8:24])
    start = end - max(size, _APE_BYTES)
    if flags & _APE_IS_HEADER or start < 0:
        return None
    with_header = start - _APE_BYTES
    if flags & _APE_HAS_HEADER and with_header >= 0 and clip.peek(with_header, 8) == _APE_START:
        return Tag(with_header, end, "an APE tag")
    # Nothing but its first item tells an old tag, without a header, from one that claims too much.
    if start < end - _APE_BYTES and not _APE_ITEM.match(clip.peek(start, _MAX_APE_ITEM_BYTES)):
        return None
    return Tag(start, end, "an APE tag")


def _lyrics_before(clip: ClipReader, end: int, foot: bytes) -> Tag | None:
    size = foot[-15:-9]
    if foot.endswith(b"LYRICS200") and size.isdigit():
        start = end - 15 - int(size)
        if start >= 0 and clip.peek(start, len(_LYRICS_START)) == _LYRICS_START:
            return Tag(start, end, "a Lyrics3 tag")
    # Version 1 states no size and has at most 5100 bytes.
    from_bytes = max(0, end - 5200)
    found = clip.peek(from_bytes, end - from_bytes).rfind(_LYRICS_START)
    return Tag(from_bytes + found, end, "a Lyrics3 tag") if found >= 0 else None


def _synchsafe(size: bytes) -> int:
    return size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3]
