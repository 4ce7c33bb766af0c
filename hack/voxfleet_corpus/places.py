"""Paths that are no regular files, and files with odd names and addresses."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from voxfleet_api.failures import FailureClass
from voxfleet_corpus.case import Case, Verdict, good
from voxfleet_corpus.sounds import TEXT, Sounds
from voxfleet_corpus.wav import chunk, fmt, riff

Place = Callable[[Path], None]

_DENIED = FailureClass.ACCESS_DENIED
_MISSING = FailureClass.INPUT_NOT_FOUND
_NO_FILE = FailureClass.INVALID_INPUT
"""No permission is missing: what cannot be read as a file is a fault of the clip itself."""
_CONTRACT = FailureClass.CONTRACT_VIOLATION


def cases(sounds: Sounds, bait: Path) -> Iterator[Case]:
    plain = riff(fmt(), chunk(b"data", sounds.pcm))
    yield from _no_files(bait)
    yield from _sparse(plain)
    yield from _names(plain)
    yield from _addresses(plain, bait)


def _placed(case: Case, place: Place) -> Case:
    return replace(case, place=place)


def _no_files(bait: Path) -> Iterator[Case]:
    def special(id: str, failure_class: FailureClass, note: str, place: Place) -> Case:
        return Case(f"place-{id}", f"{id}.wav", Verdict.REFUSED, failure_class, note, place=place)

    yield special("folder", _NO_FILE, "a folder", Path.mkdir)
    yield special("fifo", _NO_FILE, "a pipe: opening it blocks for ever", lambda path: os.mkfifo(path, 0o600))
    yield special(
        "device",
        _NO_FILE,
        "a device: reading it never ends",
        lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5)),
    )
    yield special("link-out", _DENIED, "a link to a good clip outside the sources", lambda path: path.symlink_to(bait))
    yield special("link-device", _DENIED, "a link to a device", lambda path: path.symlink_to("/dev/zero"))
    yield special("link-proc", _DENIED, "a link to a process's memory", lambda path: path.symlink_to("/proc/self/mem"))
    yield special("link-nowhere", _MISSING, "a link to nothing", lambda path: path.symlink_to("no such file.wav"))
    yield special("link-loop", _MISSING, "a link to itself", lambda path: path.symlink_to(path.name))
    inside = Case("place-link-in", "link-in.wav", Verdict.SUCCEEDED, None, "a link to another source", text=TEXT)
    yield _placed(inside, lambda path: path.symlink_to("plain.wav"))
    if os.geteuid() != 0:
        yield special("unreadable", _DENIED, "a file that this user may not read", lambda path: path.touch(0o000))


def _sparse(plain: bytes) -> Iterator[Case]:
    def sparse(size_bytes: int, head: bytes) -> Place:
        def place(path: Path) -> None:
            path.write_bytes(head)
            os.truncate(path, size_bytes)

        return place

    size_bytes = 4 * 2**30
    huge = riff(fmt(), chunk(b"data", b"", length=0xFFFFFFFF))
    big = Case("place-sparse-wav", "sparse.wav", Verdict.REFUSED, _CONTRACT, "4 GiB of silence that no disk holds")
    yield _placed(big, sparse(size_bytes, huge))
    none = Case(
        "place-sparse-zeros", "nothing.wav", Verdict.REFUSED, FailureClass.UNSUPPORTED_CONTAINER, "4 GiB of zeros"
    )
    yield _placed(none, sparse(size_bytes, b""))
    behind = Case(
        "place-sparse-tail", "tail.wav", Verdict.REFUSED, _CONTRACT, "a good clip with 4 GiB of zeros behind it"
    )
    yield _placed(behind, sparse(size_bytes, plain))


def _names(plain: bytes) -> Iterator[Case]:
    for kind, name, note in (
        ("newline", "two\nlines.wav", "a line break"),
        ("emoji", "🎙️ interview.wav", "an emoji"),
        ("composed", "cafe\u0301.wav", "a letter with a separate accent"),
        ("right-to-left", "\u202evaw.exe", "a mark that turns the writing around"),
        ("quotes", 'it\'s "quoted" `id` $(id).wav', "quotes and what a shell would run"),
        ("option", "-i --help.wav", "what a program could take for an option"),
        ("percent", "50%25 100%.wav", "percent signs, to be taken literally"),
        ("dots", "..wav", "two dots and more"),
        ("backslash", "..\\..\\clip.wav", "backslashes"),
        ("controls", "bell\a escape\x1b[31m.wav", "control characters"),
        ("long", "n" * 251 + ".wav", "255 characters"),
        ("deep", "/".join(["deep"] * 40) + "/clip.wav", "40 folders down"),
        ("question", "a?b=c#d&e.wav", "what has a meaning in a URL"),
        ("space", " .wav", "a name that begins with a space"),
        ("hidden", ".hidden.wav", "a name that begins with a dot"),
    ):
        yield good(f"name-{kind}", name, plain, note, TEXT)


def _addresses(plain: bytes, bait: Path) -> Iterator[Case]:
    def address(id: str, uri: str, failure_class: FailureClass, note: str) -> Case:
        return Case(f"address-{id}", f"address-{id}.wav", Verdict.REFUSED, failure_class, note, plain, uri=uri)

    yield address("above", "clips/../../bait/bait.wav", _DENIED, "climbs out of the folder")
    yield address("above-encoded", "clips/%2e%2e/%2e%2e/bait/bait.wav", _MISSING, "the same in percent signs")
    yield address("slash-encoded", "clips/..%2f..%2fbait%2fbait.wav", _MISSING, "the same with a hidden slash")
    yield address("outside", f"file://{bait}", _DENIED, "another folder by its full address")
    yield address("system", "file:///etc/passwd", _DENIED, "a file of the system")
    yield address("memory", "file:///proc/self/environ", _DENIED, "the agent's own environment")
    yield address("host", "file://localhost/etc/passwd", _DENIED, "a file on a named host")
    yield address("scheme", "ftp://127.0.0.1/clip.wav", _DENIED, "a scheme that is not spoken")
    yield address("metadata", "http://169.254.169.254/latest/meta-data/", _DENIED, "a cloud's metadata service")
    yield Case(
        "address-double-slash", "address-double-slash.wav", Verdict.SUCCEEDED, None,
        "an empty part, which a file system ignores", plain, text=TEXT, uri="clips//address-double-slash.wav",
    )  # fmt: skip
    yield address("missing", "clips/no such file.wav", _MISSING, "a file that does not exist")
    yield address("too-long", f"clips/{'x' * 300}.wav", _NO_FILE, "a name that no file system holds")
    yield address("below-a-file", "clips/plain.wav/clip.wav", _MISSING, "a file taken for a folder")
    other = sha256(b"other bytes").hexdigest()
    yield Case(
        "checksum", "checksum.wav", Verdict.QUARANTINED, FailureClass.CHECKSUM_MISMATCH,
        "the manifest names the sha256 of other bytes", plain, sha256=other,
    )  # fmt: skip
    yield Case(
        "checksum-right",
        "checked.wav",
        Verdict.SUCCEEDED,
        None,
        "the manifest names its sha256",
        plain,
        text=TEXT,
        sha256=sha256(plain).hexdigest(),
    )
