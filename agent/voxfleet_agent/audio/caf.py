"""Core Audio Format headers."""

from __future__ import annotations

import dataclasses
import math
import re
import struct
from dataclasses import dataclass

from voxfleet_agent.audio.byte_account import ByteAccount, audible_bytes
from voxfleet_agent.audio.channel_layouts import refuse_core_audio, refuse_count
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
from voxfleet_agent.audio.joined_files import another_file
from voxfleet_agent.audio.refused_formats import encoding_name
from voxfleet_api.kinds.contract_input import Container, Encoding

_MAX_CHUNKS = 256
_EDIT_COUNT_BYTES = 4
_CHUNK_NAME = re.compile(rb"[A-Za-z0-9_ .-]{4}")
_KNOWN_CHUNKS = {
    b"chan",
    b"pakt",
    b"kuki",
    b"strg",
    b"mark",
    b"regn",
    b"inst",
    b"midi",
    b"ovvw",
    b"peak",
    b"edct",
    b"info",
    b"umid",
    b"free",
    b"uuid",
}
"""Chunks that hold no audio."""
_DESCRIPTION = struct.Struct(">d4sIIIII")
_PACKETS = struct.Struct(">qqii")
_LAYOUT_BYTES = 52
_FLOAT = 0x1
_PCM_BITS = {16: Encoding.PCM16, 24: Encoding.PCM24, 32: Encoding.PCM32}
_AAC_PACKET_FRAMES = 1024
_AAC_MIXED_CHANNELS = (3,)


@dataclass(slots=True)
class _Chunks:
    layout: bytes = b""
    packets: bytes = b""
    packet_table_offset: int = 0
    packet_table_bytes: int = 0
    audio_offset: int = -1
    """Behind the edit count."""
    announced_bytes: int = 0
    """Of audio."""
    present_bytes: int = 0
    """From `audio_offset` to the end of the file."""
    unfinished: bool = False
    """The length of the audio was never filled in, which decoders do not expect."""
    open_ended: bool = False
    """The audio lasts to the end of the file."""
    later_audio_bytes: int = 0
    """In data chunks behind the first."""


def inspect_caf(clip: ClipReader) -> HeaderFacts:
    """Raises VoxFleetError(UNSUPPORTED_CONTAINER | DECODE_ERROR | CONTRACT_VIOLATION)."""
    if clip.read_exactly(4, 2, "header") != b"\x00\x01":
        raise unsupported("a Core Audio file of an unknown version")
    name, length_bytes = struct.unpack(">4sq", clip.read_exactly(8, 12, "chunk list"))
    if name != b"desc" or length_bytes != _DESCRIPTION.size:
        raise damaged("is a CAF file that does not begin with its description")
    description = clip.read_exactly(20, _DESCRIPTION.size, "description")
    account = ByteAccount(clip)
    account.claim(0, 20 + _DESCRIPTION.size)
    chunks = _chunks(clip, account, 20 + _DESCRIPTION.size)
    if chunks.audio_offset < 0:
        raise damaged("is a CAF file without its audio: it has no data chunk")
    return _facts(clip, account, description, chunks)


