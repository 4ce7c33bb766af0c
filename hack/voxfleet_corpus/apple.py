"""AIFF, AIFC and Core Audio files."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from voxfleet_api.failures import FailureClass
from voxfleet_corpus.case import Case, good, refused
from voxfleet_corpus.damage import cut, put
from voxfleet_corpus.sounds import TEXT, Sounds

_DECODE = FailureClass.DECODE_ERROR
_CONTRACT = FailureClass.CONTRACT_VIOLATION
_CONTAINER = FailureClass.UNSUPPORTED_CONTAINER
_RATE = bytes.fromhex("400cfa00000000000000")  # 16,000 as an 80-bit float
_NAN = bytes.fromhex("7fffc000000000000000")
_INFINITE = bytes.fromhex("7fff8000000000000000")


def chunk(name: bytes, body: bytes, length: int | None = None) -> bytes:
    return name + struct.pack(">I", len(body) if length is None else length) + body + b"\0" * (len(body) % 2)


def form(*chunks: bytes, kind: bytes = b"AIFF") -> bytes:
    body = kind + b"".join(chunks)
    return b"FORM" + struct.pack(">I", len(body)) + body


def comm(frames: int, channels: int = 1, bits: int = 16, rate: bytes = _RATE, tail: bytes = b"") -> bytes:
    return chunk(b"COMM", struct.pack(">HIH", channels, frames, bits) + rate + tail)


def ssnd(pcm: bytes, offset: int = 0) -> bytes:
    return chunk(b"SSND", struct.pack(">II", offset, 0) + bytes(offset) + pcm)


def desc(rate_hz: float, kind: bytes = b"lpcm", flags: int = 2, channels: int = 1, bits: int = 16) -> bytes:
    block = channels * bits // 8
    return caf_chunk(b"desc", struct.pack(">d4sIIIII", rate_hz, kind, flags, block, 1, channels, bits))


def caf_chunk(name: bytes, body: bytes, length: int | None = None) -> bytes:
    return name + struct.pack(">q", len(body) if length is None else length) + body


def caf(*chunks: bytes) -> bytes:
    return b"caff\0\1\0\0" + b"".join(chunks)


def cases(sounds: Sounds) -> Iterator[Case]:
    yield from _aiff(sounds)
    yield from _aifc(sounds)
    yield from _caf(sounds)


def _aiff(sounds: Sounds) -> Iterator[Case]:
    pcm = sounds.samples.astype(">i2").tobytes()
    frames = len(sounds.samples)
    plain = form(comm(frames), ssnd(pcm))
    yield good("aiff-plain", "plain.aiff", plain, "PCM of 16 bits", TEXT)
    yield good("aiff-24-bit", "24.aif", sounds.encode("aiff", "-c:a", "pcm_s24be"), "PCM of 24 bits", TEXT)
    yield good("aiff-32-bit", "32.aif", sounds.encode("aiff", "-c:a", "pcm_s32be"), "PCM of 32 bits", TEXT)
    yield good("aiff-named-wav", "really-aiff.wav", plain, "the name lies", TEXT)
    shifted = form(comm(frames), ssnd(pcm, offset=64))
    yield good("aiff-offset", "offset.aiff", shifted, "its samples begin 64 bytes late", TEXT)
    yield good(
        "aiff-format-last", "late.aiff", form(ssnd(pcm), comm(frames)), "the format behind the audio is allowed", TEXT
    )
    yield refused("aiff-8-bit", "8.aiff", sounds.encode("aiff", "-c:a", "pcm_s8"), _CONTRACT, "PCM of 8 bits")

    def odd(id: str, common: bytes, failure_class: FailureClass, note: str) -> Case:
        return refused(f"aiff-{id}", f"{id}.aiff", form(common, ssnd(pcm)), failure_class, note)

    yield odd("0-hz", comm(frames, rate=bytes(10)), _CONTRACT, "no rate")
    yield odd("nan-hz", comm(frames, rate=_NAN), _CONTRACT, "a rate that is not a number")
    yield odd("infinite-hz", comm(frames, rate=_INFINITE), _CONTRACT, "an infinite rate")
    yield odd("0-channels", comm(frames, channels=0), _CONTRACT, "no channels")
    yield odd("one-more", comm(frames + 1), _DECODE, "announces a sample too many")
    yield odd("4-billion", comm(0xFFFFFFFF), _CONTRACT, "announces 74 hours")
    unfinished = form(comm(0), ssnd(pcm))
    yield good("aiff-no-frames", "no-frames.aiff", unfinished, "the recorder died before it counted its samples", TEXT)
    yield refused("aiff-two-files", "joined.aiff", plain + plain, _DECODE, "two files in one")
    yield odd("short-format", chunk(b"COMM", b"\0\1\0\0"), _DECODE, "a format of 4 bytes")
    yield refused("aiff-no-format", "noformat.aiff", form(ssnd(pcm)), _DECODE, "audio without a format")
    yield refused("aiff-no-audio", "noaudio.aiff", form(comm(frames)), _DECODE, "a format without audio")
    yield refused("aiff-cut-header", "cut20.aiff", plain[:20], _DECODE, "ends ahead of its rate")
    yield refused("aiff-cut-middle", "cut.aiff", cut(plain, 50), _DECODE, "half of it")
    yield refused("aiff-cut-last-byte", "cut-last.aiff", plain[:-1], _DECODE, "all but the last byte")
    many = form(comm(frames), chunk(b"NAME", b"") * 10_000, ssnd(pcm))
    yield refused("aiff-10000-chunks", "chunks.aiff", many, _DECODE, "audio behind 10,000 empty chunks")
    yield refused(
        "aiff-8svx", "amiga.aiff", form(ssnd(pcm), kind=b"8SVX"), _CONTAINER, "FORM, and neither AIFF nor AIFC"
    )


def _aifc(sounds: Sounds) -> Iterator[Case]:
    frames = len(sounds.samples)
    little = form(
        chunk(b"FVER", struct.pack(">I", 0xA2805140)),
        comm(frames, tail=b"sowt\0\0"),
        ssnd(sounds.pcm),
        kind=b"AIFC",
    )
    yield good("aifc-little-endian", "sowt.aifc", little, "PCM of 16 bits, the low byte first", TEXT)
    yield refused("aifc-a-law", "alaw.aifc", sounds.encode("aiff", "-c:a", "pcm_alaw"), _CONTRACT, "A-law")
    yield refused("aifc-mu-law", "ulaw.aifc", sounds.encode("aiff", "-c:a", "pcm_mulaw"), _CONTRACT, "mu-law")
    adpcm = sounds.encode("aiff", "-c:a", "adpcm_ima_qt")
    yield refused("aifc-ima4", "ima4.aifc", adpcm, _CONTRACT, "QuickTime's ADPCM")
    unknown = form(comm(frames, tail=b"zzzz\0\0"), ssnd(sounds.pcm), kind=b"AIFC")
    yield refused("aifc-unknown", "zzzz.aifc", unknown, _CONTRACT, "a compression that nobody knows")


def _caf(sounds: Sounds) -> Iterator[Case]:
    pcm = sounds.pcm
    data = caf_chunk(b"data", bytes(4) + pcm)
    plain = caf(desc(16_000.0), data)
    big = caf(desc(16_000.0, flags=0), caf_chunk(b"data", bytes(4) + sounds.samples.astype(">i2").tobytes()))
    floats = caf(desc(16_000.0, flags=3, bits=32), caf_chunk(b"data", bytes(4) + sounds.floats.tobytes()))
    yield good("caf-plain", "plain.caf", plain, "PCM of 16 bits, the low byte first", TEXT)
    yield good("caf-big-endian", "big.caf", big, "PCM of 16 bits, the high byte first", TEXT)
    yield good("caf-float", "float.caf", floats, "32-bit float", TEXT)
    yield good("caf-24-bit", "24.caf", sounds.encode("caf", "-c:a", "pcm_s24le"), "PCM of 24 bits", TEXT)
    roomy = caf(desc(16_000.0), caf_chunk(b"free", bytes(10_000)), data)
    yield good("caf-free-space", "free.caf", roomy, "free space ahead of the audio", TEXT)
    piped = caf(desc(16_000.0), caf_chunk(b"data", bytes(4) + pcm, length=-1))
    yield good("caf-piped", "piped.caf", piped, "its length is not known, as from a pipe", TEXT)

    def odd(id: str, description: bytes, failure_class: FailureClass, note: str) -> Case:
        return refused(f"caf-{id}", f"{id}.caf", caf(description, data), failure_class, note)

    yield odd("0-hz", desc(0.0), _CONTRACT, "no rate")
    yield odd("nan-hz", desc(float("nan")), _CONTRACT, "a rate that is not a number")
    yield odd("negative-hz", desc(-16_000.0), _CONTRACT, "a rate below zero")
    yield odd("1e300-hz", desc(1e300), _CONTRACT, "a rate beyond every integer type")
    yield odd("0-channels", desc(16_000.0, channels=0), _CONTRACT, "no channels")
    yield odd("8-bit", desc(16_000.0, bits=8), _CONTRACT, "PCM of 8 bits")
    yield odd("a-law", desc(16_000.0, kind=b"alaw", bits=8), _CONTRACT, "A-law")
    yield refused("caf-alac", "alac.caf", sounds.encode("caf", "-c:a", "alac"), _CONTRACT, "Apple Lossless")
    yield refused("caf-mu-law", "ulaw.caf", sounds.encode("caf", "-c:a", "pcm_mulaw"), _CONTRACT, "mu-law")
    yield refused("caf-cut-header", "cut20.caf", plain[:20], _DECODE, "ends in its description")
    yield refused("caf-cut-middle", "cut.caf", cut(plain, 50), _DECODE, "half of it")
    yield refused("caf-cut-last-byte", "cut-last.caf", plain[:-1], _DECODE, "all but the last byte")
    back = caf(desc(16_000.0), caf_chunk(b"info", b"", length=-12), data)
    yield refused("caf-backwards", "backwards.caf", back, _DECODE, "a chunk of negative length: a loop waits here")
    far = caf(desc(16_000.0), caf_chunk(b"info", b"", length=2**62), data)
    yield refused("caf-beyond", "beyond.caf", far, _DECODE, "a chunk of 2^62 bytes")
    yield refused("caf-version", "version.caf", put(plain, 4, b"\0\7"), _CONTAINER, "version 7 of the format")
    yield refused("caf-no-description", "nodesc.caf", caf(data), _DECODE, "audio without a description")
