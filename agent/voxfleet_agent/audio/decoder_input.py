"""The file that the decoder opens: the clip under a name that fits its bytes, or exactly its range of audio."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from voxfleet_agent.audio.header_facts import HeaderFacts

_COPY_BYTES = 2**20


def decoder_input(clip: Path, facts: HeaderFacts, folder: Path) -> Path:
    """Returns a path in the empty `folder` whose suffix is the container's: libraries trust names.

    It is a link where the decoder is given the whole file, and a copy of its audio otherwise. Raises OSError, also when
    there is no room for the copy.
    """
    path = folder / f"clip.{facts.container}"
    size_bytes = clip.stat().st_size
    ranges = facts.ranges(size_bytes)
    if not facts.own_header and ranges == ((0, size_bytes),):
        path.symlink_to(clip.absolute())
        return path
    with clip.open("rb") as source, path.open("xb") as target:
        target.write(facts.own_header)
        for start, end in ranges:
            source.seek(start)
            _copy(source, target, end - start)
    return path


def _copy(source: BinaryIO, target: BinaryIO, length: int) -> None:
    while length > 0 and (block := source.read(min(_COPY_BYTES, length))):
        target.write(block)
        length -= len(block)
