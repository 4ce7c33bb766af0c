"""Files that name other files. No program may follow them: the tests watch the folder of the named file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from voxfleet_api.failures import FailureClass
from voxfleet_corpus.case import Case, refused
from voxfleet_corpus.mp4 import lead_elsewhere
from voxfleet_corpus.mpeg import id3
from voxfleet_corpus.sounds import Sounds

_CONTAINER = FailureClass.UNSUPPORTED_CONTAINER
_CONTRACT = FailureClass.CONTRACT_VIOLATION


def cases(sounds: Sounds, bait: Path) -> Iterator[Case]:
    """`bait`: a good wav file outside the sources."""
    yield from _texts(bait)
    yield from _behind_a_tag(sounds, bait)
    elsewhere = lead_elsewhere(sounds.m4a, bait)
    yield refused(
        "lure-m4a", "elsewhere.m4a", elsewhere, _CONTRACT, "its header says that the audio lies in another file"
    )


def _stream(bait: Path) -> bytes:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:2,\nfile://{bait}\n#EXT-X-ENDLIST\n".encode()


def _concat(bait: Path) -> bytes:
    return f"ffconcat version 1.0\nfile '{bait}'\nfile '../../bait.wav'\n".encode()


def _texts(bait: Path) -> Iterator[Case]:
    def lure(id: str, name: str, content: bytes, note: str) -> Case:
        return refused(f"lure-{id}", name, content, _CONTAINER, note)

    yield lure("m3u", "list.m3u", f"#EXTM3U\n{bait}\n".encode(), "a playlist")
    yield lure("hls", "stream.wav", _stream(bait), "an HLS stream")
    yield lure("concat", "concat.wav", _concat(bait), "a list that ffmpeg joins")
    yield lure("cue", "disc.wav", f'FILE "{bait}" WAVE\n  TRACK 01 AUDIO\n'.encode(), "a cue sheet")
    yield lure("pls", "radio.wav", f"[playlist]\nFile1={bait}\nNumberOfEntries=1\n".encode(), "a playlist")
    dash = f'<?xml version="1.0"?><MPD><Period><BaseURL>file://{bait}</BaseURL></Period></MPD>'
    yield lure("dash", "manifest.wav", dash.encode(), "a DASH manifest")
    session = (
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\na=control:file://{bait}\n"
    )
    yield lure("sdp", "call.wav", session.encode(), "a session description: listen on a port")
    link = b"[InternetShortcut]\nURL=file://" + bytes(bait)
    yield lure("shortcut", "link.wav", link, "an internet shortcut")


def _behind_a_tag(sounds: Sounds, bait: Path) -> Iterator[Case]:
    # A demuxer that probes contents looks behind the tag, finds text, and opens the file that it names.
    def lure(id: str, body: bytes, note: str) -> Case:
        return refused(f"lure-{id}", f"{id}.mp3", id3(bytes(40)) + body + sounds.bare_mp3, _CONTAINER, note)

    yield lure("tag-hls", _stream(bait), "an HLS stream between an ID3 tag and mp3 frames")
    yield lure("tag-concat", _concat(bait), "a list that ffmpeg joins, between an ID3 tag and mp3 frames")
    hidden = id3(bytes(40)) + _stream(bait) + b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt "
    yield refused(
        "lure-tag-wav", "tag-wav.wav", hidden, _CONTAINER, "an HLS stream between an ID3 tag and a wav header"
    )
