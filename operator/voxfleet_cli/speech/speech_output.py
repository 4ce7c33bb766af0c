"""Writes speech while it comes: into a WAV file that has its name once it is whole, or to standard output."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from voxfleet_cli.speech.streamed_wav import HEADER_BYTES, UNKNOWN_BYTES, header

STDOUT = "-"
WriteSamples = Callable[[bytes, int], None]
"""PCM16 of one channel, and its rate in Hz."""


@contextmanager
def named_once_whole(path: Path) -> Iterator[BinaryIO]:
    """A file beside `path`, which takes its place at the end; nothing stays of one that is not whole."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as opened:
            yield opened
        part.replace(path)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


@contextmanager
def wav_output(output: str | None) -> Iterator[WriteSamples]:
    """A file's header has its true length; on standard output, which cannot go back, it says that it is unknown."""
    if output is None:
        yield lambda _samples, _rate_hz: None
    elif output == STDOUT:
        yield _Written(sys.stdout.buffer).write
    else:
        with named_once_whole(Path(output)) as opened:
            written = _Written(opened)
            yield written.write
            written.mend_header()


class _Written:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._total_bytes = 0
        self._rate_hz = 0

    def write(self, samples: bytes, rate_hz: int) -> None:
        if not self._rate_hz:
            self._rate_hz = rate_hz
            self._file.write(header(rate_hz, UNKNOWN_BYTES))
        self._file.write(samples)
        self._file.flush()
        self._total_bytes += len(samples)

    def mend_header(self) -> None:
        if self._rate_hz:
            self._file.seek(0)
            self._file.write(header(self._rate_hz, min(self._total_bytes, UNKNOWN_BYTES - HEADER_BYTES)))
