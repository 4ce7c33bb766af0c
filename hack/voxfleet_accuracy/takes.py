"""A take is one file whose words may be known. Paths are ways of giving it to the product. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from voxfleet_accuracy.sounds import SpokenPart

MODEL_RATE_HZ = 16_000


class GivenPath(StrEnum):
    """How the product is given a take."""

    WHOLE = "whole"
    WINDOWS_60 = "windows 60 s"
    WINDOWS_30 = "windows 30 s"


@dataclass(frozen=True, slots=True)
class Take:
    """One file, and what is said in it."""

    name: str
    group: str
    """The line of the table."""
    condition: str
    file: Path
    seconds: float
    text: str | None
    """Empty: nothing is said; None: unknown."""
    parts: tuple[SpokenPart, ...] = ()
    """Of a joined file: when which text is heard."""
    paths: tuple[GivenPath, ...] = (GivenPath.WHOLE,)
    gap_seconds: tuple[float, float] | None = None
    """From when until when nothing is said in the middle of a take with speech."""
    without_gap: str | None = None
    """The take of the same recording without that."""
    language: str = "en"
    """What is spoken in it."""
