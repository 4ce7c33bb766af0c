"""RIFF/WAVE headers."""

from __future__ import annotations

import dataclasses
import re
import struct
from dataclasses import dataclass

from voxfleet_agent.audio.byte_account import ByteAccount, audible_bytes
from voxfleet_agent.audio.header_facts import (
    ClipReader,
    HeaderFacts,
    checked_facts,
    cut_short,
    damaged,
    refuse_later_audio,
    refused,
)
from voxfleet_agent.audio.iff_chunks import MAX_CHUNKS, IffChunks
from voxfleet_agent.audio.tags import trailing_tags
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
_RIFF_BYTES = 12
_IFF_CHUNKS = IffChunks("little", re.compile(rb"[A-Za-z0-9_ .%-]{4}"), (b"data",))
_KNOWN_CHUNKS = {
    b"LIST",
    b"list",
    b"id3 ",
    b"ID3 ",
    b"bext",
    b"iXML",
    b"axml",
    b"cue ",
    b"fact",
    b"PEAK",
    b"JUNK",
    b"junk",
    b"PAD ",
    b"smpl",
    b"inst",
    b"plst",
    b"cart",
    b"chna",
    b"umid",
    b"_PMX",
    b"FLLR",
    b"DISP",
    b"afsp",
    b"acid",
    b"minf",
    b"elm1",
    b"regn",
    b"ovwf",
    b"ds64",
}
"""Chunks that hold no audio."""
_FORMAT_BYTES = 40
_UNKNOWN_LENGTH_BYTES = 0x7FFF0000
"""From this value on the length is a placeholder: a program that writes to a pipe cannot go back to fill it in and
leaves 0x7FFFF000, 0xFFFFFFFF or the like."""


@dataclass(slots=True)
class _Chunks:
    """What the chunk list says of the audio."""

    format_chunk: bytes | None = None
    audio_offset: int = -1
    announced_bytes: int = 0
    """Of audio; 0: never filled in."""
    empty_at: int | None = None
    """Where a data chunk of no bytes is that other chunks or nothing follow."""
    later_audio_bytes: int = 0
    """In data chunks behind the first that holds audio."""
    hidden_from_decoders: bool = False
    """Decoders would not find the audio, or would find none."""


def inspect_wav(clip: ClipReader) -> HeaderFacts:
    """Raises VoxFleetError(DECODE_ERROR | CONTRACT_VIOLATION)."""
    account = ByteAccount(clip)
    account.claim(0, _RIFF_BYTES)
    chunks = _chunks(clip, account)
    if chunks.format_chunk is None:
        raise damaged("has its audio before its format chunk")
    return _facts(clip, account, chunks.format_chunk, chunks)


def _chunks(clip: ClipReader, account: ByteAccount) -> _Chunks:
    chunks = _Chunks()
    offset = _RIFF_BYTES
    for _ in range(MAX_CHUNKS):
        if chunks.audio_offset < 0 and chunks.format_chunk is None:
            head = clip.read_exactly(offset, 8, "chunk list, before any audio")
        else:
            head = clip.peek(offset, 8)
        if len(head) < 8:
            break
        name, length_bytes = struct.unpack("<4sI", head)
        body = offset + 8
        if name == b"data" and chunks.audio_offset < 0:
            if chunks.format_chunk is None:
                raise damaged("has its audio before its format chunk")
            if length_bytes == 0 and _IFF_CHUNKS.reach_the_end(clip, body):
                chunks.hidden_from_decoders = True
                chunks.empty_at = body
            else:
                chunks.audio_offset = body
                chunks.announced_bytes = length_bytes
                if length_bytes == 0 or body + length_bytes >= clip.size_bytes:
                    account.claim(offset, clip.size_bytes - offset)
                    break
        elif name == b"data":
            chunks.later_audio_bytes += min(length_bytes, clip.size_bytes - body)
        elif name == b"LIST" and clip.peek(body, 4) == b"wavl":
            raise refused(
                f"keeps its audio in a list of waves (LIST wavl) of {length_bytes} bytes; accepted is one data chunk"
            )
        elif name == b"fmt ":
            _read_format(clip, chunks, body, length_bytes)
        elif not _IFF_CHUNKS.begins_at(clip, offset):
            if chunks.audio_offset >= 0 and name in _KNOWN_CHUNKS:
                account.skip(offset, clip.size_bytes - offset, f"a cut-off {name.decode().strip()} chunk")
            break
        elif name not in _KNOWN_CHUNKS:
            account.skip(offset, 8 + length_bytes, f"a {name.decode().strip()} chunk, which is not known")
        offset = _next_chunk(clip, account, chunks, offset, length_bytes)
    if chunks.audio_offset < 0 and chunks.empty_at is None:
        raise damaged(
            f"ends behind {clip.size_bytes} bytes without any audio"
            if offset >= clip.size_bytes - 7
            else f"has no audio within its first {MAX_CHUNKS} chunks"
            if _IFF_CHUNKS.begins_at(clip, offset)
            else f"has no audio ahead of byte {clip.in_file(offset)}, where its chunk list breaks off"
        )
    return chunks


