"""MPEG-4 files: boxes, tables and tracks."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from voxfleet_api.failures import FailureClass
from voxfleet_corpus.case import Case, good, poison, refused
from voxfleet_corpus.damage import cut, flip, hole, put, swap
from voxfleet_corpus.sounds import Sounds

_DECODE = FailureClass.DECODE_ERROR
_CONTRACT = FailureClass.CONTRACT_VIOLATION
_CONTAINER = FailureClass.UNSUPPORTED_CONTAINER
_AAC = ("-c:a", "aac", "-b:a", "64k")
_FILM = ("-f", "lavfi", "-i", "color=size=32x32:rate=5:duration=2")
_PICTURES = ("-c:v", "mpeg4", "-shortest")
_MANY = struct.pack(">I", 0xFFFFFFF0)


def box(name: bytes, body: bytes, length: int | None = None) -> bytes:
    return struct.pack(">I", 8 + len(body) if length is None else length) + name + body


def _after(content: bytes, name: bytes, offset: int) -> int:
    """Returns the position of the byte `offset` behind a box's name."""
    return content.index(name) + 4 + offset


def _moov(content: bytes) -> tuple[int, int]:
    at = content.index(b"moov") - 4
    return at, int.from_bytes(content[at : at + 4], "big")


def cases(sounds: Sounds) -> Iterator[Case]:
    yield from _accepted(sounds)
    yield from _tracks(sounds)
    yield from _boxes(sounds)
    yield from _tables(sounds)
    yield from _damage(sounds)


def _accepted(sounds: Sounds) -> Iterator[Case]:
    m4a = sounds.m4a
    yield good("m4a-plain", "plain.m4a", m4a, "its header (moov) is behind the audio")
    first = sounds.encode("ipod", *_AAC, "-movflags", "+faststart")
    yield good("m4a-header-first", "faststart.m4a", first, "its header is ahead of the audio")
    yield good("m4a-named-mp3", "really-m4a.mp3", m4a, "the name lies")
    quicktime = sounds.encode("mov", *_AAC)
    yield good("m4a-quicktime", "quicktime.mov", quicktime, "a QuickTime film with sound alone")
    yield good("m4a-brand", "brand.m4a", put(m4a, 8, b"zzzz"), "a brand that nobody knows")
    wide = sounds.encode("ipod", *_AAC, "-ac", "2", "-ar", "44100")
    yield good("m4a-stereo", "stereo.m4a", wide, "two channels at 44.1 kHz")
    at, _ = _moov(m4a)
    free = m4a[:at] + box(b"free", bytes(2**20)) + m4a[at:]
    yield good("m4a-free-space", "free.m4a", free, "1 MiB of free space between audio and header")


def _tracks(sounds: Sounds) -> Iterator[Case]:
    def other(id: str, codec: str, note: str, *options: str) -> Case:
        content = sounds.encode("mp4", "-c:a", codec, *options)
        return refused(f"m4a-{id}", f"{id}.m4a", content, _CONTRACT, note)

    yield other("alac", "alac", "Apple Lossless")
    yield other("eac3", "eac3", "E-AC-3", "-ar", "48000")
    yield other("mp3", "libmp3lame", "mp3 frames in an MPEG-4 file")
    yield other("opus", "libopus", "Opus", "-ar", "48000")
    pcm = sounds.encode("mov", "-c:a", "pcm_s16le")
    yield refused("m4a-pcm", "pcm.mov", pcm, _CONTRACT, "PCM in a QuickTime file")
    adts = sounds.encode("adts", *_AAC)
    yield refused("m4a-is-adts", "raw.m4a", adts, _CONTAINER, "a raw AAC stream")
    silent = sounds.encode("mp4", *_PICTURES, "-an", "-map", "0:v", inputs=_FILM)
    yield refused("m4a-no-sound", "pictures.m4a", silent, _CONTAINER, "a film without sound")
    film = sounds.encode("mp4", *_PICTURES, *_AAC, "-map", "0:v", "-map", "1:a", inputs=_FILM)
    yield refused("m4a-film", "film.mp4", film, _CONTAINER, "a film with sound")
    two = sounds.encode("mp4", *_AAC, "-map", "0:a", "-map", "0:a")
    yield refused("m4a-two-tracks", "two.m4a", two, _CONTAINER, "two audio tracks: nobody said which")
    locked = swap(sounds.m4a, b"mp4a", b"enca")
    yield refused("m4a-encrypted", "locked.m4a", locked, _CONTRACT, "its sample entry says encrypted")


