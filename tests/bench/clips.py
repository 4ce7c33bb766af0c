"""The clips that every measurement uses: made once, kept below .bench/clips."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Protocol

import make_clips
from make_clips import Clip, Container, make_random_clips, write_manifest

KINDS: tuple[tuple[Container, int, int], ...] = (
    ("wav", 44100, 2), ("flac", 44100, 2), ("mp3", 44100, 2), ("m4a", 44100, 2),
    ("wav", 16000, 1), ("flac", 16000, 1), ("mp3", 16000, 1), ("m4a", 16000, 1),
)  # fmt: skip
"""Container, rate in Hz and channels."""
SEED = 20


@dataclass(frozen=True)
class Pool:
    """Clips of all kinds, one kind after the other in turn, and the audio seconds that each header announces."""

    folder: Path
    clips: tuple[Clip, ...]
    audio_seconds: tuple[float, ...]

    @property
    def total_audio_seconds(self) -> float:
        return sum(self.audio_seconds)

    def first(self, count: int) -> Pool:
        return Pool(self.folder, self.clips[:count], self.audio_seconds[:count])

    def manifest(self, name: str, count: int) -> Path:
        """A manifest of `count` clips with ids of their own; it starts over when the pool has fewer."""
        chosen = itertools.islice(itertools.cycle(self.clips), count)
        numbered = [replace(clip, id=f"clip-{number:06d}") for number, clip in enumerate(chosen)]
        path = self.folder / f"{name}.jsonl"
        write_manifest(path, numbered)
        return path


def make_pool(folder: Path, count: int) -> Pool:
    """`count` clips, those of an earlier run when they were made in the same way. Raises make_clips.ClipToolError."""
    per_kind = -(-count // len(KINDS))
    stamp = folder / "made.json"
    recipe = {
        "kinds": [list(kind) for kind in KINDS],
        "perKind": per_kind,
        "seed": SEED,
        "script": hashlib.sha256(Path(make_clips.__file__).read_bytes()).hexdigest(),
    }
    if not stamp.exists() or json.loads(stamp.read_text()) != recipe:
        shutil.rmtree(folder, ignore_errors=True)
        for number, kind in enumerate(KINDS):
            _make_kind(folder, number, kind, per_kind)
        stamp.write_text(json.dumps(recipe))
    words = [_words(folder, number) for number in range(len(KINDS))]
    clips = [
        Clip(f"{_name(kind)}-{number:04d}", folder / _name(kind) / f"c{number:05d}.{kind[0]}", words[position][number])
        for number in range(per_kind)
        for position, kind in enumerate(KINDS)
    ][:count]
    return Pool(folder, tuple(clips), tuple(_header_seconds([clip.path for clip in clips])))


def _make_kind(folder: Path, number: int, kind: tuple[Container, int, int], count: int) -> None:
    container, rate_hz, channels = kind
    made = make_random_clips(folder / _name(kind), count, SEED + number, rate_hz, container, channels)
    _words_file(folder, number).write_text(json.dumps([clip.text for clip in made]))


def _name(kind: tuple[Container, int, int]) -> str:
    container, rate_hz, channels = kind
    return f"{container}-{rate_hz}-{channels}"


def _words_file(folder: Path, number: int) -> Path:
    return folder / f"{_name(KINDS[number])}.words.json"


def _words(folder: Path, number: int) -> list[str]:
    words: list[str] = json.loads(_words_file(folder, number).read_text())
    return words


class _Header(Protocol):
    duration: float


class _ReadHeader(Protocol):
    def __call__(self, path: str) -> _Header: ...


def _header_seconds(paths: Sequence[Path]) -> list[float]:
    read_header: _ReadHeader = import_module("mlx_audio_io").info
    return [read_header(str(path)).duration for path in paths]
