"""The file that the decoder opens: the clip under a name that fits its bytes, or exactly its range of audio."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import BinaryIO

from voxfleet_agent.audio.header_facts import HeaderFacts

_COPY_BYTES = 2**20


def decoder_input(clip: Path, facts: HeaderFacts, folder: Path) -> Path:
    """Returns a path in the empty `folder` whose suffix is the container's: libraries trust names.

    It is a link where the decoder is given the whole file, and a copy of the range otherwise. Raises OSError.
    """
    path = folder / f"clip.{facts.container}"
    if not facts.own_header and facts.audio_start_bytes == 0 and facts.audio_end_bytes is None:
        path.symlink_to(clip.absolute())
        return path
    with clip.open("rb") as source, path.open("xb") as target:
        target.write(facts.own_header)
        source.seek(facts.audio_start_bytes)
        if facts.audio_end_bytes is None:
            shutil.copyfileobj(source, target, _COPY_BYTES)
        else:
            _copy(source, target, facts.audio_end_bytes - facts.audio_start_bytes)
    return path


def _copy(source: BinaryIO, target: BinaryIO, length: int) -> None:
    while length > 0 and (block := source.read(min(_COPY_BYTES, length))):
        target.write(block)
        length -= len(block)
