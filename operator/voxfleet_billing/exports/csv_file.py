"""A CSV that is there as a whole or not at all: written beside its place, then moved there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from voxfleet_billing.exports.written_file import WrittenFile

BATCH_LINES = 256


def write_csv(path: Path, header: str, lines: Iterable[str]) -> WrittenFile:
    """UTF-8. Replaces a file at `path`; when `lines` raises, that one stays.

    Raises OSError, and what `lines` raises.
    """
    beside = path.with_name(f".{path.name}.partial")
    digest, size_bytes, number = hashlib.sha256(), 0, -1
    try:
        with beside.open("wb") as file:
            for batch in _batches(chain([header], lines)):
                content = "".join(batch).encode()
                digest.update(content)
                file.write(content)
                size_bytes += len(content)
                number += len(batch)
            _flush(file)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return WrittenFile(digest.hexdigest(), size_bytes, number)


def _batches(lines: Iterable[str]) -> Iterator[list[str]]:
    whole = iter(lines)
    while batch := list(islice(whole, BATCH_LINES)):
        yield batch


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
