"""Small files of a run's state folder."""

from __future__ import annotations

from pathlib import Path


def replace_text(file: Path, text: str) -> None:
    """Whole or not at all, whenever the process is killed. Raises OSError."""
    unfinished = file.with_suffix(".tmp")
    unfinished.write_text(text)
    unfinished.rename(file)
