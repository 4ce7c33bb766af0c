"""Recordings of people who speak, as 16 kHz files: clips that a real model is measured with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxfleet_accuracy.recordings import kennedy, librivox
from voxfleet_accuracy.sounds import Samples, wav

RATE_HZ = 16_000


@dataclass(frozen=True)
class SpokenClips:
    folder: Path
    paths: tuple[Path, ...]
    audio_seconds: float

    def manifest(self, count: int) -> Path:
        """A manifest of the first clips."""
        path = self.folder / f"first-{count}.jsonl"
        lines = (json.dumps({"id": clip.stem, "uri": clip.name}) for clip in self.paths[:count])
        path.write_text("".join(f"{line}\n" for line in lines))
        return path


def make_spoken_clips(folder: Path) -> SpokenClips:
    """Lines of a novel and a sentence of a speech, 3 to 11 s each. Raises PackageUnavailable."""
    folder.mkdir(parents=True, exist_ok=True)
    recordings = [*librivox(), kennedy()]
    paths = tuple(write_clip(folder / f"{each.name}.wav", each.samples) for each in recordings)
    return SpokenClips(folder, paths, sum(len(each.samples) for each in recordings) / RATE_HZ)


def write_clip(path: Path, samples: Samples) -> Path:
    path.write_bytes(wav(samples, RATE_HZ))
    return path


def read_aloud() -> Samples:
    """All of it in one, with half a second between the recordings."""
    pause = np.zeros(RATE_HZ // 2, dtype=np.float32)
    return np.concatenate([part for each in [*librivox(), kennedy()] for part in (each.samples, pause)])
