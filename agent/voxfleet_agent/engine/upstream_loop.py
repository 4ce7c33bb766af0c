"""mlx-audio's own loop over clips, `load(model).generate(path)`, as a program: what `bench mac` compares with.

`python -m voxfleet_agent.engine.upstream_loop ORDER ANSWER`: ORDER is a JSON file with `model`, a folder, and `clips`,
paths by id. ANSWER gets a JSON line when the model is loaded and warm, and one a clip as soon as it is done, so that a
loop that is ended early leaves what it has.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main(order_file: Path, answer_file: Path) -> None:
    from mlx_audio.stt import load  # type: ignore[import-untyped] # it ships no types

    order = json.loads(order_file.read_text())
    clips: dict[str, str] = order["clips"]
    started = time.perf_counter()
    model = load(Path(order["model"]))
    with answer_file.open("w") as answer:

        def tell(**fields: object) -> None:
            answer.write(json.dumps(fields) + "\n")
            answer.flush()

        warm = next(iter(clips.values()), None)
        if warm is not None:
            _transcribe(model, warm)
        tell(load_seconds=time.perf_counter() - started)
        for clip_id, path in clips.items():
            started = time.perf_counter()
            text, error = _transcribe(model, path)
            tell(id=clip_id, seconds=time.perf_counter() - started, text=text, error=error)


def _transcribe(model: object, path: str) -> tuple[str | None, str | None]:
    """(text, None), or (None, the type of what it raised)."""
    try:
        return str(model.generate(path).text), None  # type: ignore[attr-defined] # mlx-audio ships no types
    except Exception as error:  # noqa: BLE001 - what a model's code raises for one clip says nothing of the next
        return None, type(error).__name__


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
