"""Where the samples of a fragmented MPEG-4 file lie, and how long they last: moof, traf, tfhd, tfdt and trun boxes
(ISO/IEC 14496-12, 8.8)."""

from __future__ import annotations

import struct
from bisect import bisect
from dataclasses import dataclass

from voxfleet_agent.audio.header_facts import ClipReader, cut_short, damaged
from voxfleet_agent.audio.mp4_boxes import Movie, boxes, find

_NOTHING = memoryview(b"")
_HAS_BASE, _HAS_DESCRIPTION, _HAS_DURATION, _HAS_SIZE, _BASE_IS_MOOF = 0x1, 0x2, 0x8, 0x10, 0x20000
"""Flags of tfhd."""
_RUN_OFFSET, _RUN_FIRST_FLAGS, _SAMPLE_DURATION, _SAMPLE_SIZE, _SAMPLE_FLAGS, _SAMPLE_SHIFT = (
    0x1,
    0x4,
    0x100,
    0x200,
    0x400,
    0x800,
)
"""Flags of trun."""
_TOLERATED_SAMPLES = 2
"""By how many samples a fragment may begin early or late: writers round."""
_ROWS_AT_A_TIME = 1_024
"""Of a run's samples."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """One moof box."""

    offset: int
    extents: tuple[tuple[int, int], ...]
    """The (offset, length) of each run of samples, of all tracks."""
    samples: int
    """Of the audio track; the rest as well."""
    start: int | None
    """When it begins, in the track's units; None: it does not say."""
    duration: int

    @property
    def end(self) -> int:
        """Where the last of its samples ends in the file."""
        return max((offset + length for offset, length in self.extents), default=self.offset)


def fragments_of(movie: Movie, track: int, clip: ClipReader) -> list[Fragment]:
    """Raises VoxFleetError(DECODE_ERROR) for fragments that are broken."""
    defaults = _defaults(movie.header)
    found = []
    for offset, body in movie.fragments:
        try:
            found.append(_fragment(offset, body, track, defaults))
        except struct.error:
            raise damaged(f"has a broken fragment at byte {clip.in_file(offset)}") from None
    return found


def announced_samples(movie: Movie) -> int:
    """The samples that the runs of all fragments and tracks announce, without a look at them."""
    return sum(
        int.from_bytes(run[4:8], "big")
        for _, body in movie.fragments
        for name, traf in boxes(body)
        if name == b"traf"
        for run_name, run in boxes(traf)
        if run_name == b"trun"
    )


