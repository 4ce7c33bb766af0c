"""MP3 files: where their audio lies among tags, padding and rubbish, and how long it is."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass

from voxfleet_agent.audio.header_facts import ClipReader, HeaderFacts, SkippedBytes, checked_facts, damaged
from voxfleet_agent.audio.joined_files import joined, other_audio
from voxfleet_agent.audio.mp3_walk import (
    MAX_SKIPPED_BYTES,
    SEARCHED_TAG_BYTES,
    Walk,
    looks_like,
    padding_of,
    walk_frames,
)
from voxfleet_agent.audio.mpeg_frames import (
    HEADER_BYTES,
    LENGTH_HEADER_BYTES,
    Frame,
    parse_frame,
    stated_length,
)
from voxfleet_agent.audio.tags import Tag, leading_tags, tag_at, trailing_tags, zeros_end
from voxfleet_api.kinds.contract_input import Container, Encoding

_MAX_LEADING_ZEROS = 2**20
_RUN_FRAMES = 3
"""Frames in a row that are no accident: four bytes are a header once in 16,000 times."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the first frame is, and what is around the frames."""

    offset: int
    frame: Frame
    end: int
    """Where the tags at the end of the file begin."""
    explained: tuple[SkippedBytes, ...]
    skipped: tuple[SkippedBytes, ...]


def begins_with_frame(clip: ClipReader, offset: int = 0) -> bool:
    """Whether a layer III frame is at `offset`, and behind it another one, a tag or the end of the file."""
    frame = parse_frame(clip.peek(offset, HEADER_BYTES))
    if frame is None:
        return False
    following = offset + frame.length_bytes
    if following >= clip.size_bytes or tag_at(clip, following) is not None:
        return True
    after = parse_frame(clip.peek(following, HEADER_BYTES))
    return after is not None and after.like(frame)


def holds_frames(clip: ClipReader) -> bool:
    """Whether frames follow each other from somewhere in the first MAX_SKIPPED_BYTES behind the file's zeros."""
    return _find_run(clip, leading_zeros_end(clip, 0), MAX_SKIPPED_BYTES) is not None


def leading_zeros_end(clip: ClipReader, start: int) -> int:
    """Where the zeros end that begin at `start`, of which Plan reads no more than _MAX_LEADING_ZEROS."""
    return zeros_end(clip.part(0, min(clip.size_bytes, start + _MAX_LEADING_ZEROS)), start)


def inspect_mp3(clip: ClipReader) -> HeaderFacts:
    """Reads both ends of the file, and takes its first frame's word for the length of the rest.

    Raises VoxFleetError(DECODE_ERROR | CONTRACT_VIOLATION).
    """
    place = _locate(clip)
    frame = place.frame
    stated = stated_length(frame, clip.peek(place.offset, min(frame.length_bytes, LENGTH_HEADER_BYTES)))
    truncation, frames = None, None
    if stated is not None:
        there_bytes = clip.size_bytes - place.offset
        if stated.stream_bytes is not None and stated.stream_bytes > there_bytes:
            truncation = f"is cut short: its header announces {stated.stream_bytes} bytes, {there_bytes} are there"
        else:
            samples = (stated.frames or 0) * frame.samples - stated.padding_samples
            frames = samples if samples > 0 else None
    facts = checked_facts(
        Container.MP3,
        Encoding.MP3,
        frame.rate_hz,
        frame.channels,
        frames=frames,
        estimated_milliseconds=(place.end - place.offset) * 8_000 // frame.bits_per_second,
    )
    return dataclasses.replace(
        facts,
        audio_start_bytes=place.offset,
        audio_end_bytes=place.end,
        explained=place.explained,
        skipped=place.skipped,
        truncation=truncation,
    )


def count_mp3(clip: ClipReader) -> HeaderFacts:
    """Walks the whole file, and counts its frames instead of trusting its header.

    A decoder cannot tell what is missing: it passes over bytes that it cannot read, and stops where the first header
    says. It is therefore given the frames alone, and that header only if it tells the truth. Raises
    VoxFleetError(DECODE_ERROR | CONTRACT_VIOLATION).
    """
    place = _locate(clip)
    walk = walk_frames(clip, place.offset, place.end)
    frame = place.frame
    if walk.frames == 0:
        raise damaged(f"holds no complete frame of audio in the {place.end - place.offset} bytes behind its tags")
    samples = walk.frames * frame.samples
    explained = [*place.explained, *walk.explained]
    runs = list(walk.runs)
    stated = walk.stated
    trimmed = False
    if stated is not None:
        trimmed = walk.as_stated and stated.decoders_know_it and samples > stated.padding_samples
        start, end = walk.stated_range
        if trimmed:
            samples -= stated.padding_samples
            runs.insert(0, (start, end))
        else:
            explained.append(SkippedBytes(start, end - start, "a length header"))
    runs = _joined(runs)
    facts = checked_facts(Container.MP3, Encoding.MP3, frame.rate_hz, frame.channels, frames=samples)
    return dataclasses.replace(
        facts,
        audio_start_bytes=runs[0][0],
        audio_end_bytes=runs[-1][1],
        cut_out=tuple((before[1], after[0]) for before, after in itertools.pairwise(runs)),
        explained=tuple(sorted(explained, key=lambda part: part.offset_bytes)),
        skipped=(*place.skipped, *walk.skipped),
        counted=True,
        trimmed=trimmed,
        undecodable_frames=walk.undecodable * frame.samples,
        truncation=_truncation(walk, frame),
    )


