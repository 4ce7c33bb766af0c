"""A real model: OpenAI's Whisper tiny.en, fetched into the cache and never committed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from voxfleet_accuracy.recordings import conversation_parts
from voxfleet_accuracy.sounds import wav
from voxfleet_models.whisper_tiny.model import whisper_tiny


@pytest.fixture(scope="session")
def whisper_folder() -> Path:
    """The model's folder. Fails, and says why, where the registry cannot be reached and the cache is empty."""
    return whisper_tiny()


def conversation_clips(folder: Path) -> list[Path]:
    """Writes two stretches of a conversation into `folder`, 9 s together; returns their paths."""
    paths = []
    for recording in conversation_parts()[0::2]:
        paths.append(folder / f"{recording.name}.wav")
        paths[-1].write_bytes(wav(recording.samples, recording.rate_hz))
    return paths


def manifest_of(clips: Sequence[Path], file: Path) -> dict[str, object]:
    """Writes a manifest of clips beside it; returns a job's `spec.input`."""
    file.write_text("".join(json.dumps({"id": clip.stem, "uri": clip.name}) + "\n" for clip in clips))
    return {"manifest": {"uri": f"file://{file}"}}
