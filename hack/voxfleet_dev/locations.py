"""The folders of the checkout and of the cache that outlives it."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def cache_directory() -> Path:
    """Returns the folder for built servers: $VOXFLEET_CACHE, or the user's cache folder."""
    explicit = os.environ.get("VOXFLEET_CACHE")
    if explicit:
        return Path(explicit).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "voxfleet"
