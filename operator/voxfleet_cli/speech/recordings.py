"""Reads what is transcribed: a file, or standard input, a piece at a time."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

PIECE_BYTES = 64 * 1024
STDIN = "-"
STDIN_DESCRIPTOR = 0
_PIECES_AHEAD = 8


@dataclass(frozen=True, slots=True)
class OpenedRecording:
    size_bytes: int | None
    """None: not known, as of standard input."""
    _file: BinaryIO | None = None

    async def pieces(self, sent: Callable[[int], None]) -> AsyncIterator[bytes]:
        """`sent`: told the size of each piece that was taken."""
        async for piece in standard_input(PIECE_BYTES) if self._file is None else _pieces_of(self._file):
            yield piece
            sent(len(piece))


@contextmanager
def opened_recording(source: str) -> Iterator[OpenedRecording]:
    """Raises OSError."""
    if source == STDIN:
        yield OpenedRecording(None)
        return
    with Path(source).open("rb") as opened:
        yield OpenedRecording(os.fstat(opened.fileno()).st_size, opened)


async def standard_input(piece_bytes: int) -> AsyncIterator[bytes]:
    """As it comes. Who gives up waiting leaves the reading behind: it may never end, and ends nobody's program."""
    loop, pieces = asyncio.get_running_loop(), asyncio.Queue[bytes]()
    room = threading.Semaphore(_PIECES_AHEAD)

    def read() -> None:
        piece = b"more"
        with suppress(RuntimeError):  # the loop is closed
            while piece:
                room.acquire()
                try:
                    piece = os.read(STDIN_DESCRIPTOR, piece_bytes)
                except OSError:
                    piece = b""
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

    # Neither a pool's thread, which is waited for at the end, nor sys.stdin, whose lock would be held then.
    threading.Thread(target=read, name="standard-input", daemon=True).start()
    while piece := await pieces.get():
        yield piece
        room.release()


async def bare_samples(rate_hz: int, frame_milliseconds: int = 20) -> AsyncIterator[bytes]:
    """PCM16 of one channel from standard input, as soon as it comes."""
    async for frame in standard_input(max(1, rate_hz * frame_milliseconds // 1000) * 2):
        yield frame


async def _pieces_of(file: BinaryIO) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
        yield piece


def extension_of(source: str) -> str:
    """Of a file's name, in lower case and without its dot, where it says anything."""
    suffix = Path(source).suffix.removeprefix(".").lower()
    return suffix if suffix.isascii() and suffix.isalnum() and len(suffix) <= 8 else "bin"
