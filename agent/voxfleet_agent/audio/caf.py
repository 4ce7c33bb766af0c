"""Core Audio Format headers."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from voxfleet_agent.audio.channel_layouts import refuse_core_audio, refuse_count
from voxfleet_agent.audio.header_facts import ClipReader, HeaderFacts, checked_facts, damaged, refused, unsupported
from voxfleet_agent.audio.refused_formats import encoding_name
from voxfleet_api.kinds.contract_input import Container, Encoding

_MAX_CHUNKS = 256
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
    packet_table_bytes: int = 0
    has_audio: bool = False
    announced_bytes: int = 0
    present_bytes: int = 0


def inspect_caf(clip: ClipReader) -> HeaderFacts:
    """Raises VoxFleetError(UNSUPPORTED_CONTAINER | DECODE_ERROR | CONTRACT_VIOLATION)."""
    if clip.read_exactly(4, 2, "header") != b"\x00\x01":
        raise unsupported("a Core Audio file of an unknown version")
    name, length_bytes = struct.unpack(">4sq", clip.read_exactly(8, 12, "chunk list"))
    if name != b"desc" or length_bytes != _DESCRIPTION.size:
        raise damaged("is a CAF file that does not begin with its description")
    description = clip.read_exactly(20, _DESCRIPTION.size, "description")
    chunks = _chunks(clip, 20 + _DESCRIPTION.size)
    if not chunks.has_audio:
        raise damaged("is a CAF file without its audio")
    return _facts(description, chunks)


def _chunks(clip: ClipReader, offset: int) -> _Chunks:
    chunks = _Chunks()
    for _ in range(_MAX_CHUNKS):
        if offset + 12 > clip.size_bytes:
            break
        name, length_bytes = struct.unpack(">4sq", clip.read_exactly(offset, 12, "chunk list"))
        offset += 12
        remaining_bytes = clip.size_bytes - offset
        if name == b"data" and not chunks.has_audio:
            # An edit count precedes the audio. A length of -1 means up to the end of the file.
            chunks.has_audio = True
            chunks.present_bytes = max(0, remaining_bytes - 4)
            chunks.announced_bytes = chunks.present_bytes if length_bytes == -1 else length_bytes - 4
            if length_bytes == -1:
                break
        if length_bytes < 0:
            raise damaged("has a chunk of negative length")
        if name == b"chan":
            chunks.layout = clip.peek(offset, min(length_bytes, _LAYOUT_BYTES))
        elif name == b"pakt":
            chunks.packets = clip.read_exactly(offset, _PACKETS.size, "packet table")
            chunks.packet_table_bytes = min(length_bytes, remaining_bytes) - _PACKETS.size
        offset += length_bytes
    return chunks


def _facts(description: bytes, chunks: _Chunks) -> HeaderFacts:
    rate, code, flags, packet_bytes, packet_frames, channels, bits = _DESCRIPTION.unpack(description)
    rate_hz = round(rate) if math.isfinite(rate) and 0 <= rate < 2**31 else 0
    priming_frames = 0
    if code == b"lpcm":
        encoding = _pcm(flags, bits)
        if packet_bytes != channels * bits // 8 or packet_frames != 1:
            raise refused(f"stores a sample of {channels} channels of {bits} bits in {packet_bytes} bytes")
        frames = chunks.announced_bytes // packet_bytes if packet_bytes else 0
    elif code == b"aac ":
        encoding = Encoding.AAC
        if packet_frames != _AAC_PACKET_FRAMES:
            raise refused(f"has AAC packets of {packet_frames} samples; accepted are {_AAC_PACKET_FRAMES}")
        frames, priming_frames = _aac_frames(chunks)
        refuse_count(channels, _AAC_MIXED_CHANNELS, "AAC")
    else:
        raise refused(
            f"is a CAF file of {encoding_name(code)}; accepted are AAC, PCM of 16, 24 or 32 bits and 32-bit float"
        )
    facts = checked_facts(
        Container.CAF, encoding, rate_hz, channels, frames=max(0, frames), priming_frames=priming_frames
    )
    if chunks.announced_bytes > chunks.present_bytes:
        raise damaged(
            f"is cut short: its header announces {chunks.announced_bytes} bytes, {chunks.present_bytes} are there"
        )
    refuse_core_audio(chunks.layout, channels)
    return facts


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
        raise damaged("is a CAF file of AAC without its packet table")
    packets, valid_frames, priming_frames, remainder_frames = _PACKETS.unpack(chunks.packets)
    if not 0 <= packets <= chunks.packet_table_bytes:  # each packet takes at least one byte of the table
        raise damaged(f"announces {packets} packets in a table of {chunks.packet_table_bytes} bytes")
    if valid_frames + max(0, priming_frames) + max(0, remainder_frames) > packets * _AAC_PACKET_FRAMES:
        raise damaged(f"announces more samples than its {packets} packets hold")
    return valid_frames, max(0, priming_frames)
