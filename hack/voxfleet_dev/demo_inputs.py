"""What a demo runs: the example clips with the built-in model, or recordings of people with a real one."""

from __future__ import annotations

import json
import shutil
from enum import StrEnum
from pathlib import Path

from voxfleet_accuracy.recordings import cards, kennedy, librivox, loudspeakers
from voxfleet_accuracy.sounds import wav
from voxfleet_dev.locations import REPOSITORY
from voxfleet_models.whisper_tiny.model import NAME, whisper_tiny

EXAMPLE_CLIPS = REPOSITORY / "examples" / "clips"
_LOUDSPEAKERS = 4


class DemoModel(StrEnum):
    COMMANDS = "commands"
    """The built-in model, with the clips in examples/."""
    WHISPER_TINY = "whisper-tiny"
    """OpenAI's Whisper tiny.en, with lines of a novel, a speech, calls of cards and names of loudspeakers."""


def prepare(model: DemoModel, shared: Path) -> dict[str, object]:
    """Puts the clips, their manifest and the model below `shared`, which every Mac reads; returns the job's spec.model.

    Raises PackageUnavailable and AnotherModel.
    """
    if model is DemoModel.COMMANDS:
        shutil.copytree(EXAMPLE_CLIPS, shared / "clips")
        return {"builtin": {"name": "commands"}}
    folder = shared / "models" / NAME
    shutil.copytree(whisper_tiny(), folder)
    _write_recordings(shared / "clips")
    return {"path": str(folder)}


def _write_recordings(folder: Path) -> None:
    folder.mkdir(parents=True)
    lines = []
    for recording in [*librivox(), kennedy(), *cards(), *loudspeakers()[:_LOUDSPEAKERS]]:
        name = f"{recording.name}.wav"
        (folder / name).write_bytes(wav(recording.samples, recording.rate_hz))
        lines.append(json.dumps({"id": recording.name, "uri": name}))
    (folder / "manifest.jsonl").write_text("".join(f"{line}\n" for line in lines))
