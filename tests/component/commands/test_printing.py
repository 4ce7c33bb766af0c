"""Tables are complete when another program reads them, however wide the user's terminal is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.rig.agent_config import write_agent_config
from tests.unit.agent.ladder.paper_lane import MIB
from tests.unit.agent.ladder.test_knees import make_table, make_tiers
from typer.testing import CliRunner

from voxfleet_agent.ladder.ladder_book import LadderFiles
from voxfleet_agent.main import app

LONG = "a-folder-with-a-very-long-name-" * 6


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_agent_config(tmp_path, scratch=tmp_path / LONG[:180])


def piped(*words: str | Path) -> list[str]:
    ended = subprocess.run(
        [sys.executable, "-m", "voxfleet_agent", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "40"},
        timeout=60,
    )
    return ended.stdout.splitlines()


def keep_clip(config: Path) -> Path:
    """Writes a retained clip as the quarantine stores it, with markup in its names."""
    scratch = Path(yaml.safe_load(config.read_text())["scratch"]["path"])
    folder = scratch / "quarantine" / "speech" / "[bold]job-0f5b6a3e" / "7-DecodeError"
    folder.mkdir(parents=True)
    (folder / "kept.json").write_text(
        json.dumps({"keptAt": "2026-11-20T22:00:00.000Z", "expiresAt": "2030-11-20T22:00:00.000Z"})
    )
    return folder


def test_a_piped_list_holds_complete_folders_and_names(config: Path) -> None:
    folder = keep_clip(config)
    line = next(line for line in piped("quarantine", "list", "-c", config) if "DecodeError" in line)
    assert str(folder) in line and "speech/[bold]job-0f5b6a3e" in line


def test_a_piped_ladder_has_every_column(config: Path, tmp_path: Path) -> None:
    table = make_table(make_tiers(500, 100, peaks=[100 * MIB * size for size in range(1, 9)]), 300 * MIB)
    LadderFiles(tmp_path / "state" / "ladders").put("0" * 64, table)
    third = next(line for line in piped("ladder", "-c", config) if line.lstrip("│ ").startswith("3 "))
    assert "used, memory knee" in third


@pytest.mark.parametrize("name", ["x.pdf", "x", "no/such/folder/x.png"])
def test_a_picture_that_cannot_be_written_is_refused_before_anything_is_shown(
    config: Path, tmp_path: Path, name: str
) -> None:
    table = make_table(make_tiers(500, 100, peaks=[100 * MIB * size for size in range(1, 9)]), 300 * MIB)
    LadderFiles(tmp_path / "state" / "ladders").put("0" * 64, table)
    refused = CliRunner().invoke(app, ["ladder", "-c", str(config), "--plot", str(tmp_path / name)])
    assert refused.exit_code == 2 and not refused.stdout
    assert (".png or .svg" if "." not in name or name.endswith("pdf") else "does not exist") in refused.stderr
