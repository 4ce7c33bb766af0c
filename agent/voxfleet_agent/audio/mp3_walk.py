"""Walks all frames of an MP3 file, and accounts for every byte between and behind them.

What follows a frame is the next frame, a complete tag, padding, the beginning of another file that was joined to this
one, or the end. Anything else behind the last frame is skipped and told. Within the frames it is lost audio, unless it
is a short text that a streaming server put there, or the header states as many frames as were found.
"""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_agent.audio.header_facts import ClipReader, SkippedBytes, damaged
from voxfleet_agent.audio.joined_files import joined, other_audio
from voxfleet_agent.audio.mpeg_frames import (
    HEADER_BYTES,
    LENGTH_HEADER_BYTES,
    MAX_RESERVOIR_BYTES,
    SIDE_BYTES,
    Frame,
    StatedLength,
    parse_frame,
    stated_length,
)
from voxfleet_agent.audio.tags import Tag, tag_at, zeros_end
from voxfleet_api.failures import VoxFleetError

MAX_SKIPPED_BYTES = 65_536
"""The most bytes of no known format that are skipped in one place."""
MAX_PADDING_BYTES = 4096
"""The most zeros that count as padding; more may stand for audio that was never written."""
SEARCHED_TAG_BYTES = 2**20
"""How much of a tag is searched whose end is not followed by a frame."""
_WINDOW_BYTES = 2**20
_MAX_GAPS = 64
_MAX_PARTS = 20_000
"""Tags, length headers and paddings of one file: more than any real one has, and few enough to hold."""
_TEXT = frozenset((*range(32, 127), *b"\t\r\n\0"))


@dataclass(slots=True)
class Walk:
    """The frames of a file, and what else is between its ends."""

    frames: int
    """Frames of audio; length headers are not counted."""
    runs: list[tuple[int, int]]
    """(start, end) of frames of audio that follow each other."""
    stated: StatedLength | None
    """What the first frame states, when it is a length header."""
    stated_range: tuple[int, int]
    explained: list[SkippedBytes]
    skipped: list[SkippedBytes]
    undecodable: int
    """Frames at the start whose audio begins before the file."""
    cut_frame: str | None
    """How the last frame is cut off, as the end of a sentence; None: it is whole."""

    @property
    def as_stated(self) -> bool:
        """Whether the frames are as many as the first one states; some encoders count their own length header."""
        stated = self.stated
        if stated is None or stated.frames is None:
            return False
        if self.frames == stated.frames:
            return True
        bytes_there = (self.runs[-1][1] if self.runs else 0) - self.stated_range[0]
        whole = stated.stream_bytes is not None and stated.stream_bytes <= bytes_there
        return whole and self.cut_frame is None and self.frames + 1 == stated.frames


def walk_frames(clip: ClipReader, start: int, end: int) -> Walk:
    """Walks from the first frame at `start` to `end`, where the tags at the end of the file begin.

    Raises VoxFleetError(DECODE_ERROR) for audio that is lost within the file or that no decoder can join.
    """
    walker = _Walker(clip.part(0, end), start)
    walker.walk()
    return walker.result()


def looks_like(content: bytes) -> str:
    """What skipped bytes look like, for messages."""
    if not content.strip(b"\0"):
        return "zero bytes"
    return "text" if _TEXT.issuperset(content) else "bytes of no known format"


def padding_of(start: int, end: int, explained: list[SkippedBytes], skipped: list[SkippedBytes]) -> None:
    """Files zero bytes as padding, or as skipped when they are too many."""
    part = SkippedBytes(start, end - start, "zero bytes")
    (explained if end - start <= MAX_PADDING_BYTES else skipped).append(part)


