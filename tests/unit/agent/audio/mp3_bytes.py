"""MP3 files of known frames, and the tags around them."""

from __future__ import annotations

import struct

RATE_HZ = 16_000
FRAME_BYTES = 288
FRAME_SAMPLES = 576
_MONO = b"\xff\xf3\x88\xc4"  # MPEG 2 layer III, 64 kbit/s, 16 kHz, one channel
_STEREO = b"\xff\xf3\x88\x04"
_AT_24_KHZ = b"\xff\xf3\x84\xc4"
FRAME_AT_24_KHZ = _AT_24_KHZ + b"\0" + b"\xaa" * 187
FRAME_OF_STEREO = _STEREO + b"\0" + b"\xaa" * (FRAME_BYTES - 5)
ID3V1 = b"TAG" + bytes(125)


def frames(count: int, *, begin: int = 0) -> bytes:
    """`count` frames; the first one's audio begins `begin` bytes before it."""
    first = _MONO + bytes([begin]) + b"\xaa" * (FRAME_BYTES - 5)
    return first + (_MONO + b"\0" + b"\xaa" * (FRAME_BYTES - 5)) * (count - 1)


def xing(count: int | None, stream_bytes: int | None = None) -> bytes:
    """A frame that states the length of what follows."""
    flags = (count is not None) | (stream_bytes is not None) << 1
    values = b"".join(struct.pack(">I", value) for value in (count, stream_bytes) if value is not None)
    return (_MONO + bytes(9) + b"Xing" + struct.pack(">I", flags) + values).ljust(FRAME_BYTES, b"\0")


def id3v2(
    body: bytes, *, version: int = 4, length: int | None = None, plain: bool = False, footer: bool = False
) -> bytes:
    """An ID3v2 tag; `length`: a false one; `plain`: as a plain number of 32 bits."""
    stated = len(body) if length is None else length
    size = struct.pack(">I", stated) if plain else bytes(stated >> shift & 0x7F for shift in (21, 14, 7, 0))
    rest = bytes([version, 0, 0x10 if footer else 0]) + size
    return b"ID3" + rest + body + (b"3DI" + rest if footer else b"")


def ape(value: bytes = b"", *, header: bool = False, length: int | None = None) -> bytes:
    """An APE tag of one item; `length`: a false one."""
    items = struct.pack("<II", len(value), 0) + b"Title\0" + value

    def mark(flags: int) -> bytes:
        return b"APETAGEX" + struct.pack("<IIII8x", 2000, 32 + len(items) if length is None else length, 1, flags)

    return (mark(0xA0000000) if header else b"") + items + mark(0x80000000 if header else 0)


def lyrics3(text: bytes) -> bytes:
    body = b"LYRICSBEGIN" + text
    return body + b"%06d" % len(body) + b"LYRICS200"
