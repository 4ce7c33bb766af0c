"""What is known of a file that was written. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WrittenFile:
    sha256: str
    size_bytes: int
    lines: int
    """Without the header."""