def refuse_gaps(fragments: list[Fragment], timescale: int, clip: ClipReader) -> None:
    """Raises VoxFleetError(DECODE_ERROR) for fragments that do not follow each other in time."""
    expected: int | None = None
    for fragment in fragments:
        if fragment.samples == 0:
            continue
        if expected is not None and fragment.start is not None:
            tolerance = _TOLERATED_SAMPLES * max(1, fragment.duration // fragment.samples)
            if abs(fragment.start - expected) > tolerance:
                raise damaged(
                    f"jumps from {_milliseconds(expected, timescale)} to {_milliseconds(fragment.start, timescale)} ms"
                    f" at byte {clip.in_file(fragment.offset)}: a fragment is missing or there twice"
                )
        start = fragment.start if fragment.start is not None else expected or 0
        expected = start + fragment.duration


def drop_cut(movie: Movie, fragments: list[Fragment], clip: ClipReader) -> None:
    """Takes the last fragment out when its samples are not all in the file, and notes the cut in `movie`.

    Raises VoxFleetError(DECODE_ERROR) when it is another one, or when none is left.
    """
    for number, fragment in enumerate(fragments):
        if fragment.end <= clip.size_bytes:
            _refuse_outside(fragment, movie.media, clip)
            continue
        truncation = cut_short("bytes", clip.in_file(fragment.end), clip.in_file(clip.size_bytes))
        if number < len(fragments) - 1:
            raise damaged(
                f"has samples of its fragment at byte {clip.in_file(fragment.offset)} at byte"
                f" {clip.in_file(fragment.end)}, behind its end"
            )
        if number == 0:
            raise damaged(truncation)
        del fragments[number], movie.fragments[number]
        movie.truncation, movie.cut_fragment_at = truncation, fragment.offset


def _refuse_outside(fragment: Fragment, media: list[tuple[int, int]], clip: ClipReader) -> None:
    """`media`: the bodies of the mdat boxes, in the order of the file."""
    for offset, length in fragment.extents:
        body = media[max(0, bisect(media, (offset, clip.size_bytes)) - 1)] if media else (0, 0)
        if length and not body[0] <= offset <= offset + length <= sum(body):
            raise damaged(
                f"has samples of its fragment at byte {clip.in_file(fragment.offset)} at byte {clip.in_file(offset)},"
                " outside its audio (mdat)"
            )


def _defaults(header: memoryview) -> dict[int, tuple[int, int]]:
    """By track: (duration, bytes) of a sample whose fragment does not say (trex)."""
    extends = find(header, b"mvex") or _NOTHING
    rows = [struct.unpack_from(">5I", box, 4) for name, box in boxes(extends) if name == b"trex" and len(box) >= 24]
    return {track: (duration, size) for track, _, duration, size, _ in rows}


def _fragment(offset: int, body: memoryview, track: int, defaults: dict[int, tuple[int, int]]) -> Fragment:
    extents: list[tuple[int, int]] = []
    samples, start, duration = 0, None, 0
    behind = offset
    for name, traf in boxes(body):
        if name != b"traf":
            continue
        head = find(traf, b"tfhd") or _NOTHING
        flags, number = struct.unpack_from(">II", head)
        flags &= 0xFFFFFF
        at = 8
        base = behind if extents and not flags & _BASE_IS_MOOF else offset
        if flags & _HAS_BASE:
            (base,) = struct.unpack_from(">Q", head, at)
            at += 8
        at += 4 if flags & _HAS_DESCRIPTION else 0
        each_duration, each_bytes = defaults.get(number, (0, 0))
        if flags & _HAS_DURATION:
            (each_duration,) = struct.unpack_from(">I", head, at)
            at += 4
        if flags & _HAS_SIZE:
            (each_bytes,) = struct.unpack_from(">I", head, at)
        behind = base
        for run_name, run in boxes(traf):
            if run_name != b"trun":
                continue
            run_start, count, run_duration, run_bytes = _run(run, base, behind, each_duration, each_bytes)
            extents.append((run_start, run_bytes))
            behind = run_start + run_bytes
            if number == track:
                samples, duration = samples + count, duration + run_duration
        if number == track and start is None:
            start = _decode_time(find(traf, b"tfdt"))
    return Fragment(offset, tuple(extents), samples, start, duration)


def _run(run: memoryview, base: int, behind: int, each_duration: int, each_bytes: int) -> tuple[int, int, int, int]:
    """(offset, samples, duration, bytes) of a trun box; `behind`: where the run before it ends."""
    flags, count = struct.unpack_from(">II", run)
    at, start = 8, behind
    if flags & _RUN_OFFSET:
        start = base + struct.unpack_from(">i", run, at)[0]
        at += 4
    at += 4 if flags & _RUN_FIRST_FLAGS else 0
    fields = [flag for flag in (_SAMPLE_DURATION, _SAMPLE_SIZE, _SAMPLE_FLAGS, _SAMPLE_SHIFT) if flags & flag]
    if not fields:
        return start, count, count * each_duration, count * each_bytes
    width = len(fields)
    if len(run) < at + 4 * width * count:
        raise struct.error
    totals = dict(zip(fields, _column_sums(run[at : at + 4 * width * count], width), strict=True))
    return (
        start,
        count,
        totals.get(_SAMPLE_DURATION, count * each_duration),
        totals.get(_SAMPLE_SIZE, count * each_bytes),
    )


def _column_sums(table: memoryview, width: int) -> list[int]:
    """Of rows of `width` numbers of 32 bits. Some rows at a time: each number takes ten times its bytes in Python."""
    sums = [0] * width
    block_bytes = 4 * width * _ROWS_AT_A_TIME
    for at in range(0, len(table), block_bytes):
        block = table[at : at + block_bytes]
        values = struct.unpack(f">{len(block) // 4}I", block)
        for column in range(width):
            sums[column] += sum(values[column::width])
    return sums


def _decode_time(box: memoryview | None) -> int | None:
    if box is None:
        return None
    start: int = struct.unpack_from(">Q" if bytes(box[:1]) == b"\x01" else ">I", box, 4)[0]
    return start


def _milliseconds(units: int, timescale: int) -> int:
    return units * 1000 // timescale
