"""What a clip's row says of the bytes that were not decoded. Pure."""

from __future__ import annotations

from voxfleet_agent.audio.header_facts import HeaderFacts, SkippedBytes
from voxfleet_api.clip_warnings import RowWarning, WarningCode
from voxfleet_api.rows import SkippedPart

_MAX_PARTS = 16
_NAMED_PARTS = 3
_MESSAGE_CHARACTERS = 256


def warnings_of(facts: HeaderFacts) -> tuple[RowWarning, ...]:
    """The warnings of a clip whose contract accepts it."""
    warnings: list[RowWarning] = []
    if facts.skipped:
        warnings.append(_warning(WarningCode.BYTES_SKIPPED, _skipped(facts.skipped)))
    if facts.undecodable_frames:
        milliseconds = max(1, facts.undecodable_frames * 1000 // facts.sample_rate_hz)
        message = f"{milliseconds} ms at its start may be missing: part of their bytes come before the first frame"
        warnings.append(_warning(WarningCode.BYTES_SKIPPED, message))
    if facts.unplayed_frames:
        milliseconds = max(1, facts.unplayed_frames * 1000 // facts.sample_rate_hz)
        message = f"its edit list leaves out {milliseconds} ms of stored audio, which were not transcribed"
        warnings.append(_warning(WarningCode.BYTES_SKIPPED, message))
    if facts.truncation is not None:
        warnings.append(_warning(WarningCode.TRUNCATED_AUDIO, f"{facts.truncation}; what is there was taken"))
    return tuple(warnings)


def skipped_parts(facts: HeaderFacts) -> tuple[SkippedPart, ...]:
    """All bytes that the decoder is not given, in the order of the file; the last part stands for what is too many."""
    parts = sorted((*facts.explained, *facts.skipped), key=lambda part: part.offset_bytes)
    named = [
        SkippedPart(offset_bytes=part.offset_bytes, length_bytes=part.length_bytes, what=part.what) for part in parts
    ]
    if len(named) <= _MAX_PARTS:
        return tuple(named)
    kept, rest = named[: _MAX_PARTS - 1], named[_MAX_PARTS - 1 :]
    total_bytes = sum(part.length_bytes for part in rest)
    what = f"{len(rest)} more parts, the first of them here"
    return (*kept, SkippedPart(offset_bytes=rest[0].offset_bytes, length_bytes=total_bytes, what=what))


def _skipped(parts: tuple[SkippedBytes, ...]) -> str:
    total_bytes = sum(part.length_bytes for part in parts)
    named = [f"{part.length_bytes} at byte {part.offset_bytes} ({part.what})" for part in parts[:_NAMED_PARTS]]
    if len(parts) > _NAMED_PARTS:
        named.append(f"and in {len(parts) - _NAMED_PARTS} more places")
    return f"{total_bytes} of its bytes were not decoded: {', '.join(named)}"


def _warning(code: WarningCode, message: str) -> RowWarning:
    return RowWarning(code=code, message=message[:_MESSAGE_CHARACTERS])
