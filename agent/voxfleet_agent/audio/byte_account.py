"""Accounts for every byte of a file, by one rule for all containers.

A parser claims the ranges that it knows: audio, chunks, headers. What nobody claims is

- ignored where it is a complete tag or padding (one byte value, repeated);
- skipped, and named in the facts, where it is text or shorter than anything that can be heard;
- a reason to refuse the clip otherwise, because it may be audio that would be lost without a word.
"""

from __future__ import annotations

import re

from voxfleet_agent.audio.header_facts import ClipReader, SkippedBytes, damaged
from voxfleet_agent.audio.joined_files import (
    HEAD_BYTES,
    another_file,
    ends_in_a_stream,
    file_start,
    joined,
    other_audio,
    stream_at,
)
from voxfleet_agent.audio.tags import tag_at, trailing_tags

INAUDIBLE_MILLISECONDS = 10
"""No syllable is shorter; fewer bytes than this takes on average hold no word."""
_BLOCK_BYTES = 2**20
_MAX_TEXT_BYTES = 65_536
_TEXT = re.compile(rb"[\t\n\r\f\x1a\x20-\x7e]*")
_MAX_TAGS = 16
_STREAM_BYTES = 2**14
"""What three frames of any stream fit into."""
_MAX_LISTED = 64


class ByteAccount:
    """The bytes of one file that its parser knows."""

    def __init__(self, clip: ClipReader) -> None:
        self._clip = clip
        self._claimed: list[tuple[int, int]] = []
        self._skipped: list[SkippedBytes] = []

    def claim(self, offset: int, length: int) -> None:
        """The parser knows these bytes. A range may overlap others and reach beyond the end of the file."""
        if length <= 0:
            return
        end = offset + length
        if self._claimed and self._claimed[-1][1] == offset:
            offset, _ = self._claimed.pop()
        self._claimed.append((offset, end))

    def claim_rest(self, offset: int) -> None:
        """The parser knows what lies from here to the end of the file."""
        self.claim(offset, self._clip.size_bytes - offset)

    def skip(self, offset: int, length: int, what: str) -> None:
        """The parser knows that these bytes are no audio, and has no use for them."""
        length = min(length, self._clip.size_bytes - offset)
        if length > 0:
            self.claim(offset, length)
            self._skipped.append(SkippedBytes(offset, length, what))

    def refuse_unread_audio(self) -> None:
        """Before a clip is told to hold no audio. Raises VoxFleetError(DECODE_ERROR) for bytes that may be some."""
        self.settled(1)

    def unread(self) -> list[tuple[int, int]]:
        """The (offset, length) of each range that nobody claimed, in order."""
        gaps = []
        position = 0
        for start, end in [*sorted(self._claimed), (self._clip.size_bytes, self._clip.size_bytes)]:
            if start > position:
                gaps.append((position, min(start, self._clip.size_bytes) - position))
            position = max(position, end)
        return [(offset, length) for offset, length in gaps if length > 0]

    def settled(self, audible_bytes: int) -> tuple[SkippedBytes, ...]:
        """Returns what is skipped, in the order of the file; fewer than `audible_bytes` hold nothing that can be heard.

        Raises VoxFleetError(DECODE_ERROR) that counts the bytes which may be audio.
        """
        skipped = list(self._skipped)
        lost: list[tuple[int, int]] = []
        for offset, length in self.unread():
            start, end = without_tags_and_padding(self._clip, offset, offset + length)
            if start == end:
                continue
            what = _harmless(self._clip, start, end, audible_bytes)
            if what is None:
                lost.append((start, end - start))
            else:
                skipped.append(SkippedBytes(start, end - start, what))
        if lost:
            raise _lost(self._clip, lost)
        return tuple(sorted(skipped, key=lambda skip: skip.offset_bytes)[:_MAX_LISTED])


