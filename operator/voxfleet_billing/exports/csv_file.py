"""A CSV that is there as a whole or not at all: written beside its place, then moved there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from voxfleet_billing.exports.written_file import WrittenFile

BATCH_LINES = 256
CHUNK_BYTES = 2**20


class CsvFile:
    """Being written. What is known of it is known without reading it again."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.name, self.folder = path.name, path.parent
        self._file, self._digest = file, hashlib.sha256()
        self._size_bytes = self._lines = 0

    def add(self, lines: Iterable[str]) -> None:
        for batch in _batches(lines):
            self._write("".join(batch).encode())
            self._lines += len(batch)

    def append(self, part: Path, lines: int) -> None:
        """All of a file that `write_part` wrote. Raises OSError."""
        with part.open("rb") as content:
            while chunk := content.read(CHUNK_BYTES):
                self._write(chunk)
        self._lines += lines

    def written(self) -> WrittenFile:
        return WrittenFile(self._digest.hexdigest(), self._size_bytes, self._lines - 1)

    def _write(self, content: bytes) -> None:
        self._digest.update(content)
        self._file.write(content)
        self._size_bytes += len(content)


@contextmanager
def whole_csv(path: Path, header: str) -> Iterator[CsvFile]:
    """UTF-8. Replaces a file at `path` at the end; when something is raised before, that one stays. Raises OSError."""
    beside = path.with_name(f".{path.name}.partial")
    try:
        with beside.open("wb") as file:
            csv = CsvFile(path, file)
            csv.add([header])
            yield csv
            _flush(file)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_csv(path: Path, header: str, lines: Iterable[str]) -> WrittenFile:
    """Raises OSError, and what `lines` raises."""
    with whole_csv(path, header) as file:
        file.add(lines)
    return file.written()


def write_part(path: Path, lines: Iterable[str]) -> int:
    """Lines that `CsvFile.append` takes; returns how many. Raises OSError, and what `lines` raises."""
    count = 0
    with path.open("wb") as file:
        for batch in _batches(lines):
            file.write("".join(batch).encode())
            count += len(batch)
    return count


def write_text(path: Path, text: str) -> None:
    """Likewise, for a file that is small. Raises OSError."""
    beside = path.with_name(f".{path.name}.partial")
    with beside.open("wb") as file:
        file.write(text.encode())
        _flush(file)
    beside.replace(path)


def _batches(lines: Iterable[str]) -> Iterator[list[str]]:
    whole = iter(lines)
    while batch := list(islice(whole, BATCH_LINES)):
        yield batch


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
