"""Writes the corpus to a folder.

    DIR/input/clips/            the files
    DIR/input/manifest.jsonl    a job's input
    DIR/expected.jsonl          an Expected for each line of the manifest
    DIR/bait/bait.wav           the file that hostile files name; nothing may open it

An agent that runs the corpus may touch DIR/input/ and an output folder, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from voxfleet_corpus import apple, flac, foreign, lures, mp4, mpeg, places, samples, wav
from voxfleet_corpus.case import Case, Expected
from voxfleet_corpus.sounds import Sounds

BAIT = Path("bait") / "bait.wav"


def all_cases(bait: Path) -> Iterator[Case]:
    """Yields all cases. Raises ClipToolError when ffmpeg is missing or fails."""
    sounds = Sounds()
    for module in (wav, samples, mpeg, flac, mp4, apple, foreign):
        yield from module.cases(sounds)
    yield from lures.cases(sounds, bait)
    yield from places.cases(sounds, bait)


def write_corpus(folder: Path) -> tuple[list[Expected], list[str]]:
    """Returns the written files, and one sentence for each that this user or file system does not allow.

    Raises FileExistsError when the folder already holds a corpus, and ClipToolError.
    """
    bait = folder.absolute() / BAIT
    clips = folder / "input" / "clips"
    clips.mkdir(parents=True)
    bait.parent.mkdir()
    bait.write_bytes(wav.riff(wav.fmt(), wav.chunk(b"data", Sounds().pcm)))
    manifest: list[str] = []
    expected: list[Expected] = []
    left_out: list[str] = []
    for case in all_cases(bait):
        path = clips / case.name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if case.place is not None:
                case.place(path)
            else:
                with path.open("xb") as file:
                    file.write(case.content)
        except FileExistsError:
            raise
        except OSError as error:
            left_out.append(f"{case.id} ({case.note}): {error.strerror}")
            continue
        row = {"id": case.id, "uri": case.uri or f"clips/{case.name}"}
        manifest.append(json.dumps(row | ({"sha256": case.sha256} if case.sha256 else {})) + "\n")
        expected.append(
            Expected(
                id=case.id,
                name=case.name,
                verdict=case.verdict,
                failure_class=case.failure_class,
                text=case.text,
                note=case.note,
            )
        )
    (folder / "input" / "manifest.jsonl").write_text("".join(manifest), encoding="utf-8")
    lines = (row.model_dump_json(exclude_none=True) + "\n" for row in expected)
    (folder / "expected.jsonl").write_text("".join(lines), encoding="utf-8")
    return expected, left_out
