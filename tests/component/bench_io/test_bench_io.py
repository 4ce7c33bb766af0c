"""`voxfleet-agent bench io`: the headline rows of mlx-audio-io, rerun here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec

import pytest
from typer.testing import CliRunner

from voxfleet_agent.audio import io_benchmark
from voxfleet_agent.audio.io_benchmark import OURS, BenchmarkRow, BenchmarkTiming
from voxfleet_agent.main import app

ROWS = (
    "Full load (native rate)",
    "Load + resample to 16 kHz, default",
    "Partial load (offset 2 s, 1 s)",
    "Save WAV (float32)",
    "MP3 load (native rate)",
    "M4A/AAC load",
    "Load + resample to 16 kHz, soxr_hq",
)


def test_a_missing_library_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io_benchmark, "PEERS", ("no_such_library",))
    result = CliRunner().invoke(app, ["bench", "io"])
    assert result.exit_code == 2
    assert "no_such_library cannot be imported; run: python -m pip install 'librosa" in result.stderr


def test_a_row_compares_medians_and_leaves_out_what_failed() -> None:
    timings: Mapping[str, BenchmarkTiming | None] = {
        OURS: BenchmarkTiming(2, 9),
        "librosa": BenchmarkTiming(7, 8),
        "soundfile": None,
    }
    row = BenchmarkRow("x", timings, {"soundfile": "OSError"})
    assert row.times_faster("librosa") == 3.5
    assert row.times_faster("soundfile") is None


@pytest.mark.soak
def test_every_headline_row_is_measured() -> None:
    """With the dependency group `bench`; without it there is nothing to compare with."""
    if any(find_spec(name) is None for name in io_benchmark.PEERS):
        pytest.fail("librosa and soundfile are not installed; run: uv pip install --group bench")
    result = CliRunner().invoke(app, ["bench", "io", "--seconds", "4", "--runs", "2", "-o", "json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert [row["task"] for row in told["rows"]] == list(ROWS)
    for row in told["rows"]:
        timing = row["timings"][OURS]
        assert 0 < timing["p50Milliseconds"] <= timing["p90Milliseconds"]
    full = told["rows"][0]
    assert full["failures"] == {}
    assert set(full["timesFaster"]) == {"librosa", "soundfile"}
    assert told["input"].startswith("4 s, stereo, 44.1 kHz")
    assert set(told["versions"]) >= {"mlx-audio-io", "mlx", "librosa", "soundfile", "machine"}
