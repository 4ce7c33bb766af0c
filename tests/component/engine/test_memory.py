"""The memory of a lane."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import psutil
import pytest

from voxfleet_agent import process_memory
from voxfleet_agent.engine import mlx_memory
from voxfleet_agent.engine.mlx_limits import MlxLimits
from voxfleet_agent.engine.transcriber import MlxTranscriber
from voxfleet_agent.lanes.child_environment import child_environment
from voxfleet_dev.mac import agent_environment

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
    mlx_memory.set_limits(MlxLimits(memory_bytes=4096 * MIB, cache_bytes=256 * MIB))
    array = mx.ones((32 * MIB // 4,))
    mx.eval(array + 1)
    del array
    assert mlx_memory.cached_bytes() == mx.get_cache_memory() > 0
    mlx_memory.clear_cache()
    assert mx.get_cache_memory() == 0
    mlx_memory.set_limits(MlxLimits(memory_bytes=4096 * MIB, cache_bytes=0))
    array = mx.ones((32 * MIB // 4,))
    mx.eval(array + 1)
    del array
    assert mx.get_cache_memory() == 0
    mlx_memory.set_limits(MlxLimits(memory_bytes=4096 * MIB, cache_bytes=256 * MIB))


def test_mlx_is_told_its_limits() -> None:
    mlx_memory.set_limits(MlxLimits(memory_bytes=777 * MIB, cache_bytes=33 * MIB))
    assert mx.get_memory_limit() == 777 * MIB
    assert mx.set_cache_limit(256 * MIB) == 33 * MIB
    mx.set_memory_limit(4096 * MIB)


class Metal:
    """MLX as it answers on a Mac, as far as `set_limits` looks."""

    def __init__(self, recommended_bytes: int) -> None:
        self.told: dict[str, int] = {}
        self.metal = self
        self._recommended_bytes = recommended_bytes

    def is_available(self) -> bool:
        return True

    def device_info(self) -> dict[str, int]:
        return {"max_recommended_working_set_size": self._recommended_bytes}

    def set_memory_limit(self, limit: int) -> None:
        self.told["memory"] = limit

    def set_cache_limit(self, limit: int) -> None:
        self.told["cache"] = limit

    def set_wired_limit(self, limit: int) -> None:
        self.told["wired"] = limit


@pytest.mark.parametrize(("recommended_bytes", "wired_bytes"), [(900 * MIB, 777 * MIB), (500 * MIB, 500 * MIB)])
def test_metal_wires_no_more_than_the_device_recommends(
    recommended_bytes: int, wired_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    metal = Metal(recommended_bytes)
    monkeypatch.setattr(mlx_memory, "mx", metal)
    mlx_memory.set_limits(MlxLimits(memory_bytes=777 * MIB, cache_bytes=33 * MIB))
    assert metal.told == {"memory": 777 * MIB, "cache": 33 * MIB, "wired": wired_bytes}


def test_the_structure_of_macos_has_the_offsets_of_its_header() -> None:
    """Counted from bsd/sys/resource.h: a uuid of 16 bytes, then fields of 8 bytes."""
    v4 = process_memory.RusageInfoV4
    assert (v4.phys_footprint.offset, v4.proc_exit_abstime.offset) == (16 + 7 * 8, 16 + 9 * 8)
    assert (v4.child_elapsed_abstime.offset, v4.diskio_byteswritten.offset) == (136, 152)
    assert (v4.serviced_system_time.offset, v4.logical_writes.offset) == (224, 232)
    assert (v4.lifetime_max_phys_footprint.offset, v4.runnable_time.offset) == (240, 288)
    assert ctypes.sizeof(v4) == 296


def test_the_metal_peak_is_none_without_metal() -> None:
    mlx_memory.reset_metal_peak()
    assert (mlx_memory.metal_peak_bytes() is None) is not mx.metal.is_available()


def test_work_is_what_was_taken_and_given_back() -> None:
    held = mx.ones((32 * MIB // 4,))
    mx.eval(held)
    mlx_memory.reset_metal_peak()
    mx.eval(mx.sum(held + 1))
    assert 32 * MIB <= mlx_memory.work_bytes() < 48 * MIB


WHISPER_WORK = """
import sys
from pathlib import Path
from voxfleet_agent.engine import mlx_memory
from voxfleet_agent.engine.transcriber import MlxTranscriber
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.kinds.job_task import Transcription

model = MlxTranscriber(Path(sys.argv[1]), Transcription(), Timestamps.NONE)
mlx_memory.reset_metal_peak()
model.warm_up()
print(mlx_memory.work_bytes())
"""


def test_whisper_takes_its_work_for_a_second_of_silence(whisper_folder: Path, tmp_path: Path) -> None:
    """It pads every clip to 30 s: a cap that has room for the model alone has none for a clip."""
    told = subprocess.run(
        [sys.executable, "-c", WHISPER_WORK, str(whisper_folder)],
        env=child_environment({**os.environ, **agent_environment()}, tmp_path),
        stdout=subprocess.PIPE,
        check=True,
    )
    assert 40 * MIB < int(told.stdout) < 400 * MIB  # 106 MiB in float32


def test_parameters_are_counted_through_lists_and_dicts() -> None:
    tree = {"a": mx.zeros((2, 3)), "layers": [{"w": mx.zeros(4)}, {"w": mx.zeros(5)}], "name": "x"}
    assert mlx_memory.count_parameters(tree) == 15


def test_many_durations_leave_nothing_behind(default_model: MlxTranscriber) -> None:
    """A small version of the benchmark of 200: further lengths take no more than the limit of the cache."""
    generator = np.random.default_rng(5)

    def hear(count: int, longest_seconds: float) -> None:
        for seconds in np.linspace(0.3, longest_seconds, count):
            default_model.transcribe([generator.standard_normal(int(seconds * 16_000)).astype(np.float32)])

    mlx_memory.set_limits(MlxLimits(memory_bytes=4096 * MIB, cache_bytes=64 * MIB))
    hear(12, 6.0)
    before = mlx_memory.footprint_bytes()
    hear(60, 5.9)
    assert mlx_memory.cached_bytes() <= 64 * MIB
    assert mlx_memory.footprint_bytes() - before < (64 + 12) * MIB
