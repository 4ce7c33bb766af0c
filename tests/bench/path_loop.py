"""Peer: transcribes clips in one process with `model.generate(path)`; run as a program by baselines.py.

Reads {"model", "warmUp", "paths"} from the JSON file that is its first argument and writes {"seconds", "texts"}
to the second. The clock starts after the model is loaded and has transcribed `warmUp`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from mlx_audio.stt import load  # type: ignore[import-untyped] # it ships no types


def main(order_file: Path, answer_file: Path) -> None:
    order = json.loads(order_file.read_text())
    model = load(Path(order["model"]))
    str(model.generate(order["warmUp"]).text)
    started = time.perf_counter()
    texts = [str(model.generate(path).text) for path in order["paths"]]
    seconds = time.perf_counter() - started
    answer_file.write_text(json.dumps({"seconds": seconds, "texts": texts}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
