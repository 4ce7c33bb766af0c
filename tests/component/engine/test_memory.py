"""The memory of a lane."""

from __future__ import annotations

import subprocess
import sys

import mlx.core as mx
import numpy as np
import psutil
import pytest

from voxfleet_agent.engine import mlx_memory
from voxfleet_agent.engine.transcriber import MlxTranscriber

MIB = 2**20


def test_the_footprint_grows_and_falls_with_what_is_held() -> None:
    before = mlx_memory.footprint_bytes()
    held = np.ones(64 * MIB, dtype=np.uint8)
    assert 60 * MIB < mlx_memory.footprint_bytes() - before < 80 * MIB
    del held
    assert mlx_memory.footprint_bytes() - before < 16 * MIB


def test_another_process_has_its_own_footprint() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert 0 < mlx_memory.footprint_bytes(child.pid) < mlx_memory.footprint_bytes()
    with pytest.raises(psutil.NoSuchProcess):
        mlx_memory.footprint_bytes(child.pid)


def test_the_cache_is_freed() -> None:
    mlx_memory.set_cache_limit(256 * MIB)
    array = mx.ones((32 * MIB // 4,))
    mx.eval(array + 1)
    del array
    assert mx.get_cache_memory() > 0
    mlx_memory.clear_cache()
    assert mx.get_cache_memory() == 0
    mlx_memory.set_cache_limit(0)
    array = mx.ones((32 * MIB // 4,))
    mx.eval(array + 1)
    del array
    assert mx.get_cache_memory() == 0
    mlx_memory.set_cache_limit(256 * MIB)


def test_the_metal_peak_is_none_without_metal() -> None:
    mlx_memory.reset_metal_peak()
    assert (mlx_memory.metal_peak_bytes() is None) is not mx.metal.is_available()


def test_parameters_are_counted_through_lists_and_dicts() -> None:
    tree = {"a": mx.zeros((2, 3)), "layers": [{"w": mx.zeros(4)}, {"w": mx.zeros(5)}], "name": "x"}
    assert mlx_memory.count_parameters(tree) == 15


def test_many_durations_leave_nothing_behind(default_model: MlxTranscriber) -> None:
    """A small version of the benchmark of 200: after the longest clip, further lengths take no more memory."""
    generator = np.random.default_rng(5)

    def hear(count: int, longest_seconds: float) -> None:
        for seconds in np.linspace(0.3, longest_seconds, count):
            default_model.transcribe([generator.standard_normal(int(seconds * 16_000)).astype(np.float32)])
            mlx_memory.clear_cache()

    hear(12, 6.0)
    before = mlx_memory.footprint_bytes()
    hear(60, 5.9)
    assert mlx_memory.footprint_bytes() - before < 12 * MIB
