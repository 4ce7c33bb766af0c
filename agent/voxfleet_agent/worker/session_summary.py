"""What is told of a session as it ends, beside why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SessionSummary:
    audio_milliseconds: int | None = None
    """Of a file, or of all that was spoken; None: not known."""
    wait_milliseconds: int = 0
    """Of a text: until the model took it up."""
    infer_milliseconds: int = 0
    """Of a text: for its first chunk."""
