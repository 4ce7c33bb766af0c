"""Identifies a clip by its bytes and checks its header against a contract. Pure Python: Plan runs it without MLX.

mlx-audio-io trusts file names and hostile headers, so every clip passes this module first.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

from voxfleet_agent.audio.aiff import inspect_aiff
from voxfleet_agent.audio.byte_account import refuse_joined
from voxfleet_agent.audio.caf import inspect_caf
from voxfleet_agent.audio.flac import inspect_flac
from voxfleet_agent.audio.flac_frames import measured_facts
from voxfleet_agent.audio.header_facts import (
    ClipReader,
    HeaderFacts,
    Reader,
    SkippedBytes,
    damaged,
    told_together,
    unsupported,
)
from voxfleet_agent.audio.m4a import inspect_m4a
from voxfleet_agent.audio.mp3 import begins_with_frame, count_mp3, holds_frames, inspect_mp3
from voxfleet_agent.audio.mp3_walk import padding_of
from voxfleet_agent.audio.refused_formats import file_name, known_file_name, printable
from voxfleet_agent.audio.tags import Tag, leading_tags, trailing_tags, zeros_start
from voxfleet_agent.audio.wav import inspect_wav
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.contract_input import Container, Decoder, Truncated
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.quantities import duration_milliseconds, quantity_bytes
from voxfleet_api.rows import RowError

__all__ = ["HeaderFacts", "Reader", "contract_violation", "duration_violation", "inspect", "inspect_whole", "sniff"]

_HEAD_BYTES = 64
_FLAC_HEADER_BYTES = 42
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp", b"pnot")
"""QuickTime had no ftyp at first; a segment of a stream begins with styp."""


def inspect(reader: Reader, size_bytes: int) -> HeaderFacts:
    """Reads a clip's header. Raises VoxFleetError(UNSUPPORTED_CONTAINER | DECODE_ERROR | CONTRACT_VIOLATION).

    `reader` is a seekable binary file of `size_bytes`. Reads a few kilobytes, of an m4a up to 16 MiB, and of an mp3
    whose tag is broken up to 1 MiB.
    """
    clip = ClipReader(reader, size_bytes)
    return sniff(clip)(clip)


def inspect_whole(reader: Reader, size_bytes: int) -> HeaderFacts:
    """As `inspect`, and reads as much of the file as it takes to know the range that is audio."""
    clip = ClipReader(reader, size_bytes)
    parse = sniff(clip)
    if parse is inspect_mp3:
        return count_mp3(clip)
    facts = parse(clip)
    if facts.open_ended:
        refuse_joined(clip, facts.audio_start_bytes + 1)
    return _with_counted_flac(facts, clip) if facts.container is Container.FLAC else facts


def sniff(clip: ClipReader) -> Callable[[ClipReader], HeaderFacts]:
    """Finds the clip's parser by its first bytes, or by those behind its tags.

    Raises VoxFleetError(UNSUPPORTED_CONTAINER | DECODE_ERROR).
    """
    if clip.size_bytes == 0:
        raise damaged("is empty")
    tags = leading_tags(clip)
    start = tags[-1].end if tags else 0
    head = clip.peek(start, _HEAD_BYTES)
    parse = _parser(head)
    if parse is not None:
        around = start > 0 or parse is inspect_flac
        return functools.partial(_inspect_between_tags, parse, tags) if around else parse
    if begins_with_frame(clip, start):
        return inspect_mp3
    name = known_file_name(head)
    if name is not None:
        raise unsupported(f"{name} behind {tags[-1].name}" if tags else name)
    if tags or holds_frames(clip):
        return inspect_mp3
    raise unsupported(file_name(head))


def _parser(head: bytes) -> Callable[[ClipReader], HeaderFacts] | None:
    if head[:4] == b"RIFF":
        if len(head) < 12:
            raise damaged(f"ends inside its header, behind {len(head)} bytes")
        if head[8:12] != b"WAVE":
            raise unsupported(f"a RIFF file, but not of audio (its type is '{printable(head[8:12])}')")
        return inspect_wav
    if head[:4] == b"fLaC":
        return inspect_flac
    if head[4:8] in _FIRST_BOXES:
        return inspect_m4a
    if head[:4] == b"FORM":
        return inspect_aiff
    if head[:4] == b"caff":
        return inspect_caf
    return None


def _inspect_between_tags(
    parse: Callable[[ClipReader], HeaderFacts], leading: tuple[Tag, ...], clip: ClipReader
) -> HeaderFacts:
    """The facts of a file that taggers put their tags around; the decoder is given what lies between them."""
    start = leading[-1].end if leading else 0
    trailing = trailing_tags(clip, start)
    end = trailing[0].start if trailing else clip.size_bytes
    explained = [SkippedBytes(tag.start, tag.end - tag.start, tag.name) for tag in (*leading, *trailing)]
    skipped: list[SkippedBytes] = []
    if parse is inspect_flac and end - start > 3 and not any(clip.peek(end - 3, 3)):
        # libav takes zeros behind the last frame for damage. Two of them may be its checksum.
        padding_start = max(start + _FLAC_HEADER_BYTES, zeros_start(clip, start, end) + 2)
        if padding_start < end:
            padding_of(padding_start, end, explained, skipped)
            end = padding_start
    facts = parse(clip.part(start, end))
    return dataclasses.replace(
        facts,
        audio_start_bytes=start + facts.audio_start_bytes,
        audio_end_bytes=end if facts.audio_end_bytes is None else start + facts.audio_end_bytes,
        skipped=(*_shifted(facts.skipped, start), *skipped),
        explained=tuple(sorted(explained, key=lambda part: part.offset_bytes)),
    )


def _with_counted_flac(facts: HeaderFacts, clip: ClipReader) -> HeaderFacts:
    ((start, end),) = facts.ranges(clip.size_bytes)
    counted = measured_facts(dataclasses.replace(facts, skipped=()), clip.part(start, end))
    return dataclasses.replace(
        counted,
        audio_end_bytes=end if counted.audio_end_bytes is None else start + counted.audio_end_bytes,
        skipped=(*_shifted(counted.skipped, start), *facts.skipped),
    )


def _shifted(parts: tuple[SkippedBytes, ...], by_bytes: int) -> tuple[SkippedBytes, ...]:
    return tuple(dataclasses.replace(part, offset_bytes=by_bytes + part.offset_bytes) for part in parts)


def contract_violation(facts: HeaderFacts, size_bytes: int, contract: VoiceContractSpec) -> RowError | None:
    """Why the contract refuses the clip: every clause that its header violates; None when it violates none."""
    accepted = contract.input
    cut_short = facts.truncation if accepted.truncated is Truncated.REFUSE else None
    violations = [*_format_violations(facts, size_bytes, contract)]
    if cut_short is None and facts.frames is not None:  # otherwise only decoding finds the length
        violations += _duration_violations(facts.audio_milliseconds, contract)
    if violations:
        return _violation(violations)
    if cut_short is not None:
        advice = "; a contract with input.truncated: Accept takes what is there"
        reason = cut_short[: 256 - len(advice)] + advice
        return RowError(failure_class=FailureClass.DECODE_ERROR, reason=reason)
    return None


def _format_violations(facts: HeaderFacts, size_bytes: int, contract: VoiceContractSpec) -> Iterator[str]:
    accepted = contract.input
    if facts.container not in accepted.containers:
        yield f"is a file of type {facts.container.value}; the contract accepts {', '.join(accepted.containers)}"
    if facts.encoding not in accepted.encodings:
        yield f"is encoded as {facts.encoding.value}; the contract accepts {', '.join(accepted.encodings)}"
    if Decoder.MLX_AUDIO_IO not in accepted.decoders:
        yield "can be decoded by mlx-audio-io alone, which the contract does not list in input.decoders"
    formats = ((facts.sample_rate_hz, facts.channels), *facts.other_formats)
    at_accepted_rates = [(rate, count) for rate, count in formats if rate in accepted.sample_rates_hz]
    if not at_accepted_rates:
        rates = ", ".join(str(rate) for rate in accepted.sample_rates_hz)
        yield f"is at {facts.sample_rate_hz} Hz; the contract accepts {rates} Hz"
    if not any(count in accepted.channels for _, count in at_accepted_rates or formats):
        counts = ", ".join(str(count) for count in accepted.channels)
        yield f"has {facts.channels} channels; the contract accepts {counts}"
    if size_bytes > quantity_bytes(accepted.max_clip_bytes):
        yield f"has {size_bytes} bytes; the contract accepts at most {accepted.max_clip_bytes}"


def duration_violation(audio_milliseconds: int, contract: VoiceContractSpec) -> RowError | None:
    """Why the contract refuses a clip of this duration; None when it accepts it."""
    violations = _duration_violations(audio_milliseconds, contract)
    return _violation(violations) if violations else None


def _duration_violations(audio_milliseconds: int, contract: VoiceContractSpec) -> list[str]:
    accepted = contract.input
    if audio_milliseconds < duration_milliseconds(accepted.min_clip):
        return [f"lasts {audio_milliseconds} ms; the contract accepts at least {accepted.min_clip}"]
    if audio_milliseconds > duration_milliseconds(accepted.max_clip):
        return [f"lasts {audio_milliseconds} ms; the contract accepts at most {accepted.max_clip}"]
    return []


def _violation(reasons: Sequence[str]) -> RowError:
    return RowError(failure_class=FailureClass.CONTRACT_VIOLATION, reason=told_together(reasons))