def _truncation(walk: Walk, frame: Frame) -> str | None:
    stated = walk.stated
    if stated is not None and stated.frames is not None and walk.frames < stated.frames and not walk.as_stated:
        missing = (stated.frames - walk.frames) * frame.samples * 1000 // frame.rate_hz
        return (
            f"is cut short: its header announces {stated.frames} frames, {walk.frames} are there"
            f" ({missing} ms are missing)"
        )
    return walk.cut_frame


def _joined(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, end in runs:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _locate(clip: ClipReader) -> _Place:
    """Raises VoxFleetError(DECODE_ERROR) when no frames are near the start of the file."""
    tags = leading_tags(clip)
    tags_end = tags[-1].end if tags else 0
    offset = leading_zeros_end(clip, tags_end)
    last = tags[-1] if tags else None
    skipped: list[SkippedBytes] = []
    if (last is not None and not last.complete) or not begins_with_frame(clip, offset):
        found = _find_run(clip, offset, MAX_SKIPPED_BYTES)
        inside = None if last is None else _run_inside(clip, last, found)
        if last is not None and inside is not None:
            tags, offset = tags[:-1], inside
            what = f"{last.name} whose length is not the one that it states"
            skipped.append(SkippedBytes(last.start, inside - last.start, what))
        elif found is not None:
            offset = found
            rubbish = clip.peek(tags_end, found - tags_end)
            other = other_audio(rubbish)
            if other is not None:
                raise joined(clip, tags_end + other[0], other[1])
            skipped.append(SkippedBytes(tags_end, found - tags_end, looks_like(rubbish)))
        else:
            raise _no_frames(clip, tags, tags_end)
    explained = [SkippedBytes(tag.start, tag.end - tag.start, tag.name) for tag in tags]
    if offset > tags_end and not skipped:
        padding_of(tags_end, offset, explained, skipped)
    frame = parse_frame(clip.peek(offset, HEADER_BYTES))
    if frame is None:
        raise _no_frames(clip, tags, tags_end)
    trailing = trailing_tags(clip, offset + frame.length_bytes)
    explained += [SkippedBytes(tag.start, tag.end - tag.start, tag.name) for tag in trailing]
    end = trailing[0].start if trailing else clip.size_bytes
    return _Place(offset, frame, end, tuple(explained), tuple(skipped))


def _no_frames(clip: ClipReader, tags: tuple[Tag, ...], tags_end: int) -> Exception:
    if tags and not tags[-1].complete:
        return damaged(f"ends inside {tags[-1].name} at byte {tags[-1].start}; no frames are in front of its end")
    rest_bytes = clip.size_bytes - tags_end
    behind = f"behind {tags[-1].name}, which ends at byte {tags_end}" if tags else "in it"
    if rest_bytes == 0:
        return damaged(f"holds nothing {behind}")
    searched = min(rest_bytes, MAX_SKIPPED_BYTES)
    return damaged(f"holds no layer III frames in the first {searched} of the {rest_bytes} bytes {behind}")


def _find_run(clip: ClipReader, start: int, search_bytes: int) -> int | None:
    """Where frames begin that follow each other, at `start` or at most `search_bytes` behind it."""
    window = clip.peek(start, search_bytes)
    position = window.find(b"\xff")
    while 0 <= position <= len(window) - HEADER_BYTES:
        if parse_frame(window[position : position + HEADER_BYTES]) is not None and _is_run(clip, start + position):
            return start + position
        position = window.find(b"\xff", position + 1)
    return None


def _is_run(clip: ClipReader, offset: int) -> bool:
    first = frame = parse_frame(clip.peek(offset, HEADER_BYTES))
    count = 0
    while first is not None and frame is not None and frame.like(first) and count < _RUN_FRAMES:
        offset += frame.length_bytes
        if offset > clip.size_bytes:
            return count > 1
        count += 1
        frame = parse_frame(clip.peek(offset, HEADER_BYTES))
    return count >= _RUN_FRAMES or (count > 1 and (offset == clip.size_bytes or tag_at(clip, offset) is not None))


def _run_inside(clip: ClipReader, tag: Tag, found: int | None) -> int | None:
    """Where frames begin inside a tag that claims too much; they go on beyond its end, or the file ends there."""
    start = tag.start + HEADER_BYTES
    begin = _find_run(clip, start, min(SEARCHED_TAG_BYTES, tag.end - start + HEADER_BYTES))
    if begin is None:
        return None
    if not tag.complete:
        return begin
    offset = begin
    while offset < tag.end and (frame := parse_frame(clip.peek(offset, HEADER_BYTES))) is not None:
        offset += frame.length_bytes
    return begin if offset == found else None
