"""mlx-audio's own loop over clips, `load(model).generate(path)`, as a program: whatever compares with it starts this.

`python -m voxfleet_agent.engine.upstream_loop ORDER ANSWER`: ORDER is a JSON file with an UpstreamOrder. ANSWER gets a
line with an UpstreamLoaded when the model is loaded and warm, and one with an UpstreamClip a clip as soon as it is
done, so that a loop that is ended early leaves what it has. Both sides of a comparison compute in one type of number:
the model is widened by the rule of the device, as the agent's is, and keeps mlx-audio's own settings otherwise.
"""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_audio.stt import load  # type: ignore[import-untyped] # it ships no types

from voxfleet_agent.engine.model_loading import family_of, suit_device
from voxfleet_agent.engine.transcriber import SEED
from voxfleet_agent.engine.transcription_families import transcription_family_of
from voxfleet_agent.engine.upstream_messages import (
    UpstreamClip,
    UpstreamLoaded,
    UpstreamOrder,
    UpstreamSegment,
    UpstreamWord,
)
from voxfleet_api.base import StatusModel


def main(order_file: Path, answer_file: Path) -> None:
    order = UpstreamOrder.model_validate_json(order_file.read_bytes())
    with answer_file.open("w", encoding="utf-8") as answer:
        for message in _loop(order):
            answer.write(message.model_dump_json(by_alias=True) + "\n")
            answer.flush()


def upstream_settings(model: Any, *, widened: bool, word_timestamps: bool) -> dict[str, object]:
    """The keywords of `generate`: mlx-audio's own, but for the times of words and what a widened model computes in."""
    family = transcription_family_of(family_of(model), frozenset(inspect.signature(model.generate).parameters))
    settings: dict[str, object] = dict(family.word_settings) if word_timestamps else {}
    if widened and family.float16 is not None:
        settings[family.float16] = False
    if widened and family.float32:
        settings["dtype"] = mx.float32
    return settings


def _loop(order: UpstreamOrder) -> Iterator[StatusModel]:
    started = time.perf_counter()
    model = load(Path(order.model))
    widened = suit_device(model)
    settings = upstream_settings(model, widened=widened, word_timestamps=order.word_timestamps)
    for clip_id, path in [*order.clips.items()][: order.warm_up]:
        _heard(model, clip_id, path, settings)
    yield UpstreamLoaded(load_seconds=time.perf_counter() - started, widened=widened)
    for clip_id, path in order.clips.items():
        yield _heard(model, clip_id, path, settings)


def _heard(model: Any, clip_id: str, path: str, settings: dict[str, object]) -> UpstreamClip:
    started = time.perf_counter()
    try:
        mx.random.seed(SEED)
        output = model.generate(path, **settings)
        text, segments = str(output.text), _segments(output)
    except Exception as error:  # noqa: BLE001 - what a model's code raises for one clip says nothing of the next
        return UpstreamClip(id=clip_id, seconds=time.perf_counter() - started, error=type(error).__name__)
    return UpstreamClip(id=clip_id, seconds=time.perf_counter() - started, text=text, segments=segments)


def _segments(output: Any) -> tuple[UpstreamSegment, ...]:
    """Of a family that gives them as mappings with times."""
    found = getattr(output, "segments", None) or ()
    return tuple(
        UpstreamSegment(
            text=segment["text"],
            start=segment["start"],
            end=segment["end"],
            words=tuple(
                UpstreamWord(word=word["word"], start=word["start"], end=word["end"])
                for word in segment.get("words") or ()
            ),
        )
        for segment in found
        if isinstance(segment, dict) and segment.keys() >= {"text", "start", "end"}
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
