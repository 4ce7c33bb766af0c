"""Measures the six headline rows of mlx-audio-io on this machine, and librosa and soundfile for comparison.

The rows, the input (194.8 s, stereo, 44.1 kHz, PCM16), 3 warm-ups and 20 runs follow mlx-audio-io's own
docs/benchmarking.md. A seventh row repeats the resampling at a fixed quality, because `default` differs between
platforms. The libraries take turns within each run, so that drift of the machine favours none of them.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import mlx.core as mx
import mlx_audio_io  # type: ignore[import-untyped] # it ships no types
import numpy as np
import numpy.typing as npt

SECONDS = 194.8
RATE_HZ = 44_100
WARM_UPS = 3
RUNS = 20
TARGET_HZ = 16_000
OFFSET_SECONDS, PART_SECONDS = 2.0, 1.0
OURS = "mlx-audio-io"
PEERS = ("librosa", "soundfile")

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class BenchmarkTiming:
    p50_milliseconds: float
    p90_milliseconds: float


@dataclass(frozen=True, slots=True)
class BenchmarkRow:
    task: str
    timings: Mapping[str, BenchmarkTiming | None]
    """The timing by library; None when it has no such call or its call fails on this machine."""
    failures: Mapping[str, str]
    """Why the call failed, by library."""

    def times_faster(self, peer: str) -> float | None:
        """The peer's p50 divided by that of mlx-audio-io."""
        ours, theirs = self.timings[OURS], self.timings.get(peer)
        return None if ours is None or theirs is None else theirs.p50_milliseconds / ours.p50_milliseconds


@dataclass(frozen=True, slots=True)
class _Inputs:
    wav: Path
    mp3: Path
    m4a: Path
    saved: Path
    samples: npt.NDArray[np.float32]
    """(frames, 2)."""


def missing_peers() -> tuple[str, ...]:
    return tuple(name for name in PEERS if find_spec(name) is None)


def versions() -> dict[str, str]:
    return {name: version(name) for name in (OURS, "mlx", "numpy", *PEERS)}


def run_benchmark(folder: Path, seconds: float = SECONDS, runs: int = RUNS) -> Iterator[BenchmarkRow]:
    """Yields one row at a time. Writes files, about 1 MB per second of audio, into `folder`.

    Raises ImportError without the peers.
    """
    inputs = _make_inputs(folder, seconds)
    for task, calls in _tasks(inputs).items():
        failures = {name: reason for name, call in calls.items() if (reason := _failure(call)) is not None}
        times = _take_turns({name: call for name, call in calls.items() if name not in failures}, runs)
        yield BenchmarkRow(task, {name: _timing(times.get(name)) for name in (OURS, *PEERS)}, failures)


def _make_inputs(folder: Path, seconds: float) -> _Inputs:
    frames = round(seconds * RATE_HZ)
    noise = np.random.default_rng(1)
    at = np.arange(frames, dtype=np.float32)[:, None] / RATE_HZ
    tones = 0.3 * np.sin(2 * np.pi * np.array([220.0, 330.0], dtype=np.float32) * at)
    samples = (tones + 0.02 * noise.standard_normal((frames, 2))).astype(np.float32)
    inputs = _Inputs(folder / "in.wav", folder / "in.mp3", folder / "in.m4a", folder / "saved.wav", samples)
    soundfile = import_module("soundfile")
    soundfile.write(inputs.wav, samples, RATE_HZ, subtype="PCM_16")
    soundfile.write(inputs.mp3, samples, RATE_HZ, format="MP3")  # libsndfile has an MP3 encoder, macOS has none
    mlx_audio_io.save(str(inputs.m4a), mx.array(samples), RATE_HZ)
    return inputs


def _tasks(inputs: _Inputs) -> dict[str, dict[str, Call]]:
    librosa, soundfile = import_module("librosa"), import_module("soundfile")
    wav, mp3, m4a = str(inputs.wav), str(inputs.mp3), str(inputs.m4a)
    array = mx.array(inputs.samples)
    mx.eval(array)

    def ours(path: str, **options: object) -> Call:
        return lambda: mx.eval(mlx_audio_io.load(path, **options)[0])

    def by_librosa(path: str, **options: object) -> Call:
        return lambda: librosa.load(path, **{"sr": None, "mono": False, **options})

    def by_soundfile(path: str, **options: object) -> Call:
        return lambda: soundfile.read(path, dtype="float32", **options)

    part = {"offset": OFFSET_SECONDS, "duration": PART_SECONDS}
    frames = {"start": round(OFFSET_SECONDS * RATE_HZ), "frames": round(PART_SECONDS * RATE_HZ)}
    to = f"Load + resample to {TARGET_HZ // 1000} kHz"
    return {
        "Full load (native rate)": {OURS: ours(wav), "librosa": by_librosa(wav), "soundfile": by_soundfile(wav)},
        f"{to}, default": {OURS: ours(wav, sr=TARGET_HZ), "librosa": by_librosa(wav, sr=TARGET_HZ)},
        "Partial load (offset 2 s, 1 s)": {
            OURS: ours(wav, **part),
            "librosa": by_librosa(wav, **part),
            "soundfile": by_soundfile(wav, **frames),
        },
        "Save WAV (float32)": {
            OURS: lambda: mlx_audio_io.save(str(inputs.saved), array, RATE_HZ, encoding="float32"),
            "soundfile": lambda: soundfile.write(inputs.saved, inputs.samples, RATE_HZ, subtype="FLOAT"),
        },
        "MP3 load (native rate)": {OURS: ours(mp3), "librosa": by_librosa(mp3), "soundfile": by_soundfile(mp3)},
        "M4A/AAC load": {OURS: ours(m4a), "librosa": by_librosa(m4a)},
        f"{to}, soxr_hq": {
            OURS: ours(wav, sr=TARGET_HZ, resample_quality="soxr_hq"),
            "librosa": by_librosa(wav, sr=TARGET_HZ, res_type="soxr_hq"),
        },
    }


def _take_turns(calls: Mapping[str, Call], runs: int) -> dict[str, list[float]]:
    """Milliseconds of each run, by library; each library goes first in turn."""
    names = list(calls)
    times: dict[str, list[float]] = {name: [] for name in names}
    for run in range(WARM_UPS - 1 + runs):
        first = run % len(names) if names else 0
        for name in (*names[first:], *names[:first]):
            times[name].append(_milliseconds(calls[name]))
    return {name: measured[WARM_UPS - 1 :] for name, measured in times.items()}


def _failure(call: Call) -> str | None:
    """Makes the first warm-up call; returns why it failed, or None."""
    try:
        _milliseconds(call)
    except Exception as error:  # noqa: BLE001 - a library may raise anything; the table reports the failure
        return f"{type(error).__name__}: {error}".rstrip(": ")
    return None


def _milliseconds(call: Call) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # librosa warns whenever it falls back to another decoder
        started = time.perf_counter()
        call()
        return (time.perf_counter() - started) * 1000


def _timing(times: Sequence[float] | None) -> BenchmarkTiming | None:
    if not times:
        return None
    p50, p90 = np.percentile(times, [50, 90])
    return BenchmarkTiming(float(p50), float(p90))
