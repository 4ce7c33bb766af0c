"""The command line against a real API server: output and exit codes that scripts can use."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.api.specs import MAC, changed
from typer.testing import CliRunner, Result

from voxfleet_api import API_VERSION
from voxfleet_api.kinds import AudioBatchJob, MacAgent
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_cli.main import app
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_operator.kube import Kube

SINCE = "2026-11-20T11:00:00Z"
DONE = {
    "observedGeneration": 1,
    "conditions": [{"type": "Complete", "status": "True", "reason": "Finished", "lastTransitionTime": SINCE}],
    "clips": {"total": 5, "succeeded": 4, "quarantined": 1},
    "quarantine": [{"index": 3, "id": "c3", "class": "ChecksumMismatch", "reason": "sha256 [differs]"}],
    "results": {"uri": "file:///out/nightly-1/index.json", "sha256": "a" * 64},
}
FAILED = {
    "observedGeneration": 1,
    "conditions": [
        {
            "type": "Failed",
            "status": "True",
            "reason": "InvalidInput",
            "message": "line 3 of the manifest is no JSON",
            "lastTransitionTime": SINCE,
        }
    ],
}


@pytest.fixture
def run(installed_crds: ControlPlane) -> Any:
    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--kubeconfig", str(installed_crds.kubeconfig)])

    return call


@pytest.fixture
def jobs(installed_crds: ControlPlane, namespace: str) -> str:
    """Three jobs in a namespace: done, broken and new."""
    spec = {
        "contractRef": {"name": "calls"},
        "model": {"builtin": {"name": "commands"}},
        "input": {"prefix": {"uri": "file:///in/"}},
        "output": {"uri": "file:///out/"},
    }
    for name in ("done", "broken", "new"):
        installed_crds.apply(
            {"apiVersion": API_VERSION, "kind": "AudioBatchJob", "metadata": {"name": name}, "spec": spec},
            namespace=namespace,
        )

    async def write() -> None:
        async with await Kube.connect(installed_crds.kubeconfig) as kube:
            await kube.apply_status(AudioBatchJob, namespace, "done", DONE)
            await kube.apply_status(AudioBatchJob, namespace, "broken", FAILED)

    asyncio.run(write())
    return namespace


def test_why_explains_for_people_and_for_programs(run: Any, jobs: str) -> None:
    text = run("why", "done", "-n", jobs)
    assert text.exit_code == 0
    assert "AudioBatchJob done in namespace" in text.stdout
    assert "ChecksumMismatch   sha256 [differs]" in text.stdout
    assert json.loads(run("why", "job/done", "-n", jobs, "-o", "json").stdout)["clips"]["total"] == 5
    assert yaml.safe_load(run("why", "job/done", "-n", jobs, "-o", "yaml").stdout)["state"] == "Finished"


def test_exit_codes(run: Any, jobs: str) -> None:
    assert run("why", "broken", "-n", jobs).exit_code == 1
    assert "Correct the input" in run("why", "broken", "-n", jobs).stdout
    assert run("why", "pod/x", "-n", jobs).exit_code == 2
    assert run("why", "nobody", "-n", jobs).exit_code == 3
    assert run("results", "new", "-n", jobs).exit_code == 3
    assert run("nonsense").exit_code == 2


def test_results_prints_one_address(run: Any, jobs: str) -> None:
    assert run("results", "done", "-n", jobs).stdout == "file:///out/nightly-1/index.json\n"


def test_get_lists_as_kubectl_does(run: Any, jobs: str, installed_crds: ControlPlane) -> None:
    ours = [line.split() for line in run("get", "jobs", "-n", jobs).stdout.splitlines()]
    theirs = [line.split() for line in installed_crds.kubectl("get", "abj", "-n", jobs).splitlines()]
    assert [line[0] for line in ours] == [line[0] for line in theirs] == ["NAME", "broken", "done", "new"]
    assert ours[0] == theirs[0]
    assert ours[2][:5] == theirs[2][:5] == ["done", "Finished", "5", "4", "1"]
    items = json.loads(run("get", "jobs", "-n", jobs, "-o", "json").stdout)["items"]
    assert [item["metadata"]["name"] for item in items] == ["broken", "done", "new"]
    assert "MACS" in run("get", "jobs", "-A", "-o", "wide").stdout


CONTRACT = {"input": {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1]}}
PLANNED = {
    "contractRef": {"name": "new-calls"},
    "model": {"builtin": {"name": "commands"}},
    "input": {"prefix": {"uri": "file:///in/"}},
    "output": {"uri": "file:///out/"},
}


def written(folder: Path, spec: dict[str, object], name: str = "planned", *, contract: bool = True) -> str:
    """A file with a job, and its contract."""
    documents = [{"apiVersion": API_VERSION, "kind": "AudioBatchJob", "metadata": {"name": name}, "spec": spec}]
    if contract:
        metadata = {"name": "new-calls"}
        documents.append({"apiVersion": API_VERSION, "kind": "VoiceContract", "metadata": metadata, "spec": CONTRACT})
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump_all(documents))
    return str(file)


def test_plan_judges_a_job_and_writes_nothing(
    run: Any, jobs: str, installed_crds: ControlPlane, tmp_path: Path
) -> None:
    def plan(file: str, *more: str) -> tuple[int, Any]:
        result = run("plan", "-f", file, "-n", jobs, "-o", "json", *more)
        return result.exit_code, json.loads(result.stdout)

    code, plain = plan(written(tmp_path, PLANNED))
    assert (code, plain["next"]) == (1, "0/0 Macs fit: there is no MacAgent; apply one")
    assert plain["contract"] == "new-calls, in the file"
    assert plan(written(tmp_path, PLANNED, contract=False))[1]["problems"][0].startswith("VoiceContract new-calls does")

    access = [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": jobs}},
            "uriPrefixes": ["file:///in/", "file:///out/"],
        }
    ]
    mac = changed(MAC, {"metadata.name": "plan-mac", "spec.access": access})
    installed_crds.apply(mac)
    machine = {
        "hardwareId": "h",
        "chip": "M4",
        "memoryBytes": 1,
        "os": "macOS",
        "versions": {},
        "pools": [{"name": "offline", "kind": "Offline", "lanes": 2}],
    }
    available = [{"type": "Available", "status": "True", "reason": "Available", "lastTransitionTime": SINCE}]

    async def write() -> None:
        async with await Kube.connect(installed_crds.kubeconfig) as kube:
            await kube.apply_status(MacAgent, "", "plan-mac", {"conditions": available, "machine": machine})
            contract = {"digest": f"sha256:{'a' * 64}", "spec": VoiceContractSpec.load(CONTRACT).in_full().dump()}
            usage = {"audioSeconds": "7200.000", "machineSeconds": "72.000"}
            await kube.apply_status(AudioBatchJob, jobs, "done", {**DONE, "contract": contract, "usage": usage})

    asyncio.run(write())
    try:
        code, plain = plan(written(tmp_path, PLANNED), "--audio", "1h")
        assert (code, plain["state"]) == (0, "CouldRun")
        assert plain["macs"] == [{"name": "plan-mac", "fits": True, "lanes": 2}]
        assert plain["estimate"]["machineSeconds"] == 36
        assert plain["estimate"]["basedOn"] == "job done, under another contract"

        for changes, problem in (
            ({"modle": {}}, 'unknown field "spec.modle"'),
            ({"parallelism": 0}, "spec.parallelism"),
            ({"task": "Synthesize"}, "task Synthesize needs synthesis"),
        ):
            code, plain = plan(written(tmp_path, {**PLANNED, **changes}))
            assert (code, plain["state"]) == (1, "CouldNotRun") and problem in plain["next"]
        code, plain = plan(written(tmp_path, PLANNED, "new"))
        assert code == 1 and "a job new exists already" in plain["next"]
    finally:
        installed_crds.kubectl("delete", "mac", "plan-mac")
    names = {"broken", "done", "new"}
    assert {line.split()[0] for line in run("get", "jobs", "-n", jobs).stdout.splitlines()[1:]} == names
    assert "no voicecontracts found" in run("get", "contracts", "-n", jobs).stderr


def test_plan_is_told_from_wrong_usage(run: Any, jobs: str, tmp_path: Path) -> None:
    file = written(tmp_path, PLANNED)
    assert run("plan", "-f", file, "-n", jobs, "--audio", "long").exit_code == 2
    assert run("plan", "-f", str(tmp_path / "none.yaml"), "-n", jobs).exit_code == 2
    assert run("plan", "-n", jobs).exit_code == 2
    assert run("plan", "-f", file, "-n", "no-such-namespace").exit_code == 1
    assert "voxfleet plan -f job.yaml" in run("plan", "--help").stdout
