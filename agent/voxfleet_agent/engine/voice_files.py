"""The voices that lie in a model's folder. No MLX."""

from __future__ import annotations

from pathlib import Path


def voices_in(folder: Path) -> frozenset[str] | None:
    """Their names in small letters; None where the folder does not tell."""
    files = [file for place in ("voices", "embeddings") for file in (folder / place).glob("*.safetensors")]
    return frozenset(file.stem.lower() for file in files) or None