def _chunks(clip: ClipReader, account: ByteAccount, offset: int) -> _Chunks:
    chunks = _Chunks()
    for _ in range(_MAX_CHUNKS):
        head = clip.peek(offset, 12)
        if len(head) < 12 or another_file(head) is not None:
            break
        name, length_bytes = struct.unpack(">4sq", head)
        body = offset + 12
        remaining_bytes = clip.size_bytes - body
        if name == b"data" and chunks.audio_offset < 0:
            chunks.audio_offset = body + _EDIT_COUNT_BYTES
            chunks.present_bytes = max(0, remaining_bytes - _EDIT_COUNT_BYTES)
            # -1 means up to the end of the file, and a recorder that died leaves 0.
            chunks.open_ended = to_the_end = length_bytes == -1 or (
                0 <= length_bytes <= _EDIT_COUNT_BYTES and not _chunks_to_the_end(clip, body + length_bytes)
            )
            chunks.unfinished = to_the_end and length_bytes >= 0
            chunks.announced_bytes = chunks.present_bytes if to_the_end else length_bytes - _EDIT_COUNT_BYTES
            if to_the_end or length_bytes >= remaining_bytes:
                account.claim(offset, clip.size_bytes - offset)
                break
        elif name == b"data":
            chunks.later_audio_bytes += max(0, min(length_bytes, remaining_bytes) - _EDIT_COUNT_BYTES)
        elif name in _KNOWN_CHUNKS and length_bytes > remaining_bytes and chunks.audio_offset >= 0:
            account.skip(offset, clip.size_bytes - offset, f"a cut-off {name.decode()} chunk")
            break
        elif not _is_chunk(clip, offset) and chunks.audio_offset >= 0:
            break
        elif name not in _KNOWN_CHUNKS and length_bytes >= 0:
            shown = name.decode("ascii", "replace").strip()
            account.skip(offset, 12 + length_bytes, f"a {shown} chunk, which is not known")
        if length_bytes < 0:
            raise damaged(f"has a chunk of negative length ({length_bytes} bytes) at byte {clip.in_file(offset)}")
        if name == b"chan":
            chunks.layout = clip.peek(body, min(length_bytes, _LAYOUT_BYTES))
        elif name == b"pakt":
            chunks.packets = clip.read_exactly(body, _PACKETS.size, "packet table")
            chunks.packet_table_offset = body + _PACKETS.size
            chunks.packet_table_bytes = min(length_bytes, remaining_bytes) - _PACKETS.size
        account.claim(offset, 12 + length_bytes)
        offset = body + length_bytes
    return chunks


def _is_chunk(clip: ClipReader, offset: int) -> bool:
    """Whether a chunk begins at `offset` that ends within the file, or audio."""
    head = clip.peek(offset, 12)
    if len(head) < 12 or another_file(head) is not None or not _CHUNK_NAME.fullmatch(head[:4]):
        return False
    length_bytes = int.from_bytes(head[4:12], "big", signed=True)
    return head[:4] == b"data" or 0 <= length_bytes <= clip.size_bytes - offset - 12


def _chunks_to_the_end(clip: ClipReader, offset: int) -> bool:
    """Whether nothing but whole chunks follows: a data chunk ahead of them is really empty."""
    for _ in range(_MAX_CHUNKS):
        if offset >= clip.size_bytes:
            return True
        if not _is_chunk(clip, offset):
            return False
        offset += 12 + int.from_bytes(clip.peek(offset + 4, 8), "big")
    return True


