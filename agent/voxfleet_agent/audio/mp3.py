"""MPEG audio layer III headers: ID3v2 tags, the first frame, and the length in its Xing, Info or VBRI header."""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass

from voxfleet_agent.audio.header_facts import ClipReader, HeaderFacts, checked_facts, damaged, unsupported
from voxfleet_agent.audio.refused_formats import file_name
from voxfleet_api.kinds.contract_input import Container, Encoding

_SEARCH_BYTES = 65_536
_WALK_BYTES = 2**20
_TRAILING_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3")
_MAX_TAGS = 16
_ID3V1_BYTES = 128  # a tag at the end of the file
_STREAMS = ("a raw AAC stream", "an MPEG layer")
_VERSIONS = {3: 1, 2: 2, 0: 25}  # MPEG 1, 2, 2.5
_KBITS_MPEG1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_MPEG2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES_HZ = {1: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 25: (11_025, 12_000, 8_000)}
_MONO = 3


@dataclass(frozen=True, slots=True)
class _Frame:
    version: int
    rate_hz: int
    channels: int
    bits_per_second: int
    length_bytes: int

    @property
    def samples(self) -> int:
        return samples_in_frame(self.rate_hz)

    @property
    def side_info_bytes(self) -> int:
        if self.version == 1:
            return 17 if self.channels == 1 else 32
        return 9 if self.channels == 1 else 17


def _tags_bytes(clip: ClipReader) -> int:
    """The length of all ID3v2 tags at the start of the file."""
    total = 0
    for _ in range(_MAX_TAGS):
        length = id3_bytes(clip, total)
        if length == 0:
            break
        total += length
    return total


def id3_bytes(clip: ClipReader, offset: int = 0) -> int:
    """The length of the ID3v2 tag at `offset`; 0 without one."""
    head = clip.peek(offset, 10)
    if len(head) < 10 or head[:3] != b"ID3":
        return 0
    if any(byte & 0x80 for byte in head[6:10]):
        raise damaged("begins with a broken ID3 tag")
    length = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    footer = 10 if head[5] & 0x10 else 0
    return 10 + length + footer


def begins_with_frame(clip: ClipReader) -> bool:
    """Whether the file begins with a layer III frame that is followed by a second one or fills the whole file."""
    frame = _parse(clip.peek(0, 4))
    if frame is None:
        return False
    return frame.length_bytes >= clip.size_bytes or _parse(clip.peek(frame.length_bytes, 4)) is not None


def inspect_mp3(clip: ClipReader) -> HeaderFacts:
    """Raises VoxFleetError(UNSUPPORTED_CONTAINER | DECODE_ERROR | CONTRACT_VIOLATION)."""
    tag_bytes = _tags_bytes(clip)
    behind = clip.peek(tag_bytes, 64)
    if behind.startswith(b"fLaC"):
        raise unsupported("a FLAC file behind an ID3 tag")
    if file_name(behind).startswith(_STREAMS):
        raise unsupported(f"{file_name(behind)} behind an ID3 tag")
    if behind.startswith(b"RIFF"):
        raise unsupported("a wav file behind an ID3 tag")
    offset, frame = _first_frame(clip, tag_bytes)
    if clip.peek(tag_bytes, offset - tag_bytes).strip(b"\0"):
        # A decoder may take such bytes for a playlist and ignore the frames that follow.
        raise damaged("holds something else between its tag and its audio")
    audio_bytes = clip.size_bytes - offset
    if audio_bytes > _ID3V1_BYTES and clip.peek(clip.size_bytes - _ID3V1_BYTES, 3) == b"TAG":
        audio_bytes -= _ID3V1_BYTES
    head = clip.peek(offset, min(frame.length_bytes, 512))
    frame_count, stream_bytes, padding_samples = _stated_length(head, frame)
    if stream_bytes is not None and stream_bytes > audio_bytes:
        raise damaged(f"is cut short: its header announces {stream_bytes} bytes, {audio_bytes} are there")
    frames = None if frame_count is None else max(0, frame_count * frame.samples - padding_samples)
    return checked_facts(
        Container.MP3,
        Encoding.MP3,
        frame.rate_hz,
        frame.channels,
        frames=frames,
        estimated_milliseconds=audio_bytes * 8_000 // frame.bits_per_second,
    )


