"""RIFF/WAVE: chunks, lengths and formats."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from voxfleet_api.failures import FailureClass
from voxfleet_corpus.case import Case, good, refused
from voxfleet_corpus.damage import cut, flip, hole, put
from voxfleet_corpus.sounds import RATE_HZ, TEXT, Sounds

_DECODE = FailureClass.DECODE_ERROR
_CONTRACT = FailureClass.CONTRACT_VIOLATION
_CONTAINER = FailureClass.UNSUPPORTED_CONTAINER

PCM, FLOAT, EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
_SUBTYPE = bytes.fromhex("000000001000800000aa00389b71")  # the bytes after the tag in every standard sub-format


def chunk(name: bytes, body: bytes, length: int | None = None) -> bytes:
    """Returns a chunk with its pad byte; `length`: a false length for its header."""
    return name + struct.pack("<I", len(body) if length is None else length) + body + b"\0" * (len(body) % 2)


def fmt(
    tag: int = PCM,
    channels: int = 1,
    rate_hz: int = RATE_HZ,
    bits: int = 16,
    block: int | None = None,
    tail: bytes = b"",
) -> bytes:
    block = channels * bits // 8 & 0xFFFF if block is None else block
    byte_rate = rate_hz * block & 0xFFFFFFFF
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate_hz, byte_rate, block, bits) + tail)


def riff(*chunks: bytes, magic: bytes = b"RIFF", length: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return magic + struct.pack("<I", len(body) if length is None else length) + body


def extensible(bits: int, valid_bits: int, tag: int, subtype: bytes = _SUBTYPE, channels: int = 1) -> bytes:
    tail = struct.pack("<HHIH", 22, valid_bits, 4, tag) + subtype
    return fmt(EXTENSIBLE, channels, bits=bits, tail=tail)


def cases(sounds: Sounds) -> Iterator[Case]:
    yield from _accepted(sounds)
    yield from _encodings(sounds)
    yield from _formats(sounds)
    yield from _lengths(sounds)
    yield from _chunks(sounds)
    yield from _damage(sounds)


def _accepted(sounds: Sounds) -> Iterator[Case]:
    pcm = sounds.pcm
    plain = riff(fmt(), chunk(b"data", pcm))
    wide = (sounds.samples.astype("<i4") << 16).tobytes()
    packed = b"".join(b"\0" + pcm[at : at + 2] for at in range(0, len(pcm), 2))
    yield good("wav-plain", "plain.wav", plain, "PCM of 16 bits", TEXT)
    yield good("wav-24-bit", "24 bit.wav", riff(fmt(bits=24), chunk(b"data", packed)), "PCM of 24 bits", TEXT)
    yield good("wav-32-bit", "32bit.wav", riff(fmt(bits=32), chunk(b"data", wide)), "PCM of 32 bits", TEXT)
    floats = riff(fmt(FLOAT, bits=32), chunk(b"data", sounds.floats.tobytes()))
    yield good("wav-float", "float.wav", floats, "32-bit float", TEXT)
    padded = riff(extensible(24, 16, PCM), chunk(b"data", packed))
    yield good("wav-extensible", "extensible.wav", padded, "WAVE_FORMAT_EXTENSIBLE, 16 valid bits of 24", TEXT)
    stereo = sounds.encode("wav", "-c:a", "pcm_s16le", "-ar", "48000", "-ac", "2")
    yield good("wav-stereo-48k", "stereo.wav", stereo, "both conversions are declared and run")
    yield good("wav-no-extension", "recording", plain, "the name says nothing", TEXT)
    yield good("wav-named-mp3", "really-wav.mp3", plain, "the name lies", TEXT)
    yield good("wav-named-exe", "invoice.pdf.exe", plain, "the name lies", TEXT)
    yield good("wav-copy", "plain copy.wav", plain, "the same bytes under another name: a row of its own", TEXT)


def _encodings(sounds: Sounds) -> Iterator[Case]:
    for codec, note in (
        ("pcm_alaw", "A-law"),
        ("pcm_mulaw", "mu-law"),
        ("adpcm_ms", "Microsoft ADPCM"),
        ("adpcm_ima_wav", "IMA ADPCM"),
        ("pcm_u8", "PCM of 8 bits"),
        ("pcm_f64le", "64-bit float"),
        ("libmp3lame", "mp3 frames in a wav file"),
    ):
        name = f"{codec.removeprefix('pcm_').removeprefix('lib')}.wav"
        yield refused(f"wav-{codec.replace('_', '-')}", name, sounds.encode("wav", "-c:a", codec), _CONTRACT, note)
    gsm = sounds.encode("wav", "-ar", "8000", "-c:a", "libgsm_ms")
    yield refused("wav-gsm", "gsm.wav", gsm, _CONTRACT, "GSM 6.10 at 8 kHz")
    data = chunk(b"data", sounds.pcm)
    ambisonic = extensible(16, 16, PCM, bytes.fromhex("000021 07d3118644c8c1ca000000".replace(" ", "")))
    yield refused("wav-ambisonic", "ambisonic.wav", riff(ambisonic, data), _CONTRACT, "a sub-format that is not PCM")
    yield refused("wav-extensible-a-law", "x.wav", riff(extensible(16, 16, 6), data), _CONTRACT, "A-law by sub-format")
    big = riff(fmt(), chunk(b"ds64", bytes(28)), data, magic=b"RF64", length=0xFFFFFFFF)
    yield refused("wav-rf64", "rf64.wav", sounds.encode("wav", "-rf64", "always"), _CONTAINER, "RF64")
    yield refused("wav-bw64", "bw64.wav", big.replace(b"RF64", b"BW64", 1), _CONTAINER, "BW64")
    swapped = (
        b"RIFX"
        + struct.pack(">I", 36 + len(sounds.pcm))
        + b"WAVEfmt "
        + struct.pack(">IHHIIHH4sI", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16, b"data", len(sounds.pcm))
        + sounds.samples.astype(">i2").tobytes()
    )
    yield refused("wav-rifx", "rifx.wav", swapped, _CONTAINER, "a big-endian wav file")
    yield refused("wav-w64", "w64.wav", sounds.encode("w64", "-c:a", "pcm_s16le"), _CONTAINER, "Wave64")


def _formats(sounds: Sounds) -> Iterator[Case]:
    data = chunk(b"data", sounds.pcm)

    def odd(id: str, format_chunk: bytes, failure_class: FailureClass, note: str) -> Case:
        return refused(f"wav-{id}", f"{id}.wav", riff(format_chunk, data), failure_class, note)

    yield odd("0-channels", fmt(channels=0), _CONTRACT, "no channels")
    yield odd("65535-channels", fmt(channels=65535), _CONTRACT, "its bytes a frame do not fit their field")
    yield odd("3-channels", fmt(channels=3), _CONTRACT, "the contract accepts one or two")
    yield odd("0-hz", fmt(rate_hz=0), _CONTRACT, "no rate")
    yield odd("1-hz", fmt(rate_hz=1), _CONTRACT, "16 hours from 50 kB; costs a trusting decoder gigabytes")
    yield odd("4-ghz", fmt(rate_hz=4_294_967_295), _CONTRACT, "the largest rate that fits")
    yield odd("8000-hz", fmt(rate_hz=8000), _CONTRACT, "a rate that the contract does not accept")
    yield odd("0-bits", fmt(bits=0), _CONTRACT, "samples of no bits")
    yield odd("17-bits", fmt(bits=17), _CONTRACT, "samples of 17 bits")
    yield odd("0-bytes-a-frame", fmt(block=0), _DECODE, "a division by zero waits here")
    yield odd("7-bytes-a-frame", fmt(block=7), _DECODE, "channels and bits make another number")
    yield odd("short-format", chunk(b"fmt ", b"\1\0\1\0\x80\x3e"), _DECODE, "a format chunk of 6 bytes")
    yield odd("cut-extensible", fmt(EXTENSIBLE), _DECODE, "extensible without its sub-format")


def _lengths(sounds: Sounds) -> Iterator[Case]:
    pcm = sounds.pcm

    def announcing(length: int, body: bytes = pcm) -> bytes:
        return riff(fmt(), chunk(b"data", body, length=length))

    yield good("wav-piped", "piped.wav", announcing(0xFFFFFFFF), "written to a pipe: the length is not known", TEXT)
    yield good("wav-piped-espeak", "espeak.wav", announcing(0x7FFFF000), "written to a pipe by espeak-ng", TEXT)
    open_end = riff(fmt(), chunk(b"data", pcm), length=0xFFFFFFFF)
    yield good("wav-riff-length", "riff.wav", open_end, "the file's length is not known, the audio's is", TEXT)
    no_end = riff(fmt(), chunk(b"data", pcm), length=0)
    yield good("wav-riff-zero", "riff0.wav", no_end, "says that the file is empty, and how long its audio is", TEXT)
    yield refused("wav-one-frame-short", "short1.wav", announcing(len(pcm) + 2), _DECODE, "promises one frame too many")
    yield refused("wav-half-there", "half.wav", announcing(2 * len(pcm)), _DECODE, "promises twice its audio")
    yield refused("wav-no-samples", "none.wav", announcing(0, b""), _DECODE, "a header and no audio")
    yield good("wav-zero-length", "zero.wav", announcing(0), "the recorder died before it wrote its length", TEXT)
    yield refused("wav-half-announced", "short.wav", announcing(len(pcm) // 2), _DECODE, "half of it is not announced")
    yield refused("wav-two-files", "joined.wav", announcing(len(pcm)) * 2, _DECODE, "two files in one")
    yield refused("wav-one-sample", "one.wav", announcing(2, pcm[:2]), _CONTRACT, "shorter than minClip")
    yield refused("wav-20-ms", "20ms.wav", announcing(640, pcm[:640]), _CONTRACT, "shorter than minClip")
    yield good("wav-100-ms", "100ms.wav", announcing(3200, bytes(3200)), "exactly minClip, silent", "")
    long = bytes(2 * RATE_HZ * 21)
    yield refused("wav-too-long", "long.wav", announcing(len(long), long), _CONTRACT, "21 s where 20 s are accepted")
    yield refused(
        "wav-piped-too-long", "endless.wav", announcing(0xFFFFFFFF, long), _CONTRACT, "as long, and does not say so"
    )
    longest = bytes(2 * RATE_HZ * 20)
    yield good("wav-longest", "longest.wav", announcing(len(longest), longest), "exactly maxClip, silent", "")
    large = riff(fmt(), chunk(b"data", pcm), chunk(b"junk", bytes(5 * 2**20)))
    yield refused("wav-too-large", "large.wav", large, _CONTRACT, "2 s of audio in 5 MiB")


def _chunks(sounds: Sounds) -> Iterator[Case]:
    data = chunk(b"data", sounds.pcm)
    junk = b"".join(chunk(b"junk", b"") for _ in range(10_000))
    yield good("wav-odd-chunk", "list.wav", riff(fmt(), chunk(b"LIST", b"odd"), data), "an odd chunk, padded", TEXT)
    yield good("wav-big-list", "tags.wav", riff(fmt(), chunk(b"LIST", bytes(2**20)), data), "1 MiB of tags", TEXT)
    yield good("wav-trailer", "trailer.wav", riff(fmt(), data) + b"trailing bytes", "bytes behind the end", TEXT)
    recorder = chunk(b"JUNK", bytes(28)), chunk(b"bext", bytes(602)), fmt(tail=b"\0\0"), chunk(b"fact", bytes(4))
    yield good("wav-recorder", "field.wav", riff(*recorder, data), "the chunks that field recorders write", TEXT)
    yield refused(
        "wav-two-data", "parts.wav", riff(fmt(), data, data), _DECODE, "two audio chunks; readers stop after one"
    )
    unpadded = riff(fmt(), b"LIST\3\0\0\0odd", data)
    yield good("wav-unpadded", "unpadded.wav", unpadded, "an odd chunk without its pad byte", TEXT)
    yield refused(
        "wav-10000-chunks", "chunks.wav", riff(fmt(), junk, data), _DECODE, "audio behind 10,000 empty chunks"
    )
    wrap = riff(fmt(), chunk(b"loop", b"", length=0xFFFFFFF8), data)
    yield refused("wav-loop", "loop.wav", wrap, _DECODE, "a chunk that leads 32-bit arithmetic back to itself")
    nested = data
    for _ in range(200):
        nested = chunk(b"LIST", b"wavl" + nested[:60_000])
    yield refused("wav-nested", "nested.wav", riff(fmt(), nested), _CONTRACT, "lists of waves and no audio chunk")
    yield refused("wav-no-format", "noformat.wav", riff(data), _DECODE, "audio without a format")
    yield refused("wav-format-last", "late.wav", riff(data, fmt()), _DECODE, "the format behind the audio")
    both = riff(fmt(), fmt(channels=2, rate_hz=48_000), data)
    yield refused("wav-two-formats", "two.wav", both, _DECODE, "two formats that contradict each other")
    yield refused("wav-avi", "film.wav", riff(fmt(), data).replace(b"WAVE", b"AVI ", 1), _CONTAINER, "RIFF, not WAVE")


def _damage(sounds: Sounds) -> Iterator[Case]:
    plain = riff(fmt(), chunk(b"data", sounds.pcm))
    yield refused("wav-cut-header", "cut20.wav", plain[:20], _DECODE, "ends in its format")
    yield refused("wav-cut-at-data", "cut44.wav", plain[:44], _DECODE, "ends where the audio begins")
    yield refused("wav-cut-middle", "cut-half.wav", cut(plain, 50), _DECODE, "half of it")
    yield refused("wav-cut-last-byte", "cut-last.wav", plain[:-1], _DECODE, "all but the last byte")
    yield good("wav-hole", "hole.wav", hole(plain, 60, 80), "silence in place of a lost block; nothing can tell")
    yield good("wav-flipped-body", "flips.wav", flip(plain, 1, 40, 44), "40 bits of samples flipped; nothing can tell")
    yield refused("wav-flipped-magic", "magic.wav", flip(plain, 2, 1, 0, 4), _CONTAINER, "a bit of RIFF flipped")
    yield refused("wav-flipped-tag", "tag.wav", put(plain, 20, b"\1\1"), _CONTRACT, "a bit of the format's tag flipped")
    yield refused("wav-flipped-data", "data.wav", put(plain, 36, b"dat!"), _DECODE, "a bit of the chunk's name flipped")
