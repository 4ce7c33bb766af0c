"""How models are loaded: in which type of number they compute, whatever their files hold."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest

from voxfleet_agent.engine.compute_dtype import FLOAT32, OWN, PACKED_FAMILIES, dtype_rule, keeps_own_dtype
from voxfleet_agent.engine.synthesizer import MlxSynthesizer
from voxfleet_agent.engine.transcriber import MlxTranscriber
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.kinds.job_task import Synthesis, Transcription

Samples = npt.NDArray[np.float32]
Tiny = Callable[[str], Path]
WEIGHTS = "model.safetensors"


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


def rewritten(folder: Path, to: Path, change: Callable[[dict[str, mx.array]], dict[str, mx.array]]) -> Path:
    """A copy of the model in `folder` with other weights."""
    made = copied(folder, to)
    weights = change(dict(mx.load(str(folder / WEIGHTS)).items()))
    mx.save_safetensors(str(made / WEIGHTS), weights)
    return made


def halved(folder: Path, to: Path, dtype: mx.Dtype) -> tuple[Path, Path]:
    """Two copies of a model with the same values: stored as `dtype`, and stored as float32."""

    def narrow(weights: dict[str, mx.array]) -> dict[str, mx.array]:
        return {name: array.astype(dtype) for name, array in weights.items()}

    def rounded(weights: dict[str, mx.array]) -> dict[str, mx.array]:
        return {name: array.astype(mx.float32) for name, array in narrow(weights).items()}

    return rewritten(folder, to / "narrow", narrow), rewritten(folder, to / "rounded", rounded)


@pytest.mark.skipif(mx.metal.is_available(), reason="with Metal a model keeps its own type")
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("family", ["granite_speech5_ctc", "sensevoice", "moonshine"])
def test_a_cpu_computes_in_float32_and_gives_the_texts_of_the_same_weights_in_float32(
    family: str, dtype: mx.Dtype, tiny: Tiny, tmp_path: Path, examples: dict[str, tuple[Samples, str]]
) -> None:
    budget = Transcription(max_tokens=16) if family == "moonshine" else Transcription()
    clip = next(iter(examples.values()))[0]
    narrow, rounded = (
        MlxTranscriber(folder, budget, Timestamps.NONE) for folder in halved(tiny(family), tmp_path, dtype)
    )
    assert (narrow.dtype, rounded.dtype) == (FLOAT32, FLOAT32)
    assert narrow.transcribe([clip]) == rounded.transcribe([clip])


@pytest.mark.skipif(mx.metal.is_available(), reason="with Metal a model keeps its own type")
def test_whisper_computes_in_float32_though_it_takes_float16_for_granted(tiny: Tiny) -> None:
    model = MlxTranscriber(tiny("whisper"), Transcription(max_tokens=16), Timestamps.NONE)
    assert model.dtype == FLOAT32
    features = model._model.encoder(mx.zeros((1, 3000, 80), mx.float32))
    assert features.dtype == mx.float32
    model.warm_up()  # it raises TypeError when its decoder expects the other type
    list(model.stream(np.zeros(16_000, np.float32)))


@pytest.mark.skipif(mx.metal.is_available(), reason="with Metal a model keeps its own type")
def test_a_synthesizer_speaks_in_float32_on_a_cpu(tiny: Tiny, tmp_path: Path) -> None:
    spoken = []
    for folder in halved(tiny("pocket_tts"), tmp_path, mx.float16):
        model = MlxSynthesizer(folder, Synthesis(voice="anna"))
        assert model.dtype == FLOAT32
        spoken.append(np.concatenate(list(model.synthesize("one"))))
    np.testing.assert_array_equal(*spoken)


def test_a_model_keeps_its_own_type_with_metal_and_where_its_kernels_need_it() -> None:
    assert (dtype_rule(metal=True), dtype_rule(metal=False)) == (OWN, FLOAT32)
    assert keeps_own_dtype("whisper", OWN) and not keeps_own_dtype("whisper", FLOAT32)
    assert all(keeps_own_dtype(family, FLOAT32) for family in PACKED_FAMILIES)