def _boxes(sounds: Sounds) -> Iterator[Case]:
    m4a = sounds.m4a
    at, _ = _moov(m4a)
    head = m4a[: 8 + int.from_bytes(m4a[:4], "big") - 8]
    yield refused("m4a-ftyp-only", "ftyp.m4a", head, _DECODE, "a file type and nothing else")
    yield refused("m4a-no-moov", "headless.m4a", m4a[:at], _DECODE, "audio without its header")
    yield poison("m4a-no-mdat", "empty.m4a", head + m4a[at:], _DECODE, "a header without its audio")
    bomb = head + box(b"moov", bytes(8), length=0x7FFFFFFF)
    yield refused("m4a-moov-beyond", "beyond.m4a", bomb, _DECODE, "a header that claims 2 GiB")
    long = head + struct.pack(">I4sQ", 1, b"moov", 2**63) + bytes(64)
    yield refused("m4a-64-bit", "64bit.m4a", long, _DECODE, "a header that claims 2^63 bytes")
    tiny = head + box(b"free", b"", length=4) + m4a[len(head) :]
    yield refused("m4a-box-of-4", "four.m4a", tiny, _DECODE, "a box shorter than its own name")
    still = head + struct.pack(">I4sQ", 1, b"free", 0) + m4a[len(head) :]
    yield refused("m4a-box-of-0", "standstill.m4a", still, _DECODE, "a box of no length: a loop waits here")
    nested = b""
    for _ in range(10_000):
        nested = box(b"trak", nested)
    yield refused("m4a-nested", "nested.m4a", head + box(b"moov", nested), _CONTAINER, "10,000 boxes in each other")
    many = m4a[:at] + box(b"free", b"") * 10_000 + m4a[at:]
    yield good("m4a-10000-boxes", "boxes.m4a", many, "10,000 empty boxes between audio and header")
    stopped = put(m4a, _after(m4a, b"mdhd", 12), bytes(4))
    yield refused("m4a-no-timescale", "still.m4a", stopped, _DECODE, "time counted in units of zero length")


def _tables(sounds: Sounds) -> Iterator[Case]:
    m4a = sounds.m4a
    whole = sounds.encode("mp4", *_AAC, "-movflags", "frag_keyframe+empty_moov")
    yield good("m4a-fragmented", "fragments.m4a", whole, "in fragments, as streaming services store it")
    yield poison("m4a-cut-fragments", "cut-fragments.m4a", cut(whole, 60), _DECODE, "fragments that end early")
    later = sounds.encode("ipod", *_AAC, "-af", "adelay=300")
    yield good("m4a-delayed", "delayed.m4a", later, "begins with 300 ms of silence")
    times = put(m4a, _after(m4a, b"stts", 8), _MANY)
    yield good("m4a-stts-bomb", "stts.m4a", times, "a table of times that counts four thousand million samples")
    sizes = put(m4a, _after(m4a, b"stsz", 8), _MANY)
    yield poison("m4a-stsz-bomb", "stsz.m4a", sizes, _DECODE, "as many sizes")
    same = put(m4a, _after(m4a, b"stsz", 4), struct.pack(">I", 1) + _MANY)
    yield poison("m4a-stsz-constant", "constant.m4a", same, _DECODE, "as many samples of one byte")
    entries = put(m4a, _after(m4a, b"stts", 4), _MANY)
    yield poison("m4a-stts-entries", "entries.m4a", entries, _DECODE, "as many entries in the table of times")
    chunks = put(m4a, _after(m4a, b"stsc", 12), _MANY)
    yield poison("m4a-stsc-bomb", "stsc.m4a", chunks, _DECODE, "as many samples in one chunk")
    far = put(m4a, _after(m4a, b"stco", 8), struct.pack(">I", 0x7FFFFFFF))
    yield poison("m4a-chunk-beyond", "far.m4a", far, _DECODE, "a chunk that lies behind the end of the file")
    long = put(m4a, _after(m4a, b"elst", 8), _MANY)
    yield refused("m4a-edit-beyond", "edit.m4a", long, _CONTRACT, "an edit list that plays for 1,193 hours")
    half = put(m4a, _after(m4a, b"elst", 12), struct.pack(">I", len(sounds.samples) // 2))
    yield poison(
        "m4a-edit-start", "begin.m4a", half, _DECODE, "an edit list that begins in the middle and promises all"
    )


def _damage(sounds: Sounds) -> Iterator[Case]:
    m4a = sounds.m4a
    at, length = _moov(m4a)
    audio = m4a.index(b"mdat") + 4
    yield refused("m4a-cut-header", "cut12.m4a", m4a[:12], _DECODE, "ends in its file type")
    yield refused("m4a-cut-middle", "cut.m4a", cut(m4a, 50), _DECODE, "half of it")
    yield refused("m4a-cut-last-byte", "cut-last.m4a", m4a[:-1], _DECODE, "all but the last byte")
    yield poison("m4a-hole", "hole.m4a", put(m4a, audio + 4000, bytes(3000)), _DECODE, "zeros within the audio")
    yield poison("m4a-flips", "flips.m4a", flip(m4a, 9, 200, audio + 100, at), _DECODE, "200 bits of audio flipped")
    garbled = flip(m4a, 10, 60, at + 8, at + length)
    yield poison("m4a-flipped-header", "garbled.m4a", garbled, _DECODE, "60 bits of its header flipped")
    yield refused(
        "m4a-zeroed-header", "zeroed.m4a", hole(m4a[:at], 100, 100) + bytes(length), _DECODE, "zeros for a header"
    )


def lead_elsewhere(m4a: bytes, other: Path) -> bytes:
    """Makes the header's data reference, which is to this file, refer to another file."""
    at = m4a.index(b"url \0\0\0\1")
    name = f"file://{other}".encode() + b"\0"
    grown = put(m4a, at + 4, bytes(4))[: at + 8] + name + m4a[at + 8 :]
    for parent in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref", b"url "):
        start = grown.index(parent) - 4
        (length,) = struct.unpack_from(">I", grown, start)
        grown = put(grown, start, struct.pack(">I", length + len(name)))
    return grown
