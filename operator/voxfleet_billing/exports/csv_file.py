"""A CSV that is there as a whole or not at all: written beside its place, then moved there."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class WrittenFile:
    sha256: str
    size_bytes: int
    lines: int
    """Without the header."""


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]], delimiter: str = ",") -> WrittenFile:
    """UTF-8 with CRLF (RFC 4180). Replaces a file at `path`; when `rows` raises, that one stays.

    Raises OSError, and what `rows` raises.
    """
    beside = path.with_name(f".{path.name}.partial")
    try:
        with beside.open("wb") as file:
            sink = _Sink(file)
            writer = csv.writer(sink, delimiter=delimiter)
            writer.writerow(header)
            lines = 0
            for row in rows:
                writer.writerow(row)
                lines += 1
            _flush(file)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return WrittenFile(sink.digest.hexdigest(), sink.size_bytes, lines)


def write_text(path: Path, text: str) -> None:
    """Likewise, for a file that is small. Raises OSError."""
    beside = path.with_name(f".{path.name}.partial")
    with beside.open("wb") as file:
        file.write(text.encode())
        _flush(file)
    beside.replace(path)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


class _Sink:
    """What the CSV writer writes to."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size_bytes = 0

    def write(self, text: str) -> None:
        content = text.encode()
        self.digest.update(content)
        self.size_bytes += len(content)
        self._file.write(content)
