"""Loads a model's files through mlx-audio, and decides what it computes in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten

from voxfleet_agent.engine.compute_dtype import dtype_rule, keeps_own_dtype

_HALVES = (mx.float16, mx.bfloat16)


def load_model(load: Callable[..., Any], folder: Path) -> Any:
    """The model in `folder`, in memory. `load`: that of mlx_audio.stt or mlx_audio.tts. Raises whatever it raises."""
    # Lazily, so that weights which are widened never lie in memory twice. A Path, because mlx-audio treats a str as the
    # name of a hub model when the folder is missing.
    model = load(folder, lazy=True)
    rule = dtype_rule(metal=mx.default_device() == mx.Device(mx.gpu))
    if not keeps_own_dtype(family_of(model), rule):
        _widen(model)
    mx.eval(model.parameters())
    return model


def family_of(model: object) -> str:
    """mlx-audio's name for the kind of model."""
    return type(model).__module__.split(".")[3]


def dtype_of(model: nn.Module) -> str:
    """The types of the model's floating-point weights, such as `float16` or `bfloat16+float32`."""
    return "+".join(sorted({str(array.dtype).removeprefix("mlx.core.") for array in _floating(model)}))


def _floating(model: nn.Module) -> Iterator[mx.array]:
    for _, array in tree_flatten(model.parameters()):
        if mx.issubdtype(array.dtype, mx.floating):
            yield array


def _widen(model: nn.Module) -> None:
    """Makes the model compute in float32; its weights keep their values, and quantized ones stay packed."""
    for module in model.modules():
        # A module's items are all of its arrays, also those that `parameters` leaves out, such as Whisper's positions.
        for name, value in list(module.items()):
            if isinstance(value, mx.array) and value.dtype in _HALVES:
                module[name] = value.astype(mx.float32)
        own = vars(module).get("dtype")  # what the model casts its input to
        if isinstance(own, mx.Dtype) and own in _HALVES:
            module.dtype = mx.float32
