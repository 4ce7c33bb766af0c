"""`voxfleet-agent ladder` over stored tables."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.rig.agent_config import write_agent_config
from tests.unit.agent.ladder.paper_lane import MIB
from tests.unit.agent.ladder.test_knees import make_table, make_tiers
from typer.testing import CliRunner, Result

from voxfleet_agent.ladder.ladder_book import LadderFiles
from voxfleet_agent.main import app
from voxfleet_api.ladder_table import LadderTable


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_agent_config(tmp_path)


def store(folder: Path, *tables: LadderTable) -> None:
    for number, table in enumerate(tables):
        LadderFiles(folder / "state" / "ladders").put(f"{number:064d}", table)


def of_model(letter: str) -> LadderTable:
    table = make_table(make_tiers(500, 100, peaks=[100 * MIB * size for size in range(1, 9)]), 300 * MIB)
    return table.model_copy(update={"model_digest": "sha256:" + letter * 64, "parameters": 1_000_000})


def ladder(config: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["ladder", "-c", str(config), *words])


def test_without_a_ladder_it_says_when_one_is_measured(config: Path) -> None:
    result = ladder(config)
    assert result.exit_code == 0
    assert "no ladder is stored" in result.output and "batching.ladder" in result.output
    assert json.loads(ladder(config, "-o", "json").output) == []


def test_the_table_shows_tiers_knees_and_why(config: Path, tmp_path: Path) -> None:
    store(tmp_path, of_model("a"))
    lines = ladder(config).output.splitlines()
    third = next(line for line in lines if line.lstrip("│ ").startswith("3 "))
    assert "300" in third and "used, memory knee" in third
    assert "over the cap" in next(line for line in lines if line.lstrip("│ ").startswith("4 "))
    why = "the throughput knee: the smallest within 5 % of the best throughput under the memory cap"
    assert f"3 is used, {why}." in lines


def test_a_model_that_does_not_batch_has_a_reason_and_no_table(config: Path, tmp_path: Path) -> None:
    alone = of_model("a").model_copy(update={"tiers": (), "chosen": 1, "family": "whisper"})
    store(tmp_path, alone)
    lines = ladder(config, "--plot", str(tmp_path / "none.png")).output.splitlines()
    why = "1 is used: a whisper model works on one clip at a time, so nothing was measured"
    assert f"{why}." in lines and not any("Batch" in line for line in lines)
    assert [table["why"] for table in json.loads(ladder(config, "-o", "json").output)] == [why]


def test_a_step_down_is_shown_with_its_reason(config: Path, tmp_path: Path) -> None:
    why = "the GPU gave up the lane's work"
    store(tmp_path, of_model("a").model_copy(update={"chosen": 1, "stepped_down_for": why}))
    explanation = f"1 is used and no longer 3, the throughput knee: a job had to step down, because {why}"
    lines = ladder(config).output.splitlines()
    assert f"{explanation}." in lines
    assert "used" in next(line for line in lines if line.lstrip("│ ").startswith("1 "))
    (described,) = json.loads(ladder(config, "-o", "json").output)
    assert (described["chosen"], described["why"]) == (1, explanation)


def test_json_holds_what_the_plot_shows(config: Path, tmp_path: Path) -> None:
    store(tmp_path, of_model("a"))
    (described,) = json.loads(ladder(config, "-o", "json").output)
    assert described["chosen"] == described["memoryKnee"] == 3
    assert described["why"].startswith("3 is used")
    first = described["tiers"][0]  # a clip of ten seconds in 600 ms
    assert first["realTimeFactor"] == 0.06
    assert first["audioSecondsPerSecond"] == 16.667
    assert first["scratchBytesPerMinute"] == 10_000_000
    assert first["multiplyAccumulatesPerSecondEstimate"] == 416_666_667


def test_a_ladder_that_cannot_be_read_is_reported_and_left_out(config: Path, tmp_path: Path) -> None:
    store(tmp_path, of_model("a"))
    (tmp_path / "state" / "ladders" / "broken.json").write_text("{")
    result = ladder(config, "-o", "json")
    assert len(json.loads(result.stdout)) == 1
    assert "broken.json" in result.stderr and "cannot be read" in result.stderr


def test_ladders_are_chosen_by_model(config: Path, tmp_path: Path) -> None:
    store(tmp_path, of_model("a"), of_model("b"))
    assert len(json.loads(ladder(config, "-o", "json").output)) == 2
    for prefix in ("bbb", "sha256:bb"):
        (described,) = json.loads(ladder(config, "-o", "json", "--model", prefix).output)
        assert described["modelDigest"] == "sha256:" + "b" * 64


def test_a_picture_that_cannot_be_drawn_is_an_error(config: Path, tmp_path: Path) -> None:
    assert ladder(config, "--plot", str(tmp_path / "x.png")).exit_code == 2  # nothing to draw
    store(tmp_path, of_model("a"))
    for name in ("x.pdf", "no/such/folder/x.png"):
        result = ladder(config, "--plot", str(tmp_path / name))
        assert result.exit_code == 2
        assert name in result.stderr


def test_without_matplotlib_only_the_picture_is_refused(config: Path, tmp_path: Path) -> None:
    store(tmp_path, of_model("a"))
    code = "import sys; sys.modules['matplotlib'] = None; from voxfleet_agent.main import main; main()"
    command = [sys.executable, "-c", code, "ladder", "-c", str(config)]
    drawn = subprocess.run([*command, "--plot", str(tmp_path / "x.png")], capture_output=True, text=True, timeout=60)
    assert (drawn.returncode, drawn.stdout) == (2, "")
    assert drawn.stderr.splitlines() == [
        "voxfleet-agent: --plot: matplotlib is not installed; run: python -m pip install 'voxfleet[plot]'"
    ]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0 and "memory knee" in shown.stdout


def test_a_forgotten_ladder_is_gone_and_the_others_stay(config: Path, tmp_path: Path) -> None:
    store(tmp_path, of_model("a"), of_model("b"))
    result = ladder(config, "-o", "json", "--model", "aa", "--forget")
    assert result.exit_code == 0 and "forgotten: 1" in result.stderr
    assert len(json.loads(result.stdout)) == 1
    (left,) = json.loads(ladder(config, "-o", "json").output)
    assert left["modelDigest"] == "sha256:" + "b" * 64
