"""A twin shares the weights of its model and has a state of its own."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.nn.layers.linear import Linear

from voxfleet_agent.engine.model_twin import twin_of
from voxfleet_agent.engine.random_choices import RandomChoices


class Codec(Module):
    """Keeps the state of a stream, as codecs of mlx-audio do: in an array, in a cache and in a list."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # mlx types only a part of itself
        self.layer = Linear(2, 2)
        self.kept = mx.zeros(2)
        self._cache: list[mx.array] = [mx.zeros(2)]

    def __call__(self, x: mx.array) -> mx.array:
        out: mx.array = self.layer(x)
        return out

    def step(self, x: mx.array) -> mx.array:
        self.kept = self.kept + x
        self._cache[0][:] = self._cache[0] + x
        return self.kept + self._cache[0]


class Speaker(Module):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # mlx types only a part of itself
        self.codec = Codec()
        self.compiled: Any = mx.compile(Codec())
        self.bound = self.codec.step


Codec.__module__ = Speaker.__module__ = "mlx_audio.tts.models.test"


def test_a_stream_of_the_twin_leaves_the_model_alone() -> None:
    model = Speaker()
    one = mx.ones(2)
    twin = twin_of(model)
    for _ in range(3):
        twin.codec.step(one)
        twin.compiled.step(one)
        twin.bound(one)
    assert twin.codec.kept.tolist() == [6.0, 6.0], "its bound method is its own"
    assert model.codec.step(one).tolist() == [2.0, 2.0]
    assert model.compiled.step(one).tolist() == [2.0, 2.0]
    assert twin.codec.layer.weight is model.codec.layer.weight
    assert mx.array_equal(twin.compiled(one), model.compiled(one))


def test_streams_of_random_choices_do_not_notice_each_other() -> None:
    mx.random.seed(7)
    alone = [mx.random.uniform().item() for _ in range(3)]
    streams = RandomChoices(7), RandomChoices(7)
    mx.random.seed(1)
    around = [mx.random.uniform().item() for _ in range(2)]
    mx.random.seed(1)
    drawn: list[list[object]] = [[], []]
    for _ in range(3):
        for stream, found in zip(streams, drawn, strict=True):
            with stream.drawn():
                found.append(mx.random.uniform().item())
    assert drawn == [alone, alone]
    assert [mx.random.uniform().item() for _ in range(2)] == around
