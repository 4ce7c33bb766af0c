"""Loads a model's files through mlx-audio: whole or not at all, and computing in the type that suits the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import mlx.core as mx
import mlx_audio.utils  # type: ignore[import-untyped] # it ships no types
from mlx.nn.layers.base import Module
from mlx.utils import tree_flatten

from voxfleet_agent.engine.compute_dtype import dtype_rule, keeps_own_dtype
from voxfleet_agent.engine.loaded_parts import LEAST_TOKENS, PARTS, SPECIAL_TOKENS, missing_files, problems
from voxfleet_api.failures import FailureClass, VoxFleetError

_HALVES = (mx.float16, mx.bfloat16)


class _Model(Protocol):
    """A module of MLX, or an object around one."""

    def parameters(self) -> dict[str, Any]: ...


def load_model(load: Callable[..., Any], folder: Path) -> Any:
    """The model in `folder`, in memory. `load`: that of mlx_audio.stt or mlx_audio.tts.

    Raises VoxFleetError(MODEL_UNAVAILABLE) for a model that is not whole, and whatever the model's own code raises.
    """
    with _recorded_construction() as construction:
        # Lazily, so that weights which are widened never lie in memory twice. A Path, because mlx-audio treats a str as
        # the name of a hub model when the folder is missing. Not strictly, which for mlx-audio means that files may not
        # hold anything that the model does not use.
        model = load(folder, lazy=True, strict=False)
    _require_whole(model, folder, construction)
    suit_device(model)
    return model


def suit_device(model: Any) -> bool:
    """Makes a loaded model compute in what the rule of the device says. Returns whether it was widened to float32."""
    rule = dtype_rule(metal=mx.default_device() == mx.Device(mx.gpu))
    widened = not keeps_own_dtype(family_of(model), rule)
    if widened:
        _widen(model)
    mx.eval(model.parameters())
    return widened


def family_of(model: object) -> str:
    """mlx-audio's name for the kind of model."""
    return type(model).__module__.split(".")[3]


def dtype_of(model: _Model) -> str:
    """The types of the model's floating-point weights, such as `float16` or `bfloat16+float32`."""
    floating = (array.dtype for array in _parameters(model).values() if mx.issubdtype(array.dtype, mx.floating))
    return "+".join(sorted({str(dtype).removeprefix("mlx.core.") for dtype in floating}))


@dataclass(slots=True)
class _Construction:
    """A model between its construction and the reading of its files."""

    parameters: Mapping[str, mx.array] = field(default_factory=dict)
    given: tuple[str, ...] = ()
    """The tensors of its files, as the family names them."""


@contextmanager
def _recorded_construction() -> Iterator[_Construction]:
    """Records the model that mlx-audio makes, by standing in for what it calls before it fills it: there is no hook."""
    construction = _Construction()
    quantize = mlx_audio.utils.apply_quantization

    def recorded(model: _Model, config: object, weights: Mapping[str, mx.array], *others: object) -> None:
        quantize(model, config, weights, *others)
        if not construction.parameters:  # a part of the model may be loaded in the same way later
            construction.parameters, construction.given = _parameters(model), tuple(weights)

    mlx_audio.utils.apply_quantization = recorded
    try:
        yield construction
    finally:
        mlx_audio.utils.apply_quantization = quantize


def _require_whole(model: Any, folder: Path, construction: _Construction) -> None:
    if not construction.parameters:
        raise RuntimeError("mlx-audio loaded a model in a way that does not show whether it is whole")
    family = family_of(model)
    filled = _parameters(model)
    found = problems(
        family,
        # A parameter that was given a value is another object.
        unfilled=[name for name, array in filled.items() if construction.parameters.get(name) is array],
        given=construction.given,
        expected=filled,
        absent=[
            name
            for names in PARTS.get(family, {})
            for name in names
            if _is_empty(getattr(model, name, None), SPECIAL_TOKENS.get(family, ()))
        ],
        missing_files=missing_files(folder),
    )
    if found:
        raise _unavailable(folder, found)


def _is_empty(part: Any, special_tokens: tuple[str, ...]) -> bool:
    """Whether a tokenizer, or a processor around one, is missing or lacks its vocabulary."""
    get_vocabulary = getattr(getattr(part, "tokenizer", part), "get_vocab", None)
    if part is None or get_vocabulary is None:
        return part is None
    vocabulary = get_vocabulary()
    return len(vocabulary) < LEAST_TOKENS or not vocabulary.keys() >= set(special_tokens)


def _unavailable(folder: Path, found: list[str]) -> VoxFleetError:
    return VoxFleetError(
        FailureClass.MODEL_UNAVAILABLE,
        f"the model in {folder} is not whole: {'; '.join(found)}; get its files again",
    )


def _parameters(model: _Model) -> dict[str, mx.array]:
    return dict(tree_flatten(model.parameters()))


def _widen(model: object) -> None:
    """Makes the model compute in float32; its weights keep their values, and quantized ones stay packed."""
    for module in _modules(model):
        # A module's items are all of its arrays, also those that `parameters` leaves out, such as Whisper's positions.
        for name, value in list(module.items()):
            if isinstance(value, mx.array) and value.dtype in _HALVES:
                module[name] = value.astype(mx.float32)
        own = vars(module).get("dtype")  # what the model casts its input to
        if isinstance(own, mx.Dtype) and own in _HALVES:
            module.dtype = mx.float32


def _modules(model: object) -> Iterator[Module]:
    """All modules of a model, or of the object around it."""
    whole = [model] if isinstance(model, Module) else vars(model).values()
    for part in whole:
        if isinstance(part, Module):
            yield from part.modules()  # type: ignore[no-untyped-call] # mlx types only a part of itself
