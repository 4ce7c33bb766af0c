"""`voxfleet-agent bench mac`, as a person types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from voxfleet_dev.mac import agent_environment

EXAMPLES = Path(__file__).parents[3] / "examples" / "clips"
PATIENCE_SECONDS = 240.0


def bench_mac(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = agent_environment() | {"HOME": str(folder), "TMPDIR": str(folder), "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "voxfleet_agent", "bench", "mac", *arguments],
        env={**environment, "XDG_CACHE_HOME": str(folder / "cache"), "XDG_STATE_HOME": str(folder / "state")},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def test_one_file_tells_the_doctors_findings_the_ladder_and_the_comparison(tmp_path: Path) -> None:
    clips, report = tmp_path / "clips", tmp_path / "mac.html"
    clips.mkdir()
    for name in ("wav-16000-01.wav", "flac-22050-06.flac"):
        (clips / name).write_bytes((EXAMPLES / name).read_bytes())
    ended = bench_mac(tmp_path, str(clips), "-r", str(report), "--largest-batch", "1", "--minutes", "20")
    assert ended.returncode == 0, ended.stderr
    written = report.read_text()
    for expected in ("<h2>Doctor</h2>", "<h3>Ladder</h3>", "2 of 2 with a result", "2, 2 of them the same words"):
        assert expected in written
    assert [name for name in ("wav-16000", "flac-22050") if name in written] == []


def test_a_model_that_is_not_there_is_told_in_the_file(tmp_path: Path) -> None:
    clips, report = tmp_path / "clips", tmp_path / "mac.html"
    clips.mkdir()
    (clips / "one.wav").write_bytes((EXAMPLES / "wav-16000-01.wav").read_bytes())
    ended = bench_mac(tmp_path, str(clips), "-r", str(report), "--model", str(tmp_path / "nowhere"))
    assert ended.returncode == 1 and "ModelUnavailable" in ended.stderr
    written = report.read_text()
    assert "ModelUnavailable" in written
    assert str(tmp_path) not in written  # it is the home of this run


def test_a_folder_without_recordings_is_named(tmp_path: Path) -> None:
    ended = bench_mac(tmp_path, str(tmp_path))
    assert ended.returncode == 2 and "holds no recording" in ended.stderr
