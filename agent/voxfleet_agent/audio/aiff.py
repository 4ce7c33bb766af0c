"""AIFF and AIFF-C headers."""

from __future__ import annotations

import struct

from voxfleet_agent.audio.channel_layouts import refuse_core_audio
from voxfleet_agent.audio.header_facts import ClipReader, HeaderFacts, checked_facts, damaged, refused, unsupported
from voxfleet_agent.audio.refused_formats import encoding_name
from voxfleet_api.kinds.contract_input import Container, Encoding

_PCM_BITS = {16: Encoding.PCM16, 24: Encoding.PCM24, 32: Encoding.PCM32}
_ENCODINGS = {
    **{(code, bits): encoding for code in (b"NONE", b"twos") for bits, encoding in _PCM_BITS.items()},
    (b"sowt", 16): Encoding.PCM16,
    (b"in24", 24): Encoding.PCM24,
    (b"in32", 32): Encoding.PCM32,
    (b"fl32", 32): Encoding.FLOAT32,
    (b"FL32", 32): Encoding.FLOAT32,
}
_PCM_CODES = (b"NONE", b"twos", b"sowt", b"in24", b"in32")
_MAX_CHUNKS = 256
_COMMON_BYTES = 22
_LAYOUT_BYTES = 52
_UNKNOWN_LENGTH_BYTES = 0x7F000000
"""From this value on the length is a placeholder: a program that writes to a pipe cannot go back to fill it in."""
_EXPONENT_BIAS = 16_383 + 63


def inspect_aiff(clip: ClipReader) -> HeaderFacts:
    """Raises VoxFleetError(UNSUPPORTED_CONTAINER | DECODE_ERROR | CONTRACT_VIOLATION)."""
    form = clip.read_exactly(8, 4, "header")
    if form not in (b"AIFF", b"AIFC"):
        raise unsupported("an IFF file, but not AIFF")
    common: bytes | None = None
    layout = b""
    sound: tuple[int, int] | None = None
    offset = 12
    for _ in range(_MAX_CHUNKS):
        if offset + 8 > clip.size_bytes:
            break
        name, length_bytes = struct.unpack(">4sI", clip.read_exactly(offset, 8, "chunk list"))
        offset += 8
        if name == b"COMM" and common is None:
            needed = _COMMON_BYTES if form == b"AIFC" else 18
            if length_bytes < needed:
                raise damaged(f"has a COMM chunk of {length_bytes} bytes; it needs {needed}")
            common = clip.read_exactly(offset, needed, "COMM chunk")
        elif name == b"SSND" and sound is None:
            (skipped_bytes,) = struct.unpack(">I4x", clip.read_exactly(offset, 8, "SSND chunk"))
            sound = (offset + 8 + skipped_bytes, length_bytes - 8 - skipped_bytes)
        elif name == b"CHAN":
            layout = clip.peek(offset, min(length_bytes, _LAYOUT_BYTES))
        offset += length_bytes + length_bytes % 2
    if common is None or sound is None:
        raise damaged(f"is an AIFF file without its {'COMM' if common is None else 'SSND'} chunk")
    return _facts(common, layout, sound[1], clip.size_bytes - sound[0])


def _facts(common: bytes, layout: bytes, announced_bytes: int, present_bytes: int) -> HeaderFacts:
    channels, frames, bits = struct.unpack(">HIH", common[:8])
    code = common[18:22] or b"NONE"
    encoding = _ENCODINGS.get((code, bits))
    if encoding is None:
        name = f"{bits}-bit PCM ('{code.decode()}')" if code in _PCM_CODES else encoding_name(code)
        raise refused(f"is an AIFF file of {name}; accepted are PCM of 16, 24 or 32 bits and 32-bit float")
    block_bytes = channels * bits // 8
    stored_frames = announced_bytes // block_bytes if block_bytes else 0
    if announced_bytes >= _UNKNOWN_LENGTH_BYTES and announced_bytes > present_bytes and block_bytes:
        announced_bytes = present_bytes
        frames = stored_frames = max(0, present_bytes) // block_bytes
    facts = checked_facts(Container.AIFF, encoding, _rate_hz(common[8:18]), channels, frames=frames)
    if frames != stored_frames:
        raise damaged(f"announces {frames} samples in one place and {max(0, stored_frames)} in another")
    if announced_bytes > present_bytes:
        present_milliseconds = max(0, present_bytes) // block_bytes * 1000 // facts.sample_rate_hz
        raise damaged(
            f"is cut short: its header announces {facts.audio_milliseconds} ms, {present_milliseconds} ms are there"
        )
    refuse_core_audio(layout, channels)
    return facts


def _rate_hz(extended: bytes) -> int:
    """The rate in hertz, rounded, from an 80-bit float; 0 when it is out of range."""
    exponent = int.from_bytes(extended[:2], "big")
    mantissa = int.from_bytes(extended[2:], "big")
    shift = _EXPONENT_BIAS - exponent
    if not 0 <= shift <= 64:  # negative, infinite, or 2**64 or more
        return 0
    return (mantissa + (1 << shift >> 1)) >> shift
