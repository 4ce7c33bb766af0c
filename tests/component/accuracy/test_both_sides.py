"""Both sides hear files as processes, and what they heard becomes tables and JSON."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from rich.console import Console

from voxfleet_accuracy.__main__ import languages_of
from voxfleet_accuracy.borders import window_borders
from voxfleet_accuracy.heard import Heard
from voxfleet_accuracy.measurement import measure
from voxfleet_accuracy.report import show, write
from voxfleet_accuracy.schedule import comparable, run_all, time_limit_seconds
from voxfleet_accuracy.sides import SideRun, product_run, upstream_run
from voxfleet_accuracy.sounds import SpokenPart, wav, white_noise
from voxfleet_accuracy.takes import MODEL_RATE_HZ, GivenPath, Take
from voxfleet_api.rows import ResultRow
from voxfleet_dev.local_run import RunFailedError
from voxfleet_dev.processes import Child
from voxfleet_models.families import FAMILIES, make_model

WHOLE, SHORT = GivenPath.WHOLE, GivenPath.WINDOWS_30
SECONDS = 32
A_LETTER = 64
"""A token that is one."""


def quietly(_line: str) -> None: ...


def noisy_take(folder: Path) -> Take:
    """32 s with a pause near the end of the first 30, so that the short path cuts once."""
    samples = white_noise(SECONDS * MODEL_RATE_HZ, seed=1) * np.float32(0.1)
    samples[27 * MODEL_RATE_HZ : 28 * MODEL_RATE_HZ] = 0.0
    file = folder / "noisy.wav"
    file.write_bytes(wav(samples, MODEL_RATE_HZ))
    parts = (SpokenPart("one two", 0.0, 27.0), SpokenPart("three", 28.0, 32.0))
    return Take("noisy", "noise", "made", file, SECONDS, "one two three", parts, (SHORT,))


def brief_whisper(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Writes eight tokens in every window, all the same letter.

    Random weights alone walk a file in hundreds of steps, because a step is as long as the times that they write.
    """
    tiny = FAMILIES["whisper"]
    monkeypatch.setitem(FAMILIES, "whisper", replace(tiny, config={**tiny.config, "n_text_ctx": 16}))
    model = make_model("whisper", folder)
    file = str(model / "model.safetensors")
    weights = mx.load(file)
    assert isinstance(weights, dict)
    tokens = weights["decoder.token_embedding.weight"]
    letter = 5 * tokens[A_LETTER]
    tokens[A_LETTER] = letter
    weights["decoder.ln.weight"] = mx.zeros_like(weights["decoder.ln.weight"])
    weights["decoder.ln.bias"] = 2 * letter
    mx.save_safetensors(file, weights)
    return model


def test_both_sides_are_run_measured_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = brief_whisper(tmp_path / "model", monkeypatch)
    clips, runs = tmp_path / "clips", tmp_path / "runs"
    clips.mkdir()
    take = noisy_take(clips)
    results, failures = run_all(
        [
            product_run("product", [take], SHORT, model, runs),
            upstream_run("upstream", [take], model, runs),
        ],
        2,
        quietly,
    )
    assert failures == []
    assert set(results) == {(SHORT, "noisy"), (None, "noisy")}
    assert results[SHORT, "noisy"].conversions[-1].endswith(":2")
    upstream = results[None, "noisy"]
    assert upstream.text and upstream.words and upstream.segments
    borders = window_borders([take], results)
    assert {key: len(ends) for key, ends in borders.items()} == {(SHORT, "noisy"): 1}
    assert 27 <= borders[SHORT, "noisy"][0] <= 28
    # The model never ends a text, which the product refuses.
    refused = measure([take], results, borders, str)
    assert refused.false_quarantines == ("noisy, windows 30 s: TruncatedOutput",)
    assert refused.borders == () and refused.borders_unknown == ("noisy, windows 30 s",)
    foreign = measure([replace(take, language="fr")], results, borders, str, {"en"})
    results = {**results, (SHORT, "noisy"): replace(upstream, conversions=results[SHORT, "noisy"].conversions)}
    measured = measure([take], results, borders, str)
    shown = io.StringIO()
    for each in (refused, foreign, measured):
        show(Console(file=shown, width=240), "tiny", each)
    for told in (
        "Word error rate of tiny",
        "Times, seconds",
        "not compared: 1 of 1 takes: noisy, windows 30 s",
        "Word errors within 1 s",
        "Quarantined: 1 of 1 takes in which somebody speaks (goal: 0): noisy, windows 30 s: TruncatedOutput",
        "In a language that the model does not know: 1 takes: noisy, windows 30 s: TruncatedOutput",
    ):
        assert told in shown.getvalue()
    written = tmp_path / "speech.json"
    written.write_text("the last one")
    write(written, "tiny", measured, [take], results, {"quick": True})
    content = json.loads(written.read_text())
    assert content["facts"] == {"quick": True} and content["takes"][0]["mlxAudio"] == upstream.text
    assert [line["holds"] for line in content["borders"]] == [line.holds for line in measured.borders] != []


def test_the_last_result_stays_until_a_new_one_is_complete(tmp_path: Path) -> None:
    written = tmp_path / "speech.json"
    written.write_text("the last one")
    measured = measure([], {}, {}, str)
    with pytest.raises(TypeError):
        write(written, "tiny", measured, [], {}, {"no JSON": object()})
    assert written.read_text() == "the last one"


def sleeper(name: str, folder: Path, seconds: float, answer: Mapping[str, Heard] | None) -> SideRun:
    def heard() -> Mapping[str, Heard]:
        if name == "is-cut":
            ResultRow.model_validate_json('{"file":')
        if answer is None:
            raise RunFailedError("no text came")
        return answer

    process = Child(name, [sys.executable, "-IS", "-c", f"import time; time.sleep({seconds})"], folder / name)
    path = None if name == "upstream" else WHOLE
    return SideRun(name, (Take(name, "", "", folder / "none.wav", 1.0, ""),), path, process, heard)


def test_a_run_that_fails_or_never_ends_is_told_and_the_others_are_kept(tmp_path: Path) -> None:
    heard = Heard("one", ())
    runs = [
        sleeper("hangs", tmp_path, 3600, {"hangs": heard}),
        sleeper("fails", tmp_path, 0, None),
        sleeper("is-cut", tmp_path, 0, None),
        sleeper("works", tmp_path, 0, {"works": heard}),
        sleeper("upstream", tmp_path, 0, dict.fromkeys(("hangs", "fails", "is-cut", "works"), heard)),
    ]
    lines: list[str] = []
    limits = {"hangs": 0.5}
    results, failures = run_all(runs, 2, lines.append, lambda run: limits.get(run.title, 60))
    assert results[WHOLE, "works"] == heard and len(results) == 5
    assert sorted(failure.partition(",")[0] for failure in failures) == ["fails", "hangs", "is-cut"]
    assert sum("FAILED" in line for line in lines) == 3 and not any(run.process.running for run in runs)
    takes = [take for run in runs for take in run.takes]
    assert [take.name for take in comparable(takes, results)] == ["works"]
    assert time_limit_seconds(runs[0]) == 80


def test_a_model_is_not_blamed_for_languages_that_its_config_leaves_out(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    assert languages_of(tmp_path) is None
    config.write_text('{"model_type": "whisper", "n_vocab": 51864}')
    assert set(languages_of(tmp_path) or ()) == {"en"}
    config.write_text('{"model_type": "whisper", "n_vocab": 51865}')
    assert set(languages_of(tmp_path) or ()) >= {"en", "es", "fr"}