class _Walker:
    def __init__(self, clip: ClipReader, start: int) -> None:
        first = parse_frame(clip.peek(start, HEADER_BYTES))
        if first is None:
            raise ValueError("no frame begins there")
        self._clip = clip
        self._end = clip.size_bytes
        self._first = first
        self._first_head = clip.peek(start, HEADER_BYTES)
        self._offset = start
        self._run_start = start
        self._walk = Walk(0, [], None, (start, start), [], [], 0, None)
        self._gaps: list[SkippedBytes] = []
        """Bytes between frames in whose place audio may have been."""
        self._last_bytes = first.length_bytes
        self._at_boundary = True
        """Whether another file may begin here: no frame of audio precedes directly."""
        self._held_bytes = 0
        """What a decoder has of earlier frames; -1 as soon as it has decoded one."""
        self._window_start, self._window = start, b""

    def walk(self) -> None:
        while self._offset < self._end:
            head = self._at(self._offset, HEADER_BYTES + SIDE_BYTES)
            frame = parse_frame(head[:HEADER_BYTES])
            if frame is None or not frame.like(self._first):
                self._close_run()
                self._pass_over(frame)
                if len(self._walk.explained) > _MAX_PARTS:
                    raise damaged(f"holds more than {_MAX_PARTS} tags or paddings between its frames")
                self._run_start = self._offset
                continue
            following = self._offset + frame.length_bytes
            if following > self._end:
                self._close_run()
                self._cut(frame.length_bytes)
                return
            if not self._is_length_header(frame):
                self._walk.frames += 1
                self._last_bytes = frame.length_bytes
                self._at_boundary = False
                if self._held_bytes >= 0:
                    self._hold(frame, head)
            self._offset = following
        self._close_run()

    def result(self) -> Walk:
        walk = self._walk
        # Encoders that count their own length header announce one frame more; so does a file that has lost one.
        complete = walk.stated is not None and walk.frames == walk.stated.frames
        if self._gaps and not complete:
            gap = self._gaps[0]
            raise damaged(
                f"holds {gap.length_bytes} bytes at byte {gap.offset_bytes} ({gap.what}) where a frame should be"
                " and more frames follow: audio is lost or damaged there"
            )
        walk.skipped = sorted([*walk.skipped, *self._gaps], key=lambda part: part.offset_bytes)
        if walk.as_stated and walk.cut_frame is not None:
            walk.skipped.append(walk.explained.pop())
            walk.cut_frame = None
        return walk

    def _is_length_header(self, frame: Frame) -> bool:
        """Files a frame without audio that states the length of a file that begins here."""
        start, walk = self._offset, self._walk
        mark = start + HEADER_BYTES + frame.side_info_bytes
        if self._at(mark, 4) not in (b"Xing", b"Info") and self._at(start + 36, 4) != b"VBRI":
            return False
        head = self._clip.peek(start, min(frame.length_bytes, LENGTH_HEADER_BYTES))
        stated = stated_length(frame, head)
        is_first = walk.frames == 0 and walk.stated is None
        # Audio may hold these four letters by accident; a length header has no side information.
        if stated is None or (not is_first and any(head[HEADER_BYTES + 2 : mark - start])):
            return False
        self._close_run()
        end = start + frame.length_bytes
        if is_first:
            walk.stated, walk.stated_range = stated, (start, end)
        else:
            walk.explained.append(SkippedBytes(start, frame.length_bytes, "the length header of a part"))
        self._run_start = end
        self._at_boundary = True
        return True

    def _hold(self, frame: Frame, head: bytes) -> None:
        """A decoder leaves a frame out as long as it lacks the earlier bytes in which the frame's audio begins."""
        begin = frame.main_data_begin(head)
        if begin <= self._held_bytes:
            self._held_bytes = -1
            return
        self._walk.undecodable += 1
        self._held_bytes = min(MAX_RESERVOIR_BYTES, min(self._held_bytes, begin) + frame.main_bytes)

    def _pass_over(self, other: Frame | None) -> None:
        """Moves `_offset` over what is not a frame of this stream."""
        start, clip, walk = self._offset, self._clip, self._walk
        if other is not None:
            self._refuse_change(other)
        tag = tag_at(clip, start)
        inside = None if tag is None else self._frames_inside(tag)
        if tag is not None and inside is not None:
            what = f"{tag.name} whose length is not the one that it states"
            walk.skipped.append(SkippedBytes(tag.start, inside - tag.start, what))
            self._offset, self._at_boundary = inside, True
            return
        if tag is not None:
            part = SkippedBytes(tag.start, tag.end - tag.start, tag.name if tag.complete else f"{tag.name} cut off")
            (walk.explained if tag.complete else walk.skipped).append(part)
            self._offset, self._at_boundary = tag.end, True
            return
        zeros = zeros_end(clip, start)
        if zeros > start and (zeros == self._end or self._may_continue(zeros)):
            padding_of(start, zeros, walk.explained, walk.skipped)
            self._offset = zeros
            return
        rest = clip.peek(start, HEADER_BYTES)
        if len(rest) < HEADER_BYTES and self._first_head.startswith(rest[:2]) and rest[0] == 0xFF:
            self._cut(None)
            return
        self._skip(start)

    def _frames_inside(self, tag: Tag) -> int | None:
        """Where frames begin in a tag that claims too much: what follows it is neither its end nor the next frame.

        Raises VoxFleetError(DECODE_ERROR) when it is another file that begins there.
        """
        behind = zeros_end(self._clip, tag.end)
        goes_on = behind > tag.end or parse_frame(self._clip.peek(tag.end, HEADER_BYTES)) is not None
        if tag.complete and (goes_on or tag.end >= self._end or tag_at(self._clip, tag.end) is not None):
            return None
        begin = tag.start + HEADER_BYTES
        found = other_audio(self._clip.peek(begin, min(SEARCHED_TAG_BYTES, tag.end - begin) + HEADER_BYTES))
        if found is None:
            return None
        at = begin + found[0]
        if parse_frame(self._clip.peek(at, HEADER_BYTES)) is None:
            raise joined(self._clip, at, found[1])
        return at

    def _may_continue(self, offset: int) -> bool:
        """Whether a tag, or behind a tag or a length header a frame, is at `offset`: nothing is lost before it."""
        if tag_at(self._clip, offset) is not None:
            return True
        frame = parse_frame(self._clip.peek(offset, HEADER_BYTES))
        if frame is None or not frame.like(self._first):
            return False
        return self._at_boundary or stated_length(frame, self._clip.peek(offset, LENGTH_HEADER_BYTES)) is not None

    def _skip(self, start: int) -> None:
        """Skips bytes that nothing explains, to the next frames or to the end."""
        following = self._next_frames(start + 1)
        end = self._end if following is None else following
        self._refuse_other_audio(start, end)
        if end - start > MAX_SKIPPED_BYTES:
            raise damaged(
                f"holds {end - start} bytes from byte {start} on that do not continue its frames;"
                f" at most {MAX_SKIPPED_BYTES} are skipped"
            )
        content = self._clip.peek(start, end - start)
        part = SkippedBytes(start, end - start, looks_like(content))
        inserted = part.what == "text" and part.length_bytes < self._last_bytes
        if following is None or self._at_boundary or inserted:
            self._walk.skipped.append(part)
        else:
            self._gaps.append(part)
        if len(self._gaps) + len(self._walk.skipped) > _MAX_GAPS:
            raise damaged(f"holds bytes that are no frames in more than {_MAX_GAPS} places")
        self._offset = end

    def _refuse_other_audio(self, start: int, end: int) -> None:
        """Raises VoxFleetError(DECODE_ERROR) when another file or stream begins in what is to be skipped."""
        found = other_audio(self._clip.peek(start, min(end - start, MAX_SKIPPED_BYTES)))
        if found is None:
            return
        at, kind = start + found[0], found[1]
        frame = parse_frame(self._clip.peek(at, HEADER_BYTES))
        raise (
            joined(self._clip, at, kind)
            if frame is None or frame.like(self._first)
            else _change(self._first, frame, at)
        )

    def _next_frames(self, start: int) -> int | None:
        """Where the next two frames of this stream are, at most MAX_SKIPPED_BYTES behind `start`."""
        window = self._clip.peek(start, MAX_SKIPPED_BYTES)
        position = window.find(b"\xff")
        while position >= 0:
            frame = parse_frame(window[position : position + HEADER_BYTES])
            if frame is not None and frame.like(self._first):
                following = start + position + frame.length_bytes
                after = parse_frame(self._clip.peek(following, HEADER_BYTES))
                if following == self._end or (after is not None and after.like(self._first)):
                    return start + position
            position = window.find(b"\xff", position + 1)
        return None

    def _refuse_change(self, other: Frame) -> None:
        """Raises VoxFleetError for a frame that begins where the next one is due, and is of another stream."""
        following = self._offset + other.length_bytes
        after = parse_frame(self._clip.peek(following, HEADER_BYTES))
        if following < self._end and (after is None or not after.like(other)):
            return
        raise _change(self._first, other, self._offset)

    def _cut(self, length_bytes: int | None) -> None:
        """Files the beginning of a frame at the end of the file."""
        there_bytes = self._end - self._offset
        whole = "" if length_bytes is None else f" of {length_bytes} bytes"
        verb = "is" if there_bytes == 1 else "are"
        self._walk.explained.append(SkippedBytes(self._offset, there_bytes, "the beginning of a frame"))
        self._walk.cut_frame = f"is cut short: it ends inside a frame{whole}, of which {there_bytes} {verb} there"
        self._offset = self._end

    def _close_run(self) -> None:
        if self._offset > self._run_start:
            self._walk.runs.append((self._run_start, self._offset))
            self._run_start = self._offset

    def _at(self, offset: int, count: int) -> bytes:
        position = offset - self._window_start
        if position < 0 or position + count > len(self._window):
            self._window_start, self._window = offset, self._clip.peek(offset, _WINDOW_BYTES)
            position = 0
        return self._window[position : position + count]


def _change(first: Frame, other: Frame, offset: int) -> VoxFleetError:
    if first.rate_hz != other.rate_hz:
        return damaged(f"changes from {first.rate_hz} to {other.rate_hz} Hz at byte {offset}; one rate can be decoded")
    return damaged(
        f"changes from {first.channels} to {other.channels} channels at byte {offset};"
        " split it there: one number of channels can be decoded"
    )
