"""A real agent with `laneUser`: its lanes run as that user; they read clips and models, but not the ledger key."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml
from tests.rig.agent_process import AgentProcess
from tests.rig.job_specs import JobSpecs
from tests.rig.lane_account import ACCOUNT, ENTRY, as_account, needs_root

from voxfleet_agent import ledger as ledgers
from voxfleet_api.kinds.contract_input import Container, ContractInput, Conversions, Downmix, Resample
from voxfleet_api.kinds.job_input import JobInput, ManifestInput
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.rows import ResultRow

CLIPS = Path(__file__).parents[3] / "examples" / "clips"


@needs_root
def test_lanes_of_an_agent_run_as_the_lane_user(open_folder: Path, account_python: Path) -> None:
    (open_folder / "results").mkdir()
    contract = VoiceContractSpec(
        input=ContractInput(
            containers=tuple(Container),
            sample_rates_hz=(8000, 16000, 22050, 44100, 48000),
            channels=(1, 2),
            max_clip="30s",
        ),
        conversions=Conversions(resample=Resample(to_hz=16000), downmix=Downmix()),
    )
    specs = JobSpecs(
        JobInput(manifest=ManifestInput(uri=f"file://{CLIPS}/manifest.jsonl")),
        f"file://{open_folder}/results/",
        contract,
    )
    with AgentProcess(
        open_folder / "mac",
        [f"file://{CLIPS}/", f"file://{open_folder}/results/"],
        python=account_python,
        laneUser=ACCOUNT,
        scratch={"path": str(open_folder / "scratch"), "quota": "1Gi", "minFree": "1Mi"},
        modelCache={"path": str(open_folder / "models")},
    ) as agent:
        agent.run_job(specs)
        _, *lanes = agent.processes()
        assert lanes, "the lane lives on with its model"
        assert {uid for lane in lanes for uid in psutil.Process(lane.pid).uids()} == {ENTRY.pw_uid}
        if sys.platform == "linux":
            status = Path(f"/proc/{lanes[0].pid}/status").read_text()
            assert "Seccomp:\t2" in status and "lanes are confined" in agent.mac.agent.log_tail(10**6)
        key = open_folder / "mac" / "ledger.pem"
        assert as_account("/bin/cat", key).returncode != 0 and key.read_bytes().startswith(b"-----BEGIN")
    rows = [json.loads(line) for line in (specs.local_folder / "results.jsonl").read_text().splitlines()]
    assert len(rows) == 33, "every good clip, the one at 8000 Hz too"
    assert not any((open_folder / "scratch" / "attempts").iterdir())


@needs_root
@pytest.mark.parametrize("scratch", ["scratch", "missing/parents/scratch"])
def test_a_run_of_an_agents_configuration_runs_its_lanes_as_the_lane_user(
    open_folder: Path, account_python: Path, scratch: str
) -> None:
    """A folder that the run makes for scratch must not be the run's alone."""
    job, config = _run_files(open_folder, open_folder / scratch)
    command: list[str | Path] = [account_python, "-m", "voxfleet_agent", "run", "-f", job, "-c", config, "-o", "json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, umask=0o077)
    assert ran.returncode == 0, ran.stderr
    folder = Path(json.loads(ran.stdout)["output"].removeprefix("file://"))
    rows = [ResultRow.model_validate_json(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert [row.custom_id for row in rows] == list(CHOSEN)
    lane = open_folder / scratch / "lanes" / "offline-0"
    assert lane.stat().st_uid == ENTRY.pw_uid and lane.stat().st_mode & 0o777 == 0o700


@needs_root
def test_a_folder_that_the_lane_user_cannot_pass_through_is_named_before_anything_runs(
    open_folder: Path, account_python: Path
) -> None:
    (open_folder / "closed").mkdir(mode=0o700)
    job, config = _run_files(open_folder, open_folder / "closed" / "scratch")
    commands: list[list[str | Path]] = [["run", "-f", job, "-c", config], ["serve", "-c", config]]
    for command in commands:
        ran = subprocess.run(
            [account_python, "-m", "voxfleet_agent", *command], capture_output=True, text=True, check=False
        )
        assert ran.returncode != 0
        assert f"{ACCOUNT} cannot pass through {open_folder}/closed; run: chmod o+x {open_folder}/closed" in ran.stderr
    assert not (open_folder / "results").exists() or not any((open_folder / "results").iterdir())


CHOSEN = ("wav-16000-01", "flac-16000-02")


def _run_files(folder: Path, scratch: Path) -> tuple[Path, Path]:
    """(the documents of a job over two clips, an agent's configuration)."""
    clips = folder / "clips"
    clips.mkdir()
    lines = (CLIPS / "manifest.jsonl").read_text().splitlines()
    chosen = [line for line in lines if json.loads(line)["id"] in CHOSEN]
    for line in chosen:
        shutil.copy(CLIPS / json.loads(line)["uri"], clips)
    (clips / "manifest.jsonl").write_text("".join(f"{line}\n" for line in chosen))
    (folder / "results").mkdir()
    contract, job = (yaml.safe_load((CLIPS.parent / name).read_text()) for name in ("contract.yaml", "job.yaml"))
    job["spec"] |= {
        "input": {"manifest": {"uri": f"file://{clips}/manifest.jsonl"}},
        "output": {"uri": f"file://{folder}/results/"},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump_all([contract, job]))
    (folder / "token").touch(0o600)
    ledgers.create_key_file(folder / "key.pem")
    (folder / "token").write_text("0123456789abcdef")
    content = {
        "stateDir": f"{folder}/state",
        "tokenFile": f"{folder}/token",
        "ledgerKeyFile": f"{folder}/key.pem",
        "scratch": {"path": str(scratch), "quota": "1Gi", "minFree": "1Mi"},
        "modelCache": {"path": f"{folder}/models"},
        "allow": [f"file://{clips}/", f"file://{folder}/results/"],
        "laneUser": ACCOUNT,
    }
    (folder / "agent.yaml").write_text(yaml.safe_dump(content))
    return folder / "job.yaml", folder / "agent.yaml"
