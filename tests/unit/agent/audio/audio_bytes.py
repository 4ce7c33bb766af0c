"""Audio files built by hand, including ones that no program would write."""

from __future__ import annotations

import struct

PCM, FLOAT = 1, 3
CAF_FLOAT, CAF_LITTLE = 1, 2


def wav(
    tag: int = PCM,
    bits: int = 16,
    rate_hz: int = 16_000,
    channels: int = 1,
    frames: int = 1600,
    *,
    audio: bytes | None = None,
    announced_bytes: int | None = None,
    block_bytes: int | None = None,
    extra: bytes = b"",
) -> bytes:
    block = channels * bits // 8 if block_bytes is None else block_bytes
    audio = bytes(channels * bits // 8 * frames) if audio is None else audio
    head = struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * block % 2**32, block % 2**16, bits)
    length = len(audio) if announced_bytes is None else announced_bytes
    chunks = b"fmt " + struct.pack("<I", len(head)) + head + extra + b"data" + struct.pack("<I", length) + audio
    return b"RIFF" + struct.pack("<I", (4 + len(chunks)) % 2**32) + b"WAVE" + chunks


def extensible_wav(
    sub_tag: int, bits: int, guid: str = "000000001000800000aa00389b71", audio: bytes | None = None
) -> bytes:
    head = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 16_000, 16_000 * bits // 8, bits // 8, bits, 22, bits, 4)
    head += struct.pack("<H", sub_tag) + bytes.fromhex(guid)
    audio = bytes(bits // 8 * 1600) if audio is None else audio
    chunks = b"fmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", len(audio)) + audio
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def extended(rate_hz: float) -> bytes:
    """A rate as AIFF's 80-bit float."""
    if rate_hz == 0:
        return bytes(10)
    exponent = int(rate_hz).bit_length() - 1
    return struct.pack(">HQ", 16_383 + exponent, int(rate_hz * 2 ** (63 - exponent)))


def aiff(
    code: bytes | None = None,
    bits: int = 16,
    rate_hz: float = 16_000,
    channels: int = 1,
    frames: int = 1600,
    *,
    audio: bytes | None = None,
    announced_bytes: int | None = None,
    extra: bytes = b"",
    sound_first: bool = False,
    skipped: bytes = b"",
) -> bytes:
    """AIFF, or AIFF-C with a code for its compression."""
    audio = bytes(channels * bits // 8 * frames) if audio is None else audio
    common = struct.pack(">HIH", channels, frames, bits) + extended(rate_hz)
    if code is not None:
        common += code + b"\x00\x00"
    sound = struct.pack(">II", len(skipped), 0) + skipped + audio
    length = len(sound) if announced_bytes is None else announced_bytes + 8
    chunks = [
        b"COMM" + struct.pack(">I", len(common)) + common,
        b"SSND" + struct.pack(">I", length) + sound + bytes(len(sound) % 2),
    ]
    if code is not None:
        chunks.insert(0, b"FVER" + struct.pack(">II", 4, 0xA2805140))
    body = extra + b"".join(reversed(chunks) if sound_first else chunks)
    return b"FORM" + struct.pack(">I", 4 + len(body)) + (b"AIFF" if code is None else b"AIFC") + body


def caf_chunk(name: bytes, body: bytes, length: int | None = None) -> bytes:
    return name + struct.pack(">q", len(body) if length is None else length) + body


def caf(
    flags: int = CAF_LITTLE,
    bits: int = 16,
    rate_hz: float = 16_000.0,
    channels: int = 1,
    frames: int = 1600,
    *,
    code: bytes = b"lpcm",
    audio: bytes | None = None,
    announced_bytes: int | None = None,
    packet_bytes: int | None = None,
    packet_frames: int = 1,
    extra: bytes = b"",
    after: bytes = b"",
) -> bytes:
    audio = bytes(channels * bits // 8 * frames) if audio is None else audio
    packet = channels * bits // 8 if packet_bytes is None else packet_bytes
    description = struct.pack(">d4sIIIII", rate_hz, code, flags, packet, packet_frames, channels, bits)
    length = None if announced_bytes is None else announced_bytes
    data = caf_chunk(b"data", bytes(4) + audio, length)
    return b"caff\x00\x01\x00\x00" + caf_chunk(b"desc", description) + extra + data + after


def core_audio_layout(tag: int, channels: int = 0, mask: int = 0) -> bytes:
    """The body of a chan chunk."""
    return struct.pack(">III", tag << 16 | channels, mask, 0)


def flac(rate_hz: int = 16_000, channels: int = 1, frames: int = 16_000, comment: bytes | None = None) -> bytes:
    """A FLAC header without audio."""
    packed = rate_hz << 44 | (channels - 1) << 41 | 15 << 36 | frames
    last = b"\x80" if comment is None else b"\x00"
    head = b"fLaC" + last + b"\x00\x00\x22" + bytes(10) + packed.to_bytes(8, "big") + bytes(16)
    if comment is None:
        return head
    body = struct.pack("<I", 4) + b"test" + struct.pack("<II", 1, len(comment)) + comment
    return head + b"\x84" + len(body).to_bytes(3, "big") + body


def box(name: bytes, *bodies: bytes) -> bytes:
    body = b"".join(bodies)
    return struct.pack(">I4s", 8 + len(body), name) + body


def caf_of_aac(m4a: bytes, rate_hz: float, channels: int, priming: int = 1024) -> bytes:
    """A CAF file with the packets of an m4a whose track has one chunk."""
    sizes_at = m4a.index(b"stsz") + 8
    fixed, count = struct.unpack_from(">II", m4a, sizes_at)
    sizes = (fixed,) * count if fixed else struct.unpack_from(f">{count}I", m4a, sizes_at + 8)
    start = m4a.index(b"mdat") + 4
    audio = m4a[start : start + sum(sizes)]
    table = b"".join(_variable_length(size) for size in sizes)
    descriptor = m4a.index(b"esds")
    (length,) = struct.unpack_from(">I", m4a, descriptor - 4)
    cookie = m4a[descriptor + 8 : descriptor - 4 + length]
    packets = struct.pack(">qqii", count, count * 1024 - priming, priming, 0) + table
    return caf(
        0,
        0,
        rate_hz,
        channels,
        code=b"aac ",
        packet_bytes=0,
        packet_frames=1024,
        audio=audio,
        extra=caf_chunk(b"kuki", cookie) + caf_chunk(b"pakt", packets),
    )


def _variable_length(number: int) -> bytes:
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(number & 0x7F | 0x80)
    return bytes(reversed(groups))
