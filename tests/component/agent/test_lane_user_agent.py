"""A real agent with `laneUser`: its lanes run as that user; they read clips and models, but not the ledger key."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
from tests.rig.agent_process import AgentProcess
from tests.rig.job_specs import JobSpecs
from tests.rig.lane_account import ACCOUNT, ENTRY, as_account, needs_root

from voxfleet_api.kinds.contract_input import Container, ContractInput, Conversions, Downmix, Resample
from voxfleet_api.kinds.job_input import JobInput, ManifestInput
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

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
        key = open_folder / "mac" / "ledger.pem"
        assert as_account("/bin/cat", key).returncode != 0 and key.read_bytes().startswith(b"-----BEGIN")
    rows = [json.loads(line) for line in (specs.local_folder / "results.jsonl").read_text().splitlines()]
    assert len(rows) == 33, "every good clip, the one at 8000 Hz too"
    assert not any((open_folder / "scratch" / "attempts").iterdir())
