"""MPEG audio: tags, frames and lengths."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from voxfleet_api.failures import FailureClass
from voxfleet_corpus.case import Case, good, poison, refused
from voxfleet_corpus.damage import cut, flip, hole, noise, put
from voxfleet_corpus.sounds import Sounds

_DECODE = FailureClass.DECODE_ERROR
_CONTRACT = FailureClass.CONTRACT_VIOLATION
_CONTAINER = FailureClass.UNSUPPORTED_CONTAINER
_LAME = ("-c:a", "libmp3lame", "-id3v2_version", "0")
_FRAME_BYTES = 288  # MPEG 2, 64 kbit/s, 16 kHz: a frame of `Sounds.mp3`


def id3(body: bytes, length: int | None = None, version: int = 3) -> bytes:
    """Returns an ID3v2 tag; `length`: a false length for its header."""
    header_length = len(body) if length is None else length
    return b"ID3" + bytes([version, 0, 0, *(header_length >> shift & 0x7F for shift in (21, 14, 7, 0))]) + body


def picture(size_bytes: int) -> bytes:
    """Returns an ID3v2.3 frame of cover art."""
    body = b"\0image/png\0\3\0" + b"\x89PNG\r\n\x1a\n" + bytes(size_bytes)
    return b"APIC" + struct.pack(">IH", len(body), 0) + body


def _patch_frames(stream: bytes, byte: int, mask: int) -> bytes:
    """Clears the bits of `mask` in one header byte of every frame."""
    patched = bytearray(stream)
    for offset in range(0, len(patched) - 4, _FRAME_BYTES):
        patched[offset + byte] &= ~mask & 0xFF
    return bytes(patched)


def cases(sounds: Sounds) -> Iterator[Case]:
    yield from _accepted(sounds)
    yield from _other_layers(sounds)
    yield from _tags(sounds)
    yield from _damage(sounds)


def _accepted(sounds: Sounds) -> Iterator[Case]:
    mp3 = sounds.mp3
    variable = sounds.encode("mp3", *_LAME, "-q:a", "4", "-ar", "44100")
    unstated = sounds.encode("mp3", *_LAME, "-q:a", "4", "-ar", "44100", "-write_xing", "0")
    joint = sounds.encode("mp3", *_LAME, "-b:a", "128k", "-ac", "2", "-ar", "48000", "-joint_stereo", "1")
    yield good("mp3-plain", "plain.mp3", mp3, "constant rate")
    yield good("mp3-variable", "vbr.mp3", variable, "variable rate with its length")
    yield good("mp3-variable-unstated", "vbr-bare.mp3", unstated, "variable rate without its length")
    yield good("mp3-unstated", "cbr-bare.mp3", sounds.bare_mp3, "constant rate without its length")
    yield good("mp3-joint-stereo", "joint.mp3", joint, "joint stereo at 48 kHz")
    yield good("mp3-named-wav", "really-mp3.wav", mp3, "the name lies")
    yield good("mp3-tags-behind", "id3v1.mp3", mp3 + b"TAG" + bytes(125), "an ID3v1 tag")
    ape = b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0) + bytes(8)
    yield good("mp3-ape-tag", "ape.mp3", mp3 + ape, "an APE tag behind the audio")
    yield good("mp3-padded-tag", "padded.mp3", id3(bytes(100)) + bytes(3000) + mp3, "zeros behind its tag")
    yield good("mp3-two-tags", "tagged-twice.mp3", id3(bytes(500)) + id3(bytes(900)) + mp3, "two ID3v2 tags in a row")
    yield good("mp3-cover", "cover.mp3", id3(picture(300_000)) + mp3, "300 kB of cover art")
    yield good("mp3-huge-tag", "huge-tag.mp3", id3(bytes(2 * 2**20)) + mp3, "2 MiB of padding in the tag")


def _other_layers(sounds: Sounds) -> Iterator[Case]:
    layer_2 = sounds.encode("mp2", "-c:a", "mp2", "-b:a", "64k")
    header = b"\xff\xff\x44\xc0"  # MPEG 1, layer I, 128 kbit/s, 48 kHz, one channel
    layer_1 = (header + bytes(12 * 128_000 // 48_000 * 4 - 4)) * 50
    yield refused("mp3-layer-2", "layer2.mp3", layer_2, _CONTAINER, "mp2")
    yield refused("mp3-layer-1", "layer1.mp3", layer_1, _CONTAINER, "mp1")
    free = _patch_frames(sounds.bare_mp3, 2, 0xF0)
    yield refused("mp3-free-format", "free.mp3", free, _CONTAINER, "frames that do not say how long they are")
    frames = (b"\xff\xf3\x84\xc4" + bytes(284)) * 100
    yield refused(
        "mp3-hollow", "hollow.mp3", frames[:-7], _CONTAINER, "headers of frames that do not follow each other"
    )
    aac = sounds.encode("adts", "-c:a", "aac")
    yield refused("mp3-is-adts", "adts.mp3", aac, _CONTAINER, "a raw AAC stream")
    low = sounds.encode("mp3", *_LAME, "-b:a", "16k", "-ar", "8000")
    yield refused("mp3-8000-hz", "low.mp3", low, _CONTRACT, "MPEG 2.5 at a rate that the contract does not accept")


def _tags(sounds: Sounds) -> Iterator[Case]:
    mp3 = sounds.mp3
    beyond = id3(bytes(100), length=200 * 2**20) + mp3
    yield good("mp3-tag-beyond", "beyond.mp3", beyond, "a tag that claims more than the file")
    broken = put(id3(bytes(100)), 6, b"\xff\xff\xff\xff") + mp3
    yield good("mp3-broken-tag", "broken-tag.mp3", broken, "a tag whose length is none")
    yield refused("mp3-tag-only", "tag-only.mp3", id3(bytes(5000)), _DECODE, "a tag and no audio")
    yield refused("mp3-tag-garbage", "tag-garbage.mp3", id3(b"") + noise(7, 90_000), _DECODE, "noise behind a tag")
    flac = id3(bytes(64)) + sounds.flac
    yield good("mp3-tag-flac", "tagged.flac", flac, "FLAC behind an ID3 tag")
    wav = id3(bytes(64)) + b"RIFF" + bytes(4) + b"WAVEfmt " + sounds.pcm
    yield refused("mp3-tag-wav", "tagged.wav", wav, _DECODE, "a wav file behind an ID3 tag, without a sound chunk")


def _damage(sounds: Sounds) -> Iterator[Case]:
    mp3, bare = sounds.mp3, sounds.bare_mp3
    middle = len(bare) // 2 // _FRAME_BYTES * _FRAME_BYTES
    yield refused("mp3-cut-header", "cut3.mp3", mp3[:3], _CONTAINER, "three bytes of a frame's four")
    yield refused("mp3-cut-middle", "cut.mp3", cut(mp3, 50), _DECODE, "half of it; its first frame says so")
    yield refused("mp3-cut-last-byte", "cut-last.mp3", mp3[:-1], _DECODE, "all but the last byte")
    yield poison(
        "mp3-cut-in-frame", "cut-bare.mp3", bare[: middle + 100], _DECODE, "ends within a frame; no length to tell"
    )
    yield poison("mp3-hole", "hole.mp3", hole(mp3, 40, 60), _DECODE, "zeros in place of a fifth")
    yield poison("mp3-hole-bare", "hole-bare.mp3", hole(bare, 40, 60), _DECODE, "the same, with no length to tell")
    between = bare[:middle] + noise(3, 5000) + bare[middle:]
    yield poison("mp3-garbage-between", "between.mp3", between, _DECODE, "noise between two frames")
    zeros = bare[:middle] + bytes(5000) + bare[middle:]
    yield poison("mp3-zeros-between", "zeros.mp3", zeros, _DECODE, "zeros between two frames")
    yield poison(
        "mp3-flips", "flips.mp3", flip(mp3, 4, 400, 400), _DECODE, "400 bits flipped, frame headers among them"
    )
    ahead = noise(5, 999).replace(b"\xff", b"\0")
    yield good("mp3-garbage-ahead", "ahead.mp3", ahead + bare, "999 bytes of noise ahead of the first frame")
    other = sounds.encode("mp3", *_LAME, "-b:a", "64k", "-ar", "44100", "-write_xing", "0")
    yield poison("mp3-rate-change", "rates.mp3", bare + other, _DECODE, "16 kHz frames, then 44.1 kHz frames")
    yield good("mp3-two-files", "joined.mp3", mp3 + mp3, "two files in one; the first says its own length only")
    frames_at = mp3.index(b"Info") + 8
    many, few = struct.pack(">I", 0x7FFFFFFF), struct.pack(">I", 200)
    yield refused("mp3-2-31-frames", "endless.mp3", put(mp3, frames_at, many), _CONTRACT, "announces years")
    yield poison("mp3-too-many-frames", "more.mp3", put(mp3, frames_at, few), _DECODE, "announces more than there is")
