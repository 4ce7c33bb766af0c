"""Files that are no accepted container: other audio, documents, and two kinds in one file."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator

from voxfleet_api.failures import FailureClass
from voxfleet_corpus.case import Case, good, refused
from voxfleet_corpus.damage import noise
from voxfleet_corpus.sounds import TEXT, Sounds
from voxfleet_corpus.wav import chunk, fmt, riff

_CONTAINER = FailureClass.UNSUPPORTED_CONTAINER
_DECODE = FailureClass.DECODE_ERROR


def cases(sounds: Sounds) -> Iterator[Case]:
    yield from _sound(sounds)
    yield from _documents()
    yield from _two_in_one(sounds)


def _sound(sounds: Sounds) -> Iterator[Case]:
    def other(id: str, muxer: str, codec: str, note: str, *options: str) -> Case:
        content = sounds.encode(muxer, "-c:a", codec, *options)
        return refused(f"other-{id}", f"{id}.wav", content, _CONTAINER, note)

    yield other("ogg", "ogg", "libvorbis", "Ogg Vorbis")
    yield other("opus", "opus", "libopus", "Ogg Opus", "-ar", "48000")
    yield other("webm", "webm", "libopus", "WebM", "-ar", "48000")
    yield other("matroska", "matroska", "pcm_s16le", "Matroska")
    yield other("wma", "asf", "wmav2", "Windows Media")
    yield other("au", "au", "pcm_s16be", "Sun au")
    yield other("voc", "voc", "pcm_s16le", "Creative voice")
    yield other("wavpack", "wv", "wavpack", "WavPack")
    yield other("tta", "tta", "tta", "True Audio")
    yield other("ac3", "ac3", "ac3", "raw AC-3", "-ar", "48000")
    yield other("mpegts", "mpegts", "aac", "an MPEG transport stream")
    yield other("flv", "flv", "libmp3lame", "Flash video", "-ar", "44100")
    yield refused("other-amr", "call.amr", b"#!AMR\n" + noise(11, 3200), _CONTAINER, "AMR")
    yield refused("other-midi", "song.mp3", b"MThd\0\0\0\6\0\0\0\1\0\x60MTrk" + noise(12, 200), _CONTAINER, "MIDI")
    yield refused("other-raw", "raw.wav", sounds.pcm, _CONTAINER, "samples without a header")


def _documents() -> Iterator[Case]:
    def document(id: str, name: str, content: bytes, note: str) -> Case:
        return refused(f"document-{id}", name, content, _CONTAINER, note)

    page = b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>"
    yield document("html", "page.mp3", page, "what a proxy answers in place of the clip")
    yield document("html-named-wav", "page.wav", b"\r\n\r\n  " + page, "the same behind white space")
    yield document("json", "error.wav", json.dumps({"error": "NoSuchKey"}).encode(), "an error of a storage")
    yield document("xml", "denied.wav", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "another")
    yield document("pdf", "letter.wav", b"%PDF-1.7\n" + noise(13, 4000), "a PDF document")
    yield document("png", "picture.wav", _png(), "a picture")
    yield document("elf", "program.wav", b"\x7fELF\2\1\1" + noise(14, 4000), "a program")
    yield document("script", "run.wav", b'#!/bin/sh\nrm -rf "$HOME"\n', "a shell script")
    yield document("zip", "archive.wav", _zip(b"empty"), "a zip archive")
    yield document("gzip", "packed.wav", b"\x1f\x8b\x08" + bytes(7) + zlib.compress(bytes(2**20))[2:], "a gzip bomb")
    fork = b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(4000)
    yield document("resource-fork", "._plain.wav", fork, "what macOS leaves beside a clip on foreign disks")
    yield document("utf-16", "note.wav", "RIFF".encode("utf-16"), "text in UTF-16")
    yield document("noise", "noise.mp3", b"\x01" + noise(15, 64_000), "noise")
    yield document("zeros", "zeros.wav", bytes(64_000), "zeros")
    yield document("one-byte", "one-byte.wav", b"R", "one byte")
    yield document(
        "lfs", "pointer.wav", b"version https://git-lfs.github.com/spec/v1\nsize 53560\n", "a pointer to a clip"
    )
    yield refused("document-empty", "empty.wav", b"", _DECODE, "no bytes at all")
    yield refused("document-empty-mp3", "empty.mp3", b"", _DECODE, "no bytes at all")


def _two_in_one(sounds: Sounds) -> Iterator[Case]:
    plain = riff(fmt(), chunk(b"data", sounds.pcm))
    inside = _zip(plain)
    yield refused("both-wav-in-zip", "zipped.wav", inside, _CONTAINER, "a wav file stored in a zip archive")
    # However short the archive is, its bytes are neither audio, a chunk, a tag nor padding.
    joined = plain + _zip(b"hidden")
    yield refused("both-zip-behind-wav", "wav-then-zip.wav", joined, _DECODE, "a zip archive behind a wav file")
    document = riff(fmt(), chunk(b"LIST", b"%PDF-1.7\n<script>alert(1)</script>"), chunk(b"data", sounds.pcm))
    yield good("both-pdf-in-wav", "pdf-in-wav.wav", document, "a PDF header in a chunk of a wav file", TEXT)
    script = b"#!/bin/sh\nexit 0\n" + plain
    yield refused("both-script-ahead", "script.wav", script, _CONTAINER, "a wav file behind a shell script")
    yield refused(
        "both-mp3-in-html", "page.mp3.html", b"<html>" + sounds.mp3, _CONTAINER, "mp3 frames behind a tag of HTML"
    )
    mark = b"\xef\xbb\xbf" + plain
    yield refused("both-byte-order-mark", "bom.wav", mark, _CONTAINER, "a byte order mark ahead of the header")


def _png() -> bytes:
    def part(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = part(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + part(b"IDAT", zlib.compress(b"\0\0")) + part(b"IEND", b"")


def _zip(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("clip.wav", date_time=(2020, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()