def refuse_joined(clip: ClipReader, start: int) -> None:
    """Raises VoxFleetError(DECODE_ERROR) when another file begins behind `start`; reads all of it."""
    tags = trailing_tags(clip, start)
    at = joined_at(clip, start, tags[0].start if tags else clip.size_bytes)
    if at is not None:
        raise _lost(clip, [(at, clip.size_bytes - at)])


def joined_at(clip: ClipReader, start: int, end: int) -> int | None:
    """Where another file begins between `start` and `end`, or a stream that lasts to the end; None: nowhere."""
    tail = max(start, end - _STREAM_BYTES)
    streamed = ends_in_a_stream(clip.peek(tail, end - tail))
    for position in range(start, end, _BLOCK_BYTES):
        window = clip.peek(position, min(_BLOCK_BYTES + HEAD_BYTES, end - position))
        found = (other_audio(window) or (None,))[0] if streamed else file_start(window)
        if found is not None:
            return position + found
    return None


def audible_bytes(audio_bytes: int, audio_milliseconds: int) -> int:
    """The bytes that INAUDIBLE_MILLISECONDS of a clip take on average."""
    return audio_bytes * INAUDIBLE_MILLISECONDS // max(1, audio_milliseconds)


def without_tags_and_padding(clip: ClipReader, start: int, end: int) -> tuple[int, int]:
    """What is left of a range without the complete tags and the padding at its edges; start == end: nothing."""
    for _ in range(_MAX_TAGS):
        before = (start, end)
        if another_file(clip.peek(start, HEAD_BYTES)) is not None:
            break
        start += _padding_bytes(clip, start, end)
        part = clip.part(start, end)
        leading = tag_at(part, 0)
        if leading is not None and leading.complete:
            start += leading.end
            continue
        trailing = trailing_tags(part, 0)
        if trailing:
            end = start + trailing[0].start
        if (start, end) == before:
            break
    return start, end


def _padding_bytes(clip: ClipReader, start: int, end: int) -> int:
    """The length of the zeros at the start, or of the whole range when it repeats one byte."""
    first = clip.peek(start, 1)
    position = start
    while position < end and first:
        block = clip.peek(position, min(_BLOCK_BYTES, end - position))
        rest = block.lstrip(first)
        if not block or rest:
            length = position + len(block) - len(rest) - start if first == b"\0" else 0
            # An m4a begins with zeros of its own: the upper bytes of a length.
            own = (
                back
                for back in (1, 2, 3)
                if another_file(clip.peek(start + length - back, HEAD_BYTES)) == "an m4a file"
            )
            return max(0, length - next(own, 0))
        position += len(block)
    return end - start


def _harmless(clip: ClipReader, start: int, end: int, audible: int) -> str | None:
    """What bytes look like that cannot be audio worth hearing; None: they may be."""
    if end - start <= _MAX_TEXT_BYTES and _TEXT.fullmatch(clip.peek(start, end - start)):
        return "text"
    if another_file(clip.peek(start, HEAD_BYTES)) is not None:
        return None
    tag = tag_at(clip.part(start, end), 0)
    if tag is not None and other_audio(clip.peek(start, min(end - start, _BLOCK_BYTES))) is None:
        return f"{tag.name} that is cut off"
    return "bytes of no known format" if end - start < audible else None


def _lost(clip: ClipReader, ranges: list[tuple[int, int]]) -> Exception:
    total = sum(length for _, length in ranges)
    offset = ranges[0][0]
    kind = another_file(clip.peek(offset, HEAD_BYTES)) or stream_at(clip.peek(offset, _STREAM_BYTES), 0)
    if kind is not None:
        return joined(clip, offset, kind)
    where = f"from byte {clip.in_file(offset)} on"
    if len(ranges) > 1:
        where = f"in {len(ranges)} places {where}"
    return damaged(
        f"holds {total} bytes {where} that its header does not count as audio and that would not be read;"
        " repair its header, or cut them off"
    )
