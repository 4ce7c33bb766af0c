"""What a demo runs: the example clips with the built-in model, or recordings of people with a real one.

The real model and a conversation come with pip alone. Recordings that need another client, or a registry that cannot be
reached, are left out.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path

from voxfleet_accuracy.recordings import Recording, cards, conversation_parts, kennedy, librivox, loudspeakers
from voxfleet_accuracy.sounds import wav
from voxfleet_dev.locations import REPOSITORY
from voxfleet_models.whisper_tiny.model import NAME, whisper_tiny
from voxfleet_packages.fetch import PackageUnavailable

EXAMPLE_CLIPS = REPOSITORY / "examples" / "clips"
_LOUDSPEAKERS = 4
_OPTIONAL: Mapping[str, Callable[[], list[Recording]]] = {
    "lines of a novel": librivox,
    "a sentence of an inaugural address": lambda: [kennedy()],
    "calls of playing cards": cards,
    "names of loudspeakers": lambda: loudspeakers()[:_LOUDSPEAKERS],
}


class DemoModel(StrEnum):
    COMMANDS = "commands"
    """The built-in model, with the clips in examples/."""
    WHISPER_TINY = "whisper-tiny"
    """OpenAI's Whisper tiny.en, with a conversation and, where they can be fetched, other recordings."""


def prepare(model: DemoModel, shared: Path, say: Callable[[str], None]) -> dict[str, object]:
    """Puts the clips, their manifest and the model below `shared`, which every Mac reads; returns the job's spec.model.

    Says what it leaves out. Raises PackageUnavailable and AnotherModel.
    """
    if model is DemoModel.COMMANDS:
        shutil.copytree(EXAMPLE_CLIPS, shared / "clips")
        return {"builtin": {"name": "commands"}}
    folder = shared / "models" / NAME
    shutil.copytree(whisper_tiny(), folder)
    _write(shared / "clips", list(_recordings(say)))
    return {"path": str(folder)}


def _recordings(say: Callable[[str], None]) -> Iterator[Recording]:
    yield from conversation_parts()
    for what, found in _OPTIONAL.items():
        try:
            yield from found()
        except PackageUnavailable as error:
            say(f"{what} are left out: {error}")


def _write(folder: Path, recordings: list[Recording]) -> None:
    folder.mkdir(parents=True)
    lines = []
    for recording in recordings:
        name = f"{recording.name}.wav"
        (folder / name).write_bytes(wav(recording.samples, recording.rate_hz))
        lines.append(json.dumps({"id": recording.name, "uri": name}))
    (folder / "manifest.jsonl").write_text("".join(f"{line}\n" for line in lines))
