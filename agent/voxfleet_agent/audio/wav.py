"""RIFF/WAVE headers."""

from __future__ import annotations

import struct

from voxfleet_agent.audio.header_facts import ClipReader, HeaderFacts, checked_facts, damaged, refused
from voxfleet_api.kinds.contract_input import Container, Encoding

_PCM = 0x0001
_FLOAT = 0x0003
_EXTENSIBLE = 0xFFFE
_ENCODINGS = {
    (_PCM, 16): Encoding.PCM16,
    (_PCM, 24): Encoding.PCM24,
    (_PCM, 32): Encoding.PCM32,
    (_FLOAT, 32): Encoding.FLOAT32,
}
_NAMES = {
    _PCM: "PCM",
    0x0002: "ADPCM",
    _FLOAT: "float",
    0x0006: "A-law",
    0x0007: "mu-law",
    0x0011: "IMA ADPCM",
    0x0031: "GSM",
    0x0040: "G.721 ADPCM",
    0x0045: "G.726 ADPCM",
    0x0050: "MPEG layer I or II",
    0x0055: "MP3",
    0x0064: "G.726 ADPCM",
    0x0092: "AC-3",
    0x00FF: "AAC",
    0x0160: "Windows Media Audio 1",
    0x0161: "Windows Media Audio",
    0x0162: "Windows Media Audio Professional",
    0x0163: "Windows Media Audio Lossless",
    0x1600: "AAC (ADTS)",
    0x1602: "AAC (LATM)",
    0x2000: "AC-3",
    0x2001: "DTS",
    0x674F: "Ogg Vorbis",
    0x704F: "Opus",
    0xF1AC: "FLAC",
}
_SUB_FORMAT = bytes.fromhex("000000001000800000aa00389b71")
"""The rest of a sub-format GUID that begins with a format tag."""
_MAX_CHUNKS = 256
_FORMAT_BYTES = 40
_UNKNOWN_LENGTH_BYTES = 0x7FFF0000
"""From this value on the length is a placeholder: a program that writes to a pipe cannot go back to fill it in and
leaves 0x7FFFF000, 0xFFFFFFFF or the like."""


def inspect_wav(clip: ClipReader) -> HeaderFacts:
    """Raises VoxFleetError(DECODE_ERROR | CONTRACT_VIOLATION)."""
    format_chunk: bytes | None = None
    offset = 12
    for _ in range(_MAX_CHUNKS):
        name, length_bytes = struct.unpack("<4sI", clip.read_exactly(offset, 8, "chunk list, before any audio"))
        offset += 8
        if name == b"fmt ":
            if length_bytes < 16:
                raise damaged(f"has a format chunk of {length_bytes} bytes; it needs 16")
            earlier, format_chunk = (
                format_chunk,
                clip.read_exactly(offset, min(length_bytes, _FORMAT_BYTES), "format chunk"),
            )
            if earlier not in (None, format_chunk):
                raise damaged("has two format chunks that contradict each other")
        elif name == b"data":
            if format_chunk is None:
                raise damaged("has its audio before its format chunk")
            _refuse_more_audio(clip, offset + length_bytes + length_bytes % 2)
            return _facts(format_chunk, length_bytes, clip.size_bytes - offset)
        offset += length_bytes + length_bytes % 2
    raise damaged(f"has no audio within its first {_MAX_CHUNKS} chunks")


def _refuse_more_audio(clip: ClipReader, offset: int) -> None:
    """Decoders stop after the first audio chunk and would silently lose the audio of a second one."""
    for _ in range(_MAX_CHUNKS):
        header = clip.peek(offset, 8)
        if len(header) < 8:
            return
        name, length_bytes = struct.unpack("<4sI", header)
        if name == b"data" and length_bytes:
            raise damaged("holds its audio in more than one chunk")
        offset += 8 + length_bytes + length_bytes % 2


def _facts(format_chunk: bytes, announced_bytes: int, present_bytes: int) -> HeaderFacts:
    tag, channels, rate_hz, _, block_bytes, bits = struct.unpack("<HHIIHH", format_chunk[:16])
    if tag == _EXTENSIBLE:
        if len(format_chunk) < _FORMAT_BYTES:
            raise damaged(f"has an extensible format chunk of {len(format_chunk)} bytes; it needs {_FORMAT_BYTES}")
        if format_chunk[26:40] != _SUB_FORMAT:
            raise refused("is a wav file of an unknown sub-format; accepted are PCM and 32-bit float")
        (tag,) = struct.unpack("<H", format_chunk[24:26])
    encoding = _ENCODINGS.get((tag, bits))
    if encoding is None:
        name = f"{bits}-bit {_NAMES[tag]}" if tag in (_PCM, _FLOAT) else _NAMES.get(tag, f"format 0x{tag:04x}")
        raise refused(f"is a wav file of {name}; accepted are PCM of 16, 24 or 32 bits and 32-bit float")
    if announced_bytes >= _UNKNOWN_LENGTH_BYTES and announced_bytes > present_bytes:
        announced_bytes = present_bytes
    frame_bytes = channels * bits // 8
    frames = announced_bytes // frame_bytes if frame_bytes else 0
    facts = checked_facts(Container.WAV, encoding, rate_hz, channels, frames=frames)
    if block_bytes != frame_bytes:
        raise damaged(f"says {block_bytes} bytes a frame, but {channels} channels of {bits} bits make {frame_bytes}")
    if announced_bytes > present_bytes:
        present_milliseconds = present_bytes // frame_bytes * 1000 // rate_hz
        raise damaged(
            f"is cut short: its header announces {facts.audio_milliseconds} ms, {present_milliseconds} ms are there"
        )
    return facts
