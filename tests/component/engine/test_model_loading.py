"""How models are loaded: whole or not at all, and in which type of number they compute, whatever their files hold."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import mlx_audio.utils  # type: ignore[import-untyped] # it ships no types
import numpy as np
import numpy.typing as npt
import pytest
from mlx.nn.layers.linear import Linear

from voxfleet_agent.engine.compute_dtype import FLOAT32, OWN, PACKED_FAMILIES, dtype_rule, keeps_own_dtype
from voxfleet_agent.engine.loaded_parts import problems
from voxfleet_agent.engine.model_loading import dtype_of, load_model
from voxfleet_agent.engine.synthesizer import MlxSynthesizer
from voxfleet_agent.engine.transcriber import MlxTranscriber
from voxfleet_api.failures import FailureClass, VoxFleetError
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
    weights = mx.load(str(folder / WEIGHTS))
    assert isinstance(weights, dict)
    weights = change(weights)
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


@pytest.mark.skipif(mx.metal.is_available(), reason="with Metal a model keeps its own type")
def test_a_synthesizer_speaks_in_float32_on_a_cpu(tiny: Tiny, tmp_path: Path) -> None:
    spoken = []
    for folder in halved(tiny("pocket_tts"), tmp_path, mx.float16):
        model = MlxSynthesizer(folder, Synthesis(voice="anna"))
        assert model.dtype == FLOAT32
        spoken.append(np.concatenate(list(model.synthesize("one"))))
    np.testing.assert_array_equal(spoken[0], spoken[1])


def test_a_model_keeps_its_own_type_with_metal_and_where_its_kernels_need_it() -> None:
    assert (dtype_rule(metal=True), dtype_rule(metal=False)) == (OWN, FLOAT32)
    assert keeps_own_dtype("whisper", OWN) and not keeps_own_dtype("whisper", FLOAT32)
    assert all(keeps_own_dtype(family, FLOAT32) for family in PACKED_FAMILIES)


def test_a_model_inside_another_object_is_widened_too() -> None:
    """As those of qwen3_asr, mega_asr and phonon are."""
    inside = Linear(2, 2)
    inside.set_dtype(mx.bfloat16)

    def parameters() -> dict[str, mx.array]:
        return dict(inside.parameters())  # type: ignore[no-untyped-call] # mlx types only a part of itself

    class Model:
        def __init__(self) -> None:
            self._model = inside

        def parameters(self) -> dict[str, mx.array]:
            return parameters()

    Model.__module__ = "mlx_audio.stt.models.outside"

    def load(folder: Path, **settings: object) -> Model:
        mlx_audio.utils.apply_quantization(Model(), {}, {})
        inside.update({name: mx.array(array) for name, array in parameters().items()})
        return Model()

    model = load_model(load, Path("/nowhere"))
    expected = "bfloat16" if mx.metal.is_available() else FLOAT32
    assert dtype_of(model) == expected and str(inside.weight.dtype) == f"mlx.core.{expected}"


def loaded(folder: Path, family: str) -> MlxTranscriber | MlxSynthesizer:
    if family == "pocket_tts":
        return MlxSynthesizer(folder, Synthesis(voice="anna"))
    return MlxTranscriber(folder, Transcription(), Timestamps.NONE)


def refusal(folder: Path, family: str) -> str:
    """Why the model in `folder` is refused."""
    with pytest.raises(VoxFleetError) as raised:
        loaded(folder, family)
    assert raised.value.failure_class is FailureClass.MODEL_UNAVAILABLE
    return raised.value.message


@pytest.mark.parametrize("family", ["granite_speech5_ctc", "pocket_tts", "sensevoice", "whisper"])
def test_a_model_that_lacks_tensors_is_refused_and_they_are_named(family: str, tiny: Tiny, tmp_path: Path) -> None:
    lost: list[str] = []

    def without_some(weights: dict[str, mx.array]) -> dict[str, mx.array]:
        lost.extend(sorted(weights)[::20][:2])
        return {name: array for name, array in weights.items() if name not in lost}

    message = refusal(rewritten(tiny(family), tmp_path / "model", without_some), family)
    assert f"no file holds {len(lost)} tensors" in message and str(tmp_path / "model") in message
    assert all(name.rpartition(".")[2] in message for name in lost) and "get its files again" in message


def test_many_missing_tensors_are_counted_and_the_first_are_named() -> None:
    (found,) = problems("any", unfilled=["a", "b", "c", "d", "e"], given=(), expected=(), absent=())
    assert found == "no file holds 5 tensors (a, b, c and 2 more)"


def test_what_a_family_computes_itself_may_be_missing() -> None:
    for family, name in (
        ("fireredasr2", "encoder.positional_encoding.pe"),
        ("cohere_asr", "transf_decoder.embedding.position_embedding.pos_enc"),
        ("chatterbox", "s3gen.flow.rand_noise"),
    ):
        assert problems(family, unfilled=[name], given=(), expected=[name], absent=()) == []
        assert problems("whisper", unfilled=[name], given=(), expected=[name], absent=()) != []


def test_a_model_with_more_layers_than_its_config_announces_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    def longer(weights: dict[str, mx.array]) -> dict[str, mx.array]:
        return weights | {f"decoder.blocks.{number}.mlp1.bias": mx.zeros((64,)) for number in (2, 3)}

    message = refusal(rewritten(tiny("whisper"), tmp_path / "model", longer), "whisper")
    assert "fewer layers" in message and "2 tensors (decoder.blocks.2.mlp1.bias, decoder.blocks.3.mlp1.bias)" in message


def test_tensors_that_a_model_has_no_use_for_do_no_harm(tiny: Tiny, tmp_path: Path) -> None:
    def with_another(weights: dict[str, mx.array]) -> dict[str, mx.array]:
        return weights | {"proj_out.weight": mx.zeros((2,))}

    for family in ("whisper", "pocket_tts"):
        assert loaded(rewritten(tiny(family), tmp_path / family, with_another), family).family == family


@pytest.mark.filterwarnings("ignore:Could not load WhisperProcessor")
@pytest.mark.parametrize(
    ("family", "file"),
    [
        ("moonshine", "tokenizer.json"),
        ("sensevoice", "tokens.json"),
        ("whisper", "preprocessor_config.json"),
        ("whisper", "tokenizer.json"),
    ],
)
def test_a_model_without_its_tokenizer_or_preprocessor_is_refused(
    family: str, file: str, tiny: Tiny, tmp_path: Path
) -> None:
    folder = copied(tiny(family), tmp_path / "model")
    (folder / file).unlink()
    message = refusal(folder, family)
    assert "its tokenizer or preprocessor could not be read from" in message and file in message


def test_a_whisper_whose_tokenizer_lacks_the_tokens_of_times_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    folder = copied(tiny("whisper"), tmp_path / "model")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if "." not in token["content"]]
    tokenizer["model"]["vocab"] = {word: at for word, at in tokenizer["model"]["vocab"].items() if "." not in word[1:]}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert "tokenizer.json" in refusal(folder, "whisper")


def test_an_index_explains_missing_tensors_and_refuses_no_whole_model(tiny: Tiny, tmp_path: Path) -> None:
    index = json.dumps({"weight_map": {"a": WEIGHTS, "b": "model-00002-of-00002.safetensors"}})
    whole = copied(tiny("whisper"), tmp_path / "whole")
    (whole / f"{WEIGHTS}.index.json").write_text(index)
    assert loaded(whole, "whisper").family == "whisper"

    def without_one(weights: dict[str, mx.array]) -> dict[str, mx.array]:
        return {name: array for name, array in weights.items() if name != "decoder.ln.weight"}

    lacking = rewritten(tiny("whisper"), tmp_path / "lacking", without_one)
    (lacking / f"{WEIGHTS}.index.json").write_text(index)
    message = refusal(lacking, "whisper")
    assert "no file holds 1 tensor (decoder.ln.weight)" in message
    assert "its index names files that are missing: model-00002-of-00002.safetensors" in message
