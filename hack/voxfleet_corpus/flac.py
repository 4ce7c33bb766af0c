"""FLAC (RFC 9639)."""

from __future__ import annotations

from collections.abc import Iterator

from voxfleet_api.failures import FailureClass
from voxfleet_corpus.case import Case, good, poison, refused
from voxfleet_corpus.damage import cut, flip, hole, put
from voxfleet_corpus.sounds import TEXT, Sounds

_DECODE = FailureClass.DECODE_ERROR
_CONTRACT = FailureClass.CONTRACT_VIOLATION
_CONTAINER = FailureClass.UNSUPPORTED_CONTAINER
_PACKED = 18  # rate (20 bits), channels - 1 (3), bits - 1 (5), samples (36)
_PADDING, _PICTURE, _LAST = 1, 6, 0x80


def block(kind: int, body: bytes, length: int | None = None) -> bytes:
    return bytes([kind]) + (len(body) if length is None else length).to_bytes(3, "big") + body


def _state(content: bytes, **facts: int) -> bytes:
    """Changes fields of the stream description."""
    packed = int.from_bytes(content[_PACKED : _PACKED + 8], "big")
    for name, (shift, width) in {"samples": (0, 36), "channels": (41, 3), "rate_hz": (44, 20)}.items():
        if name in facts:
            mask = ((1 << width) - 1) << shift
            packed = packed & ~mask | facts[name] << shift & mask
    return put(content, _PACKED, packed.to_bytes(8, "big"))


def _samples(content: bytes) -> int:
    return int.from_bytes(content[_PACKED : _PACKED + 8], "big") & (1 << 36) - 1


def _with_blocks(content: bytes, blocks: bytes) -> bytes:
    """Inserts metadata after the stream description."""
    return put(content, 4, b"\0")[:42] + blocks + content[42:]


def _audio_start(content: bytes) -> int:
    offset = 4
    while True:
        last, length = content[offset] & _LAST, int.from_bytes(content[offset + 1 : offset + 4], "big")
        offset += 4 + length
        if last:
            return offset


def cases(sounds: Sounds) -> Iterator[Case]:
    flac = sounds.flac
    audio = _audio_start(flac)
    deep = sounds.encode("flac", "-c:a", "flac", "-sample_fmt", "s32", "-bits_per_raw_sample", "24")
    yield good("flac-plain", "plain.flac", flac, "16 bits", TEXT)
    yield good("flac-24-bit", "deep.flac", deep, "24 bits", TEXT)
    yield good("flac-named-m4a", "really-flac.m4a", flac, "the name lies", TEXT)
    yield good("flac-unstated", "stream.flac", _state(flac, samples=0), "its length is not known, as from a pipe", TEXT)
    yield good(
        "flac-cover", "cover.flac", _with_blocks(flac, block(_PICTURE, _art(500_000))), "500 kB of cover art", TEXT
    )
    paddings = block(_PADDING, b"") * 10_000
    yield good("flac-10000-blocks", "blocks.flac", _with_blocks(flac, paddings), "10,000 empty metadata blocks", TEXT)
    hours = _state(flac, samples=(1 << 36) - 1)
    yield refused(
        "flac-2-36-samples", "hours.flac", hours, _CONTRACT, "announces 1,193 hours, and makes decoders reserve them"
    )
    yield poison(
        "flac-one-more", "more.flac", _state(flac, samples=_samples(flac) + 1), _DECODE, "announces a sample too many"
    )
    yield poison("flac-fewer", "fewer.flac", _state(flac, samples=8000), _DECODE, "holds more than it announces")
    yield refused("flac-0-hz", "0hz.flac", _state(flac, rate_hz=0), _CONTRACT, "no rate")
    yield refused("flac-8-channels", "8.flac", _state(flac, channels=7), _CONTRACT, "the contract accepts one or two")
    yield poison("flac-wrong-rate", "rate.flac", _state(flac, rate_hz=48_000), _DECODE, "its frames have another rate")
    other = put(flac, 26, bytes(range(16)))
    yield poison("flac-wrong-md5", "md5.flac", other, _DECODE, "its description has the checksum of other audio")
    late = put(flac, 4, bytes([_PADDING]))
    yield refused("flac-no-description", "late.flac", late, _DECODE, "does not begin with its stream description")
    beyond = _with_blocks(flac, block(_PADDING, b"", length=0xFFFFFF))
    yield poison("flac-block-beyond", "beyond.flac", beyond, _DECODE, "a metadata block that claims 16 MiB")
    endless = flac[:4] + b"\0" + flac[5:42] + flac[audio:]
    yield poison("flac-no-last-block", "endless.flac", endless, _DECODE, "no metadata block says that it is the last")
    yield refused("flac-cut-header", "cut20.flac", flac[:20], _DECODE, "ends in its stream description")
    yield poison("flac-cut-middle", "cut.flac", cut(flac, 50), _DECODE, "half of it")
    yield poison("flac-cut-last-byte", "cut-last.flac", flac[:-1], _DECODE, "all but the last byte")
    yield poison("flac-hole", "hole.flac", hole(flac, 50, 60), _DECODE, "zeros in place of a tenth")
    yield poison("flac-flips", "flips.flac", flip(flac, 6, 20, audio + 100), _DECODE, "20 bits flipped: checksums fail")
    yield poison(
        "flac-one-flip", "flip.flac", flip(flac, 8, 1, len(flac) // 2), _DECODE, "one bit flipped: a checksum fails"
    )
    yield poison("flac-two-files", "joined.flac", flac + flac, _DECODE, "two files in one")
    ogg = sounds.encode("ogg", "-c:a", "flac", "-sample_fmt", "s16")
    yield refused("flac-in-ogg", "ogg.flac", ogg, _CONTAINER, "FLAC frames in an Ogg file")


def _art(size_bytes: int) -> bytes:
    """Returns a picture block's body: type, MIME type, description, size, depth, colours, data."""
    mime = b"image/png"
    numbers = (1).to_bytes(4, "big"), (1).to_bytes(4, "big"), (24).to_bytes(4, "big"), bytes(4)
    return (
        (3).to_bytes(4, "big") + len(mime).to_bytes(4, "big") + mime + bytes(4)
        + b"".join(numbers) + size_bytes.to_bytes(4, "big") + bytes(size_bytes)
    )  # fmt: skip
