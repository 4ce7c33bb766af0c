"""A real agent with `laneUser`: its lanes run as that account, read clips and models, and not the ledger key."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.component.corpus.agent_process import AgentProcess
from tests.component.corpus.job_specs import JobSpecs

from voxfleet_api.kinds.contract_input import Container, ContractInput, Conversions, Downmix, Resample
from voxfleet_api.kinds.job_input import JobInput, ManifestInput
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

ACCOUNT = "nobody"
CLIPS = Path(__file__).parents[3] / "examples" / "clips"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process under another account")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that the account can reach."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.fixture
def python(place: Path) -> Path:
    """An interpreter with this project's packages that the account may run; the one in use may lie in a home."""
    system = Path("/usr/bin/python3")
    folder = place / "python"
    if system.exists():
        subprocess.run([system, "-m", "venv", "--without-pip", folder], check=True)
        site = next((folder / "lib").glob("python3.*")) / "site-packages"
        (site / "project.pth").write_text("\n".join(path for path in sys.path if path and Path(path).is_dir()))
        check = "import sys, mlx.core, voxfleet_agent; print(sys.version_info[:2])"
        found = subprocess.run(
            [folder / "bin" / "python", "-c", check], user=ACCOUNT, group=pwd.getpwnam(ACCOUNT).pw_gid, extra_groups=[],
            capture_output=True, text=True, check=False, cwd="/",
        )  # fmt: skip
        if found.returncode == 0 and found.stdout.strip() == str(sys.version_info[:2]):
            return folder / "bin" / "python"
    pytest.skip(f"no Python with this project's packages can be run by {ACCOUNT}")


def test_lanes_of_an_agent_run_as_their_account(place: Path, python: Path) -> None:
    (place / "results").mkdir()
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
        JobInput(manifest=ManifestInput(uri=f"file://{CLIPS}/manifest.jsonl")), f"file://{place}/results/", contract
    )
    with AgentProcess(
        place / "mac",
        [f"file://{CLIPS}/", f"file://{place}/results/"],
        python=python,
        laneUser=ACCOUNT,
        scratch={"path": str(place / "scratch"), "quota": "1Gi", "minFree": "1Mi"},
        modelCache={"path": str(place / "models")},
    ) as agent:
        agent.run_job(specs)
        _, *lanes = agent.processes()
        entry = pwd.getpwnam(ACCOUNT)
        assert lanes, "the lane lives on with its model"
        assert {uid for lane in lanes for uid in psutil.Process(lane.pid).uids()} == {entry.pw_uid}
        key = place / "mac" / "ledger.pem"
        looked = subprocess.run(["/bin/cat", key], user=ACCOUNT, capture_output=True, check=False)
        assert looked.returncode != 0 and key.read_bytes().startswith(b"-----BEGIN")
    folder = place / "results" / specs.folder.rpartition("/")[2]
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert len(rows) == 33, "every good clip, the one at 8000 Hz too"
    assert not any((place / "scratch" / "attempts").iterdir())
