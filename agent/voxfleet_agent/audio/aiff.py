"""AIFF and AIFF-C headers."""

from __future__ import annotations

import dataclasses
import re
import struct
from dataclasses import dataclass

from voxfleet_agent.audio.byte_account import ByteAccount, audible_bytes
from voxfleet_agent.audio.channel_layouts import refuse_core_audio
from voxfleet_agent.audio.header_facts import (
    ClipReader,
    HeaderFacts,
    checked_facts,
    cut_short,
    damaged,
    refuse_later_audio,
    refused,
    unsupported,
)
from voxfleet_agent.audio.iff_chunks import MAX_CHUNKS, IffChunks
from voxfleet_agent.audio.joined_files import another_file
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
_FORM_BYTES = 12
_IFF_CHUNKS = IffChunks("big", re.compile(rb"[A-Za-z0-9_ .()%-]{4}"), (b"SSND", b"COMM"))
_KNOWN_CHUNKS = {
    b"NAME",
    b"AUTH",
    b"(c) ",
    b"ANNO",
    b"COMT",
    b"APPL",
    b"MARK",
    b"INST",
    b"MIDI",
    b"AESD",
    b"ID3 ",
    b"FVER",
    b"CHAN",
    b"FLLR",
    b"PEAK",
}
"""Chunks that hold no audio."""
_COMMON_BYTES = 22
_PLAIN_COMMON_BYTES = 18
_MAX_COMMON_BYTES = 512
_LAYOUT_BYTES = 52
_UNKNOWN_LENGTH_BYTES = 0x7F000000
"""From this value on the length is a placeholder: a program that writes to a pipe cannot go back to fill it in."""
_EXPONENT_BIAS = 16_383 + 63


@dataclass(slots=True)
class _Chunks:
    """What the chunk list says of the audio."""

    common: bytes | None = None
    """The whole COMM chunk."""
    layout: bytes = b""
    audio_offset: int = -1
    announced_bytes: int = 0
    """Of audio; 0 or less: never filled in."""
    unfinished: bool = False
    """The length of the audio was never filled in."""
    later_audio_bytes: int = 0
    """In SSND chunks behind the first."""
    hidden_from_decoders: bool = False
    """Decoders would not find the audio."""


def inspect_aiff(clip: ClipReader) -> HeaderFacts:
    """Raises VoxFleetError(UNSUPPORTED_CONTAINER | DECODE_ERROR | CONTRACT_VIOLATION)."""
    form = clip.read_exactly(8, 4, "header")
    if form not in (b"AIFF", b"AIFC"):
        raise unsupported("an IFF file, but not AIFF")
    account = ByteAccount(clip)
    account.claim(0, _FORM_BYTES)
    chunks = _chunks(clip, account, _COMMON_BYTES if form == b"AIFC" else _PLAIN_COMMON_BYTES)
    if chunks.common is None or chunks.audio_offset < 0:
        raise damaged(f"is an AIFF file without its {'COMM' if chunks.common is None else 'SSND'} chunk")
    return _facts(clip, account, form, chunks.common, chunks)


def _chunks(clip: ClipReader, account: ByteAccount, needed_bytes: int) -> _Chunks:
    chunks = _Chunks()
    offset = _FORM_BYTES
    for _ in range(MAX_CHUNKS):
        head = clip.peek(offset, 12)
        if len(head) < 8 or another_file(head) is not None:
            break
        name, length_bytes = struct.unpack(">4sI", head[:8])
        body = offset + 8
        if name == b"COMM":
            if length_bytes < needed_bytes:
                raise damaged(f"has a COMM chunk of {length_bytes} bytes; it needs {needed_bytes}")
            earlier = chunks.common
            chunks.common = clip.read_exactly(body, min(length_bytes, _MAX_COMMON_BYTES), "COMM chunk")
            if earlier not in (None, chunks.common):
                raise damaged("has two COMM chunks that contradict each other")
        elif name == b"SSND":
            (gap_bytes,) = struct.unpack(">I4x", clip.read_exactly(body, 8, "SSND chunk"))
            if chunks.audio_offset >= 0:
                chunks.later_audio_bytes += max(0, min(length_bytes, clip.size_bytes - body) - 8 - gap_bytes)
            else:
                chunks.audio_offset = body + 8 + gap_bytes
                chunks.announced_bytes = length_bytes - 8 - gap_bytes
                chunks.unfinished = chunks.announced_bytes <= 0 and not _IFF_CHUNKS.reach_the_end(
                    clip, chunks.audio_offset
                )
                account.claim(offset, 16)
                if chunks.unfinished or body + length_bytes >= clip.size_bytes:
                    break
                length_bytes = max(length_bytes, 8 + gap_bytes)
        elif not _IFF_CHUNKS.begins_at(clip, offset):
            if chunks.audio_offset >= 0 and name in _KNOWN_CHUNKS:
                account.skip(offset, clip.size_bytes - offset, f"a cut-off {name.decode().strip()} chunk")
            break
        elif name == b"CHAN":
            chunks.layout = clip.peek(body, min(length_bytes, _LAYOUT_BYTES))
        elif name not in _KNOWN_CHUNKS:
            account.skip(offset, 8 + length_bytes, f"a {name.decode().strip()} chunk, which is not known")
        if name != b"SSND":  # whose audio is claimed as far as it is decoded
            account.claim(offset, 8 + length_bytes)
        offset = body + length_bytes
        if length_bytes % 2 and (clip.peek(offset, 1) == b"\0" or not _IFF_CHUNKS.begins_at(clip, offset)):
            account.claim(offset, 1)
            offset += 1
        elif length_bytes % 2:
            chunks.hidden_from_decoders |= chunks.audio_offset < 0
    return chunks