def count_frames(clip: ClipReader) -> int:
    """Counts all frames of a file that `inspect_mp3` accepted, because a decoder skips frames that it cannot read.

    Raises VoxFleetError(DECODE_ERROR) for a gap between frames and for a last frame that is cut short.
    """
    offset, _ = _first_frame(clip, _tags_bytes(clip))
    count = 0
    start, window = offset, b""
    while offset < clip.size_bytes:
        head = window[offset - start : offset - start + 4]
        if len(head) < 4:
            start, window = offset, clip.peek(offset, _WALK_BYTES)
            head = window[:4]
        frame = _parse(head)
        if frame is None:
            _refuse_gap(clip, offset)
            break
        offset += frame.length_bytes
        if offset > clip.size_bytes:
            raise damaged("is cut short: it ends inside a frame")
        count += 1
    return count


def samples_in_frame(rate_hz: int) -> int:
    """The samples of one channel in a frame. MPEG 1, which has twice as many, covers the rates from 32 kHz up."""
    return 1152 if rate_hz >= min(_RATES_HZ[1]) else 576


def _refuse_gap(clip: ClipReader, offset: int) -> None:
    """Raises VoxFleetError(DECODE_ERROR) unless only tags or zeros follow `offset`."""
    gap_start = offset
    while window := clip.peek(offset, _WALK_BYTES):
        rest = window.lstrip(b"\0")
        if rest:
            if rest.startswith(_TRAILING_TAGS):
                return
            raise damaged(f"holds no audio for {offset + len(window) - len(rest) - gap_start} bytes or more within it")
        offset += len(window)


def _first_frame(clip: ClipReader, start: int) -> tuple[int, _Frame]:
    window = clip.peek(start, _SEARCH_BYTES)
    position = window.find(b"\xff")
    while 0 <= position < len(window) - 3:
        frame = _parse(window[position : position + 4])
        if frame is not None:
            following = start + position + frame.length_bytes
            if following >= clip.size_bytes or _parse(clip.peek(following, 4)) is not None:
                return start + position, frame
        position = window.find(b"\xff", position + 1)
    raise damaged("is an mp3 file without a layer III frame near its start")


@functools.lru_cache(maxsize=4096)
def _parse(head: bytes) -> _Frame | None:
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version = _VERSIONS.get((head[1] >> 3) & 0x3)
    layer = (head[1] >> 1) & 0x3
    bitrate_index = head[2] >> 4
    rate_index = (head[2] >> 2) & 0x3
    if version is None or layer != 1 or bitrate_index in (0, 15) or rate_index == 3:
        return None
    kbits = (_KBITS_MPEG1 if version == 1 else _KBITS_MPEG2)[bitrate_index - 1]
    rate_hz = _RATES_HZ[version][rate_index]
    padding = (head[2] >> 1) & 0x1
    length_bytes = (144 if version == 1 else 72) * kbits * 1000 // rate_hz + padding
    return _Frame(version, rate_hz, 1 if head[3] >> 6 == _MONO else 2, kbits * 1000, length_bytes)


def _stated_length(head: bytes, frame: _Frame) -> tuple[int | None, int | None, int]:
    """Returns (frames after the first, bytes of the stream, samples that the encoder added); None or 0 if unstated."""
    xing = 4 + frame.side_info_bytes
    if head[xing : xing + 4] in (b"Xing", b"Info") and len(head) >= xing + 8:
        return _xing(head[xing:])
    if head[36:40] == b"VBRI" and len(head) >= 54:
        stream_bytes, frame_count = struct.unpack(">II", head[46:54])
        return frame_count or None, stream_bytes or None, 0
    return None, None, 0


def _xing(tag: bytes) -> tuple[int | None, int | None, int]:
    (flags,) = struct.unpack(">I", tag[4:8])
    position = 8
    values: list[int | None] = []
    for flag in (0x1, 0x2):
        values.append(None)
        if flags & flag and len(tag) >= position + 4:
            (values[-1],) = struct.unpack(">I", tag[position : position + 4])
            position += 4
    position += (100 if flags & 0x4 else 0) + (4 if flags & 0x8 else 0)
    # The encoder's tag begins with 9 bytes of name and has delay and padding as two 12-bit numbers at byte 21.
    gap = tag[position + 21 : position + 24]
    padding = (gap[0] << 4 | gap[1] >> 4) + ((gap[1] & 0xF) << 8 | gap[2]) if len(gap) == 3 else 0
    return values[0] or None, values[1] or None, padding
