"""The environment variables of a run, retained clips, and --help."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import yaml
from tests.component.standalone.conftest import Home, copy_clips, files_below
from tests.rig.agent_config import write_agent_config
from typer.testing import CliRunner

from voxfleet_agent.main import app
from voxfleet_agent.mlx_audio_names import NAMES


def exported(text: str) -> dict[str, str]:
    return dict(shlex.split(line)[1].split("=", 1) for line in text.splitlines())


def test_run_accepts_what_env_prints(home: Home, clips: Path) -> None:
    job = home.job("named", clips, conversions={"resample": {"toHz": 22050}})
    printed = home.invoke("env", "-f", job, TMPDIR="/fast disk", MLX_AUDIO_MAX_RETRIES="7")
    names = exported(printed.stdout)
    assert printed.returncode == 0 and set(names) == set(NAMES)
    assert (names["TMPDIR"], names["MLX_AUDIO_SAMPLE_RATE_HZ"]) == ("/fast disk", "22050")
    assert names["MLX_AUDIO_QUARANTINE_DIR"] == "/fast disk/quarantine" and names["MLX_AUDIO_MAX_RETRIES"] == "7"
    assert exported(home.invoke("env", "-f", job, **names).stdout) == names

    refused = home.invoke("env", "-f", job, MLX_AUDIO_SAMPLE_RATE_HZ="16000")
    assert refused.returncode == 2 and "conversions.resample.toHz (22050)" in refused.stderr


def test_env_of_an_agent_is_its_configuration(home: Home) -> None:
    config = home.folder / "agent.yaml"
    settings = {"stateDir": "/s", "tokenFile": "/t", "ledgerKeyFile": "/k", "scratch": {"path": "/x", "quota": "1Gi"}}
    config.write_text(yaml.safe_dump(settings))
    names = exported(home.invoke("env", "-c", config, MLX_AUDIO_BATCH_SIZE="8").stdout)
    assert (names["TMPDIR"], names["MLX_AUDIO_BATCH_SIZE"]) == ("/x", "4")


def test_a_misspelt_name_is_warned_of_by_env_run_and_serve(home: Home, refused: Path) -> None:
    told = "MLX_AUDIO_BATCHSIZE is set, and nothing reads it; did you mean MLX_AUDIO_BATCH_SIZE?"
    assert told in home.invoke("env", MLX_AUDIO_BATCHSIZE="8").stderr
    assert told not in home.invoke("env", MLX_AUDIO_BATCH_SIZE="8", MLX_AUDIO_CACHE_DIR="/x").stderr
    assert told in home.run_here("-f", home.job("typo", refused), MLX_AUDIO_BATCHSIZE="8")["stderr"]
    config = write_agent_config(home.folder)  # without a token, so that `serve` ends at once
    assert told in home.agent("serve", "-c", config, MLX_AUDIO_BATCHSIZE="8").stderr


def test_retained_clips_are_listed_and_discarded(home: Home) -> None:
    clips = copy_clips(home.folder / "clips", ("rate-8000", "wrong-checksum"))
    kept = home.folder / "kept here"
    job = home.job("kept", clips, quarantine={"maxPercent": 100, "retainFor": "1h"})
    summary = home.run_here("-f", job, MLX_AUDIO_QUARANTINE_DIR=str(kept))
    assert summary["rc"] == 0, summary

    def agent(*words: str) -> tuple[int, str, str]:
        ended = home.invoke("quarantine", *words, MLX_AUDIO_QUARANTINE_DIR=str(kept))
        return ended.returncode, ended.stdout, ended.stderr

    found = json.loads(agent("list", "-o", "json")[1])
    name = f"speech/kept-{summary['uid'][:8]}"
    assert {(clip["job"], clip["class"]) for clip in found} == {(name, "ContractViolation"), (name, "ChecksumMismatch")}
    assert all(Path(clip["path"]).is_relative_to(kept) for clip in found)
    assert kept.stat().st_mode & 0o777 == 0o700
    assert "Kept until" in agent("list")[1]

    first = found[0]
    code, out, _ = agent("discard", "--job", name, "--index", str(first["index"]), "-o", "json")
    assert code == 0 and json.loads(out)["freedBytes"] == first["sizeBytes"]
    assert [clip["index"] for clip in json.loads(agent("list", "-o", "json")[1])] == [found[1]["index"]]
    again = agent("discard", "--job", name, "--index", str(first["index"]))
    assert again[0] == 1 and "no retained clip is meant" in again[2]
    assert agent("discard")[0] == 2 and agent("discard", "--all", "--job", name)[0] == 2
    assert "discarded 1 clip, freed" in agent("discard", "--all")[1]
    assert not files_below(kept)


@pytest.mark.parametrize(
    "words",
    ["run", "compare", "replay", "env", "repro verify", "quarantine list", "quarantine discard"],
)
def test_help_shows_examples(words: str) -> None:
    shown = CliRunner().invoke(app, [*words.split(), "--help"])
    assert shown.exit_code == 0 and f"voxfleet-agent {words}" in shown.output.partition("Examples:")[2]
