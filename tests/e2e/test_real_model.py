"""Whisper tiny.en on people who speak: a fleet, a run, a replay and a verification give what mlx-audio itself gives."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from tests.e2e.conftest import MakeFleet
from tests.e2e.fleet import CONTRACT
from tests.rig.upstream import upstream_texts

from voxfleet_accuracy.recordings import conversation_parts
from voxfleet_accuracy.sounds import wav
from voxfleet_dev.demo_report import read_rows, result_folder
from voxfleet_dev.mac import agent_environment

TIMEOUT_SECONDS = 300.0
WORDS = "i didn't know you were there"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two stretches of a conversation, 9 s together."""
    folder = tmp_path_factory.mktemp("recordings")
    paths = []
    for recording in conversation_parts()[0::2]:
        paths.append(folder / f"{recording.name}.wav")
        paths[-1].write_bytes(wav(recording.samples, recording.rate_hz))
    return paths


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
    make_fleet: MakeFleet, whisper_folder: Path, clips: list[Path], tmp_path: Path
) -> None:
    expected = upstream_texts(whisper_folder, clips)
    assert WORDS in expected[0].lower()

    fleet = make_fleet(macs=1)
    model = {"path": str(shutil.copytree(whisper_folder, fleet.shared / "whisper-tiny.en"))}
    fleet.start()
    manifest = fleet.shared / "recordings.jsonl"
    manifest.write_text("".join(json.dumps({"id": clip.stem, "uri": clip.name}) + "\n" for clip in clips))
    for clip in clips:
        shutil.copy(clip, fleet.shared)
    source = {"manifest": {"uri": f"file://{manifest}"}}
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
