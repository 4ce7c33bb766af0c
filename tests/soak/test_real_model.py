"""Whisper tiny.en on people who speak: a fleet, a run, a replay and a verification give what mlx-audio itself gives.

`make soak` runs it: five processes load the model one after the other. tests/e2e asks the first part of it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml
from tests.e2e.conftest import making_fleets, with_kinds
from tests.e2e.fleet import CONTRACT
from tests.rig.real_model import conversation_clips, manifest_of
from tests.rig.upstream import upstream_texts

from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.demo_report import read_rows, result_folder
from voxfleet_dev.mac import agent_environment

TIMEOUT_SECONDS = 300.0


class LocalAgent:
    """`voxfleet-agent` as a user with an empty home types it."""

    def __init__(self, folder: Path) -> None:
        self._environment = {
            **agent_environment(),
            "HOME": str(folder),
            "TMPDIR": str(folder / "scratch"),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CACHE_HOME": str(folder / "cache"),
        }

    def __call__(self, *words: str | Path) -> dict[str, object]:
        argv = [sys.executable, "-m", "voxfleet_agent", *map(str, words), "-o", "json"]
        ended = subprocess.run(
            argv, env=self._environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
        )
        assert ended.returncode == 0, (ended.stdout, ended.stderr)
        told: dict[str, object] = json.loads(ended.stdout)
        return told


def test_a_real_model_gives_the_texts_of_mlx_audio_wherever_it_runs(
    control_plane: ControlPlane, whisper_folder: Path, tmp_path: Path
) -> None:
    with making_fleets(with_kinds(control_plane), tmp_path) as make:
        fleet = make(macs=1)
        fleet.start()
        clips = conversation_clips(fleet.shared)
        expected = upstream_texts(whisper_folder, clips)
        source = manifest_of(clips, fleet.shared / "recordings.jsonl")
        model = {"path": str(shutil.copytree(whisper_folder, fleet.shared / "whisper-tiny.en"))}
        fleet.submit("spoken", [], model=model, input=source)
        job = fleet.wait_for_end("spoken", TIMEOUT_SECONDS)
        assert [row.text for row in fleet.rows(job)] == expected
    fleet_folder = result_folder(job)

    agent = LocalAgent(tmp_path / "home")
    documents = tmp_path / "job.yaml"
    documents.write_text(yaml.safe_dump_all([CONTRACT, _local_job(model, source, tmp_path / "results")]))
    ran = agent("run", "-f", documents)
    folder = Path(str(ran["output"]).removeprefix("file://"))
    assert [row.text for row in read_rows(folder)] == expected

    assert agent("repro", "verify", folder / "repro" / "bundle.json", "--sample", "1")["same"] is True
    assert agent("replay", fleet_folder, "--worst", "1")["same"] is True


def _local_job(model: Mapping[str, object], source: Mapping[str, object], output: Path) -> dict[str, object]:
    output.mkdir()
    return {
        "apiVersion": "voxfleet.dev/v1alpha1",
        "kind": "AudioBatchJob",
        "metadata": {"name": "spoken"},
        "spec": {
            "contractRef": {"name": "contract"},
            "model": model,
            "input": source,
            "output": {"uri": f"file://{output}/"},
        },
    }
