"""mlx-audio without the product: `model.generate(path)`, one file after the other; a program of its own process.

Reads {"model", "widened", "files"} from the JSON file that is its first argument, and writes a line
{"file", "text", "segments"} a file to the second.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any, TextIO


def main(order_file: Path, answer_file: Path) -> None:
    order = json.loads(order_file.read_text())
    with answer_file.open("w") as answers:
        _transcribe(order, answers)


def _transcribe(order: dict[str, Any], answers: TextIO) -> None:
    import mlx.core as mx
    from mlx_audio.stt import load  # type: ignore[import-untyped] # it ships no types

    model = load(Path(order["model"]))
    parameters = inspect.signature(model.generate).parameters
    settings: dict[str, object] = {"word_timestamps": True} if "word_timestamps" in parameters else {}
    if order["widened"]:
        _widen(model)
        if "decode_options" in parameters:  # Whisper's, which expects float16
            settings["fp16"] = False
    for file in order["files"]:
        mx.random.seed(0)
        output = model.generate(file, **settings)
        segments = [
            {
                "text": segment["text"],
                "start": float(segment["start"]),
                "end": float(segment["end"]),
                "words": [
                    {"word": word["word"], "start": float(word["start"]), "end": float(word["end"])}
                    for word in segment.get("words") or ()
                ],
            }
            for segment in getattr(output, "segments", None) or ()
        ]
        answers.write(json.dumps({"file": file, "text": output.text, "segments": segments}) + "\n")
        answers.flush()


def _widen(model: Any) -> None:
    """Makes the model compute in float32, as the product does where that is faster."""
    import mlx.core as mx

    halves = (mx.float16, mx.bfloat16)
    for module in model.modules():
        # The items of a module are all of its arrays, also those that are no parameters.
        for name, value in list(module.items()):
            if isinstance(value, mx.array) and value.dtype in halves:
                module[name] = value.astype(mx.float32)
        own = vars(module).get("dtype")
        if isinstance(own, mx.Dtype) and own in halves:
            module.dtype = mx.float32


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
