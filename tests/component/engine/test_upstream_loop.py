"""mlx-audio's own loop beside the agent's model: in the same type of number, so that their texts may be compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from mlx_audio.stt import load  # type: ignore[import-untyped] # it ships no types

from voxfleet_agent.engine import upstream_loop
from voxfleet_agent.engine.compute_dtype import FLOAT32
from voxfleet_agent.engine.model_loading import dtype_of
from voxfleet_agent.engine.transcriber import MlxTranscriber
from voxfleet_agent.engine.upstream_messages import UpstreamAnswer, UpstreamOrder, read_answer
from voxfleet_agent.models.store import builtin_model_folder
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.kinds.job_model import BuiltinName
from voxfleet_api.kinds.job_task import Transcription

ROOT = Path(__file__).parents[3]
CLIPS = ROOT / "examples" / "clips"
ON_METAL = mx.metal.is_available()
SPOKEN = "wav-16000-01"


def answered(folder: Path, order: UpstreamOrder) -> UpstreamAnswer:
    written, answer = folder / "order.json", folder / "answer.jsonl"
    written.write_text(order.model_dump_json(by_alias=True))
    upstream_loop.main(written, answer)
    return read_answer(answer.read_text().splitlines())


def test_each_clip_has_a_text_and_its_seconds_and_one_that_fails_ends_nothing(
    tmp_path: Path, examples: dict[str, tuple[npt.NDArray[np.float32], str]]
) -> None:
    damaged = tmp_path / "damaged.wav"
    damaged.write_bytes(b"RIFF")
    clips = {"0": str(damaged), SPOKEN: str(CLIPS / f"{SPOKEN}.wav")}
    order = UpstreamOrder(model=str(builtin_model_folder(BuiltinName.COMMANDS)), clips=clips)
    answer = answered(tmp_path, order)
    assert answer.loaded is not None and answer.loaded.load_seconds > 0
    assert [*answer.clips] == [*clips]
    lost, spoken = answer.clips.values()
    assert lost.text is None and lost.error is not None
    assert spoken.text == examples[SPOKEN][1] and spoken.error is None and spoken.seconds > 0


def test_it_computes_in_what_the_agent_computes_in(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    """Whisper takes float16 for granted, which a processor computes ten times slower."""
    kept: list[object] = []

    def keeping(folder: Path) -> object:
        kept.append(load(folder))
        return kept[-1]

    order = UpstreamOrder(model=str(tiny("whisper")), clips={})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upstream_loop, "load", keeping)
        answer = answered(tmp_path, order)
    (model,) = kept
    agent = MlxTranscriber(tiny("whisper"), Transcription(), Timestamps.NONE)
    assert dtype_of(model) == agent.dtype and (ON_METAL or agent.dtype == FLOAT32)  # type: ignore[arg-type] # a model
    assert answer.loaded is not None and answer.loaded.widened is not ON_METAL


def test_words_have_times_where_the_family_gives_them(tiny: Callable[[str], Path]) -> None:
    model = load(tiny("whisper"))
    assert upstream_loop.upstream_settings(model, widened=True, word_timestamps=True) == {
        "word_timestamps": True,
        "fp16": False,
    }
    assert upstream_loop.upstream_settings(model, widened=False, word_timestamps=False) == {}
    commands = load(builtin_model_folder(BuiltinName.COMMANDS))
    assert upstream_loop.upstream_settings(commands, widened=True, word_timestamps=True) == {"dtype": mx.float32}


def test_the_order_is_told_in_the_names_of_its_file() -> None:
    order = UpstreamOrder(model="/m", clips={"0": "/a.wav"}, word_timestamps=True)
    told = json.loads(order.model_dump_json(by_alias=True))
    assert UpstreamOrder.load(told) == order and told["wordTimestamps"] is True


def test_no_other_program_widens_a_model_or_loops_around_it() -> None:
    """A second widening differs sooner or later from the first, and then the sides of a comparison differ."""
    widening = {
        str(file.relative_to(ROOT))
        for folder in ("agent", "hack", "tests")
        for file in (ROOT / folder).rglob("*.py")
        for text in [file.read_text(encoding="utf-8")]
        if "mlx_audio" in text and (".set_dtype(" in text or ".dtype = mx." in text)
    }
    assert widening == {"agent/voxfleet_agent/engine/model_loading.py"} | {
        f"tests/component/engine/{name}.py" for name in ("test_model_loading", "test_upstream_loop")
    }