def _facts(clip: ClipReader, account: ByteAccount, form: bytes, common: bytes, chunks: _Chunks) -> HeaderFacts:
    channels, announced_frames, bits = struct.unpack(">HIH", common[:8])
    code = common[18:22] if form == b"AIFC" else b"NONE"
    encoding = _ENCODINGS.get((code, bits))
    if encoding is None:
        name = f"{bits}-bit PCM ('{code.decode()}')" if code in _PCM_CODES else encoding_name(code)
        raise refused(f"is an AIFF file of {name}; accepted are PCM of 16, 24 or 32 bits and 32-bit float")
    present_bytes = max(0, clip.size_bytes - chunks.audio_offset)
    announced_bytes = max(0, chunks.announced_bytes)
    frame_bytes = channels * bits // 8
    unfinished = chunks.unfinished
    open_ended = not (unfinished and announced_frames) and (
        unfinished or (announced_bytes >= _UNKNOWN_LENGTH_BYTES and announced_bytes > present_bytes)
    )
    if unfinished and announced_frames:
        announced_bytes = announced_frames * frame_bytes
    elif open_ended:
        announced_bytes = present_bytes
        announced_frames = 0
    if announced_frames == 0 and frame_bytes:
        announced_frames = announced_bytes // frame_bytes
    no_audio = f"holds no audio: its SSND chunk has {announced_bytes} bytes of it, less than one sample of each channel"
    rate_hz = _rate_hz(common[8:18])
    refuse_later_audio("SSND", chunks.later_audio_bytes)
    if announced_frames == 0:
        account.refuse_unread_audio()
    # The announced length is checked too: a header that lies about hours is refused for them.
    checked_facts(Container.AIFF, encoding, rate_hz, channels, frames=announced_frames, no_audio=no_audio)
    if announced_frames > announced_bytes // frame_bytes:
        raise damaged(
            f"announces {announced_frames} samples of each channel in its COMM chunk"
            f" and {announced_bytes // frame_bytes} in its SSND chunk"
        )
    surplus = announced_bytes >= (announced_frames + 1) * frame_bytes
    if surplus:
        announced_bytes = announced_frames * frame_bytes
    stored_bytes = min(announced_bytes, present_bytes)
    frames = stored_bytes // frame_bytes
    truncation = (
        cut_short("bytes of audio", announced_bytes, present_bytes) if announced_bytes > present_bytes else None
    )
    facts = checked_facts(Container.AIFF, encoding, rate_hz, channels, frames=frames, no_audio=truncation or no_audio)
    refuse_core_audio(chunks.layout, channels)
    audio_bytes = frames * frame_bytes
    account.claim(chunks.audio_offset, audio_bytes)
    account.skip(chunks.audio_offset + audio_bytes, stored_bytes - audio_bytes, "a part of a sample")
    facts = dataclasses.replace(
        facts,
        skipped=account.settled(audible_bytes(audio_bytes, facts.audio_milliseconds)),
        truncation=truncation,
        open_ended=open_ended,
    )
    if not (unfinished or surplus or truncation or chunks.hidden_from_decoders):
        return facts
    return dataclasses.replace(
        facts,
        own_header=_plain_header(form, common, frames, audio_bytes),
        audio_start_bytes=chunks.audio_offset,
        audio_end_bytes=chunks.audio_offset + audio_bytes,
    )


def _plain_header(form: bytes, common: bytes, frames: int, audio_bytes: int) -> bytes:
    common = common[:2] + struct.pack(">I", frames) + common[6:]
    common += bytes(len(common) % 2)
    body = b"COMM" + struct.pack(">I", len(common)) + common + b"SSND" + struct.pack(">III", 8 + audio_bytes, 0, 0)
    return b"FORM" + struct.pack(">I", 4 + len(body) + audio_bytes) + form + body


def _rate_hz(extended: bytes) -> int:
    """The rate in hertz, rounded, from an 80-bit float; 0 when it is out of range."""
    exponent = int.from_bytes(extended[:2], "big")
    mantissa = int.from_bytes(extended[2:], "big")
    shift = _EXPONENT_BIAS - exponent
    if not 0 <= shift <= 64:  # negative, infinite, or 2**64 or more
        return 0
    return (mantissa + (1 << shift >> 1)) >> shift
