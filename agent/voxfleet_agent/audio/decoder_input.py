"""The file that the decoder opens: the clip under a name that fits its bytes, or exactly its range of audio."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from voxfleet_agent.audio.header_facts import SCRATCH_PREFIX, HeaderFacts

_COPY_BYTES = 2**20


@contextlib.contextmanager
def decoder_input(clip: Path, facts: HeaderFacts, folder: Path) -> Iterator[Path]:
    """Gives a path in `folder` whose suffix is the container's, since libraries trust names; it is gone at the end.

    It is a link where the decoder is given the whole file, and a copy of its audio otherwise. Raises OSError, also when
    there is no room for the copy.
    """
    # A folder for each name would take a fifth of the time that a short clip takes to decode.
    path = folder / f"{SCRATCH_PREFIX}{secrets.token_hex(8)}.{facts.container}"
    size_bytes = clip.stat().st_size
    ranges = facts.ranges(size_bytes)
    try:
        if not facts.own_header and ranges == ((0, size_bytes),):
            path.symlink_to(clip.absolute())
        else:
            _copy_ranges(clip, facts.own_header, ranges, path)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _copy_ranges(clip: Path, header: bytes, ranges: tuple[tuple[int, int], ...], path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as target, clip.open("rb") as source:
        target.write(header)
        for start, end in ranges:
            source.seek(start)
            _copy(source, target, end - start)


def _copy(source: BinaryIO, target: BinaryIO, length: int) -> None:
    while length > 0 and (block := source.read(min(_COPY_BYTES, length))):
        target.write(block)
        length -= len(block)