def _facts(clip: ClipReader, account: ByteAccount, description: bytes, chunks: _Chunks) -> HeaderFacts:
    rate, code, flags, packet_bytes, packet_frames, channels, bits = _DESCRIPTION.unpack(description)
    rate_hz = round(rate) if math.isfinite(rate) and 0 <= rate < 2**31 else 0
    priming_frames = 0
    stored_bytes = min(max(0, chunks.announced_bytes), chunks.present_bytes)
    audio_bytes = stored_bytes
    if code == b"lpcm":
        encoding = _pcm(flags, bits)
        if packet_bytes != channels * bits // 8 or packet_frames != 1:
            raise refused(f"stores a sample of {channels} channels of {bits} bits in {packet_bytes} bytes")
        announced_frames = chunks.announced_bytes // packet_bytes if packet_bytes else 0
        frames = stored_bytes // packet_bytes if packet_bytes else 0
        audio_bytes = frames * packet_bytes
    elif code == b"aac ":
        encoding = Encoding.AAC
        if packet_frames != _AAC_PACKET_FRAMES:
            raise refused(f"has AAC packets of {packet_frames} samples; accepted are {_AAC_PACKET_FRAMES}")
        frames, priming_frames = _aac_frames(chunks)
        announced_frames = frames
        refuse_count(channels, _AAC_MIXED_CHANNELS, "AAC")
    else:
        raise refused(
            f"is a CAF file of {encoding_name(code)}; accepted are AAC, PCM of 16, 24 or 32 bits and 32-bit float"
        )
    no_audio = f"holds no audio: its data chunk has {stored_bytes} bytes of it"
    refuse_later_audio("data", chunks.later_audio_bytes)
    if announced_frames == 0 and encoding is not Encoding.AAC:
        account.refuse_unread_audio()
    # The announced length is checked too: a header that lies about hours is refused for them.
    checked_facts(Container.CAF, encoding, rate_hz, channels, frames=max(0, announced_frames), no_audio=no_audio)
    truncation = None
    if chunks.announced_bytes > chunks.present_bytes:
        truncation = cut_short("bytes of audio", chunks.announced_bytes, chunks.present_bytes)
    facts = checked_facts(
        Container.CAF,
        encoding,
        rate_hz,
        channels,
        frames=max(0, frames),
        priming_frames=priming_frames,
        no_audio=truncation or no_audio,
    )
    if truncation is not None and encoding is Encoding.AAC:
        raise damaged(truncation)
    refuse_core_audio(chunks.layout, channels)
    account.skip(chunks.audio_offset + audio_bytes, stored_bytes - audio_bytes, "a part of a sample")
    skipped = account.settled(audible_bytes(audio_bytes, facts.audio_milliseconds))
    facts = dataclasses.replace(facts, skipped=skipped, truncation=truncation, open_ended=chunks.open_ended)
    hidden = encoding is not Encoding.AAC and (chunks.unfinished or audio_bytes < stored_bytes)
    if truncation is None and not hidden:
        return facts
    return dataclasses.replace(
        facts,
        own_header=_plain_header(description, chunks.layout, audio_bytes),
        audio_start_bytes=chunks.audio_offset,
        audio_end_bytes=chunks.audio_offset + audio_bytes,
    )


def _plain_header(description: bytes, layout: bytes, audio_bytes: int) -> bytes:
    """A header of PCM."""
    chunks = [(b"desc", description), *([(b"chan", layout)] if layout else [])]
    return (
        b"caff\0\x01\0\0"
        + b"".join(name + struct.pack(">q", len(body)) + body for name, body in chunks)
        + b"data"
        + struct.pack(">qI", _EDIT_COUNT_BYTES + audio_bytes, 0)
    )


def _pcm(flags: int, bits: int) -> Encoding:
    if flags & _FLOAT:
        if bits == 32:
            return Encoding.FLOAT32
        raise refused(f"is a CAF file of {bits}-bit float; accepted is 32-bit float")
    encoding = _PCM_BITS.get(bits)
    if encoding is None:
        raise refused(f"is a CAF file of {bits}-bit PCM; accepted are 16, 24 or 32 bits")
    return encoding


def _aac_frames(chunks: _Chunks) -> tuple[int, int]:
    """Returns (valid samples of one channel, samples of encoder delay before them)."""
    if not chunks.packets:
        if chunks.announced_bytes > chunks.present_bytes:
            short = cut_short("bytes of audio", chunks.announced_bytes, chunks.present_bytes)
            raise damaged(f"{short}, and its packet table, without which AAC cannot be decoded, is not among them")
        raise damaged("is a CAF file of AAC without its packet table")
    packets, valid_frames, priming_frames, remainder_frames = _PACKETS.unpack(chunks.packets)
    if not 0 <= packets <= chunks.packet_table_bytes:  # each packet takes at least one byte of the table
        raise damaged(f"announces {packets} packets in a table of {chunks.packet_table_bytes} bytes")
    if valid_frames + max(0, priming_frames) + max(0, remainder_frames) > packets * _AAC_PACKET_FRAMES:
        raise damaged(f"announces more samples than its {packets} packets hold")
    return valid_frames, max(0, priming_frames)
