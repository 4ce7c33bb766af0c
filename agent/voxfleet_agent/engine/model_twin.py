"""A second model that shares the weights of the first and has a state of its own.

mlx-audio's models keep the state of a running stream in themselves: pocket_tts in its codec, qwen3_tts in its speech
tokenizer. Two streams of one model, a chunk of the one and then a chunk of the other, corrupt each other. So each
stream gets a twin. Weights are arrays that nobody writes to, and are shared; all other arrays are copied, because
caches are written in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MethodType
from typing import Protocol, TypeVar

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.utils import tree_flatten

_COPIED_PACKAGES = ("mlx_audio", "mlx_lm", "mlx.nn")
"""Objects of their classes are copied; others, such as tokenizers and compiled functions, keep no state of a stream."""


class _Model(Protocol):
    def parameters(self) -> Mapping[str, object]: ...


M = TypeVar("M", bound=_Model)
T = TypeVar("T")


def twin_of(model: M) -> M:
    """A twin, with the state that the model has now."""
    weights: dict[str, mx.array] = tree_flatten(dict(model.parameters()), destination={})  # type: ignore[assignment] # mlx types the form without a destination, too
    known: dict[int, object] = {id(array): array for array in weights.values()}
    return _Twins(known).copied(model)


class _Twins:
    def __init__(self, known: dict[int, object]) -> None:
        """`known`: the copies by the identity of their originals; a weight is its own."""
        self._known = known
        self._originals: list[object] = []
        """Kept, so that no identity is given to another object meanwhile."""

    def copied(self, original: T) -> T:
        if id(original) in self._known:
            return self._known[id(original)]  # type: ignore[return-value] # a copy has the type of its original
        return self._new(original)  # type: ignore[return-value] # as above

    def _new(self, original: object) -> object:
        match original:
            case mx.array():
                return self._remembered(original, mx.array(original))
            case MethodType():
                return self._remembered(original, MethodType(original.__func__, self.copied(original.__self__)))
            case tuple() if type(original) is tuple:
                return self._remembered(original, tuple(map(self.copied, original)))
            case list() if type(original) is list:
                found: list[object] = []
                self._remembered(original, found)
                found.extend(map(self.copied, original))
                return found
            case dict() if type(original) is dict:
                table: dict[object, object] = {}
                self._remembered(original, table)
                table.update((key, self.copied(value)) for key, value in original.items())
                return table
            case _ if (module := _compiled_module(original)) is not None:
                return self._remembered(original, mx.compile(self.copied(module)))
            case _ if type(original).__module__.startswith(_COPIED_PACKAGES) and hasattr(original, "__dict__"):
                return self._object(original)
        return original

    def _object(self, original: object) -> object:
        twin = object.__new__(type(original)) if not isinstance(original, dict) else dict.__new__(type(original))
        self._remembered(original, twin)
        if isinstance(original, dict) and isinstance(twin, dict):  # a module keeps its parts and arrays as a dict
            dict.update(twin, {key: self.copied(value) for key, value in original.items()})
        twin.__dict__.update({name: self.copied(value) for name, value in vars(original).items()})
        return twin

    def _remembered(self, original: object, twin: T) -> T:
        self._known[id(original)] = twin
        self._originals.append(original)
        return twin


def _compiled_module(value: object) -> Module | None:
    """The module that `mx.compile` was given: what it makes answers for it, down to `isinstance`."""
    if issubclass(type(value), Module):
        return None
    owner = getattr(getattr(value, "children", None), "__self__", None)
    return owner if isinstance(owner, Module) else None