def _read_format(clip: ClipReader, chunks: _Chunks, body: int, length_bytes: int) -> None:
    if length_bytes < 16:
        raise damaged(f"has a format chunk of {length_bytes} bytes; it needs 16")
    earlier = chunks.format_chunk
    chunks.format_chunk = clip.read_exactly(body, min(length_bytes, _FORMAT_BYTES), "format chunk")
    if earlier not in (None, chunks.format_chunk):
        raise damaged("has two format chunks that contradict each other")


def _next_chunk(clip: ClipReader, account: ByteAccount, chunks: _Chunks, offset: int, length_bytes: int) -> int:
    """Claims the chunk at `offset` and returns where the next one begins: some writers forget the byte of padding."""
    end = offset + 8 + length_bytes
    account.claim(offset, 8 + length_bytes)
    if length_bytes % 2 == 0 or end >= clip.size_bytes:
        return end
    if clip.peek(end, 1) != b"\0" and _IFF_CHUNKS.begins_at(clip, end) and not _IFF_CHUNKS.begins_at(clip, end + 1):
        chunks.hidden_from_decoders |= chunks.audio_offset < 0
        return end
    account.claim(end, 1)
    return end + 1


def _facts(clip: ClipReader, account: ByteAccount, format_chunk: bytes, chunks: _Chunks) -> HeaderFacts:
    _, channels, rate_hz, _, block_bytes, bits = struct.unpack("<HHIIHH", format_chunk[:16])
    encoding = _encoding(format_chunk, bits)
    present_bytes = clip.size_bytes - chunks.audio_offset if chunks.audio_offset >= 0 else 0
    announced_bytes = chunks.announced_bytes
    unfinished = announced_bytes == 0 and chunks.audio_offset >= 0
    open_ended = unfinished or (announced_bytes >= _UNKNOWN_LENGTH_BYTES and announced_bytes > present_bytes)
    if open_ended:
        tags = trailing_tags(clip, chunks.audio_offset)
        announced_bytes = present_bytes = (tags[0].start if tags else clip.size_bytes) - chunks.audio_offset
    frame_bytes = channels * bits // 8
    stored_bytes = min(announced_bytes, present_bytes)
    frames = stored_bytes // frame_bytes if frame_bytes else 0
    announced_frames = announced_bytes // frame_bytes if frame_bytes else 0
    if announced_frames == 0 and frame_bytes:
        account.refuse_unread_audio()
    # The announced length is checked too: a header that lies about hours is refused for them.
    checked_facts(
        Container.WAV, encoding, rate_hz, channels, frames=announced_frames, no_audio=_no_audio(chunks, stored_bytes)
    )
    truncation = (
        cut_short("bytes of audio", announced_bytes, present_bytes) if announced_bytes > present_bytes else None
    )
    no_audio = truncation or _no_audio(chunks, stored_bytes)
    facts = checked_facts(Container.WAV, encoding, rate_hz, channels, frames=frames, no_audio=no_audio)
    if block_bytes != frame_bytes:
        raise damaged(f"says {block_bytes} bytes a frame, but {channels} channels of {bits} bits make {frame_bytes}")
    refuse_later_audio("data", chunks.later_audio_bytes)
    audio_bytes = frames * frame_bytes
    account.skip(chunks.audio_offset + audio_bytes, stored_bytes - audio_bytes, "a part of a sample")
    facts = dataclasses.replace(
        facts,
        skipped=account.settled(audible_bytes(audio_bytes, facts.audio_milliseconds)),
        truncation=truncation,
        open_ended=open_ended,
    )
    tagged = open_ended and chunks.audio_offset + stored_bytes < clip.size_bytes
    if not (unfinished or tagged or truncation or chunks.hidden_from_decoders):
        return facts
    return dataclasses.replace(
        facts,
        own_header=_plain_header(format_chunk, audio_bytes),
        audio_start_bytes=chunks.audio_offset,
        audio_end_bytes=chunks.audio_offset + audio_bytes,
    )


def _no_audio(chunks: _Chunks, stored_bytes: int) -> str:
    if chunks.audio_offset < 0 or stored_bytes == 0:
        return "holds no audio: its data chunk has 0 bytes"
    return f"holds no audio: its data chunk has {stored_bytes} bytes, less than one sample of each channel"


def _encoding(format_chunk: bytes, bits: int) -> Encoding:
    (tag,) = struct.unpack("<H", format_chunk[:2])
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
    return encoding


def _plain_header(format_chunk: bytes, audio_bytes: int) -> bytes:
    chunks = b"fmt " + struct.pack("<I", len(format_chunk)) + format_chunk + b"data" + struct.pack("<I", audio_bytes)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks) + audio_bytes) + b"WAVE" + chunks
