"""Decodes clips to the model's rate, as the agent does and as mlx-audio does; run as a program by decode_figures.py.

Reads {"contract", "paths", "rounds"} from the JSON file that is its first argument and writes {"agent", "upstream"},
the seconds of each round, to the second. Each side goes first in turn; a first round of both is not counted.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

RATE_HZ = 16_000

Decode = Callable[[str], int]
"""Path to samples decoded."""


def main(order_file: Path, answer_file: Path) -> None:
    order = json.loads(order_file.read_text())
    sides = {"agent": _agent(order["contract"]), "upstream": _upstream()}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(order["rounds"] + 1):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            seconds[name].append(_timed(sides[name], order["paths"]))
    answer_file.write_text(json.dumps({name: taken[1:] for name, taken in seconds.items()}))


def _timed(decode: Decode, paths: Sequence[str]) -> float:
    started = time.perf_counter()
    for path in paths:
        if decode(path) == 0:
            raise ValueError(f"{path} decoded to nothing")
    return time.perf_counter() - started


def _agent(contract: dict[str, object]) -> Decode:
    from voxfleet_agent.audio.decode import open_decoder
    from voxfleet_api.kinds.voice_contract import VoiceContractSpec

    spec = VoiceContractSpec.load(contract)
    return lambda path: sum(len(piece) for piece in open_decoder(Path(path), spec, RATE_HZ).pieces())


def _upstream() -> Decode:
    load_audio = import_module("mlx_audio.stt.utils").load_audio
    evaluate = import_module("mlx.core").eval

    def decode(path: str) -> int:
        samples = load_audio(path, sr=RATE_HZ)
        evaluate(samples)
        return int(samples.size)

    return decode


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
