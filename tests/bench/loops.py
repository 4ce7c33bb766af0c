"""Peers: loops over clips in one process; run as a program by baselines.py.

Reads {"model", "way", "warmUp", "paths"} from the JSON file that is its first argument and writes {"seconds", "texts"}
to the second, the texts in the order of the paths. The model computes in the type of number that the agent's does. The
clock starts after the model is loaded and has transcribed `warmUp`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

RATE_HZ = 16_000


class Way(StrEnum):
    PATH = "path"
    """`model.generate(path)`, which decodes by itself; the agent's program of mlx-audio's own loop, not this one."""
    ARRAY = "array"
    """mlx-audio-io decodes, then `model.generate(array)`."""
    ARRAY_SORTED = "array-sorted"
    """The same, shortest clip first."""
    ARRAY_AHEAD = "array-ahead"
    """The same, while a thread decodes what comes next."""
    ARRAY_AHEAD_ONE_THREAD = "array-ahead-one-thread"
    """The same with one thread of the BLAS, as a lane has it."""


ARRAY_WAYS = (Way.ARRAY, Way.ARRAY_SORTED, Way.ARRAY_AHEAD, Way.ARRAY_AHEAD_ONE_THREAD)


class _Result(Protocol):
    text: str


class _Model(Protocol):
    def generate(self, audio: object) -> _Result: ...


def main(order_file: Path, answer_file: Path) -> None:
    from mlx_audio.stt import load  # type: ignore[import-untyped] # it ships no types

    order = json.loads(order_file.read_text())
    model = _Suited(load(Path(order["model"])))
    loop = LOOPS[Way(order["way"])]
    list(loop(model, [order["warmUp"]]))
    started = time.perf_counter()
    texts = dict(loop(model, order["paths"]))
    seconds = time.perf_counter() - started
    answer_file.write_text(json.dumps({"seconds": seconds, "texts": [texts[path] for path in order["paths"]]}))


class _Suited:
    """The model in the type of number that the agent's computes in, with the settings that this needs."""

    def __init__(self, model: Any) -> None:
        from voxfleet_agent.engine.model_loading import suit_device
        from voxfleet_agent.engine.upstream_loop import upstream_settings

        self._settings = upstream_settings(model, widened=suit_device(model), word_timestamps=False)
        self._model = model

    def generate(self, audio: object) -> _Result:
        result: _Result = self._model.generate(audio, **self._settings)
        return result


def _by_array(model: _Model, paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    return _generate(model, ((path, _decode(path)) for path in paths))


def _sorted(model: _Model, paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    import mlx_audio_io  # type: ignore[import-untyped] # it ships no types

    return _by_array(model, sorted(paths, key=lambda path: float(mlx_audio_io.info(path).duration)))


def _ahead(model: _Model, paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    with ThreadPoolExecutor(1) as decoder:
        yield from _generate(model, zip(paths, decoder.map(_decode, paths), strict=True))


def _decode(path: str) -> object:
    """The library's defaults: what the contract's declared quality costs more is the agent's to earn back."""
    import mlx.core as mx
    import mlx_audio_io

    samples, _ = mlx_audio_io.load(path, sr=RATE_HZ, mono=True, squeeze_mono=True)
    mx.eval(samples)
    return samples


def _generate(model: _Model, decoded: Iterable[tuple[str, object]]) -> Iterator[tuple[str, str]]:
    for path, samples in decoded:
        yield path, str(model.generate(samples).text)


LOOPS: dict[Way, Callable[[_Model, Sequence[str]], Iterator[tuple[str, str]]]] = {
    Way.ARRAY: _by_array,
    Way.ARRAY_SORTED: _sorted,
    Way.ARRAY_AHEAD: _ahead,
    Way.ARRAY_AHEAD_ONE_THREAD: _ahead,
}

if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
