"""The command line against a real API server: output and exit codes that scripts can use."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.api.specs import CONTRACT, JOB, MAC, SHARD, changed
from typer.testing import CliRunner, Result

from voxfleet_api import API_VERSION
from voxfleet_api.kinds import AudioBatchJob, MacAgent
from voxfleet_api.kinds.audio_batch_job import CLEANUP_FINALIZER
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_cli.main import app
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_operator.kube import Kube

SINCE = "2026-11-20T11:00:00Z"
DONE = {
    "observedGeneration": 1,
    "conditions": [{"type": "Complete", "status": "True", "reason": "Finished", "lastTransitionTime": SINCE}],
    "clips": {"total": 5, "succeeded": 4, "quarantined": 1},
    "plan": {
        "attempt": 1,
        "manifestSha256": "b" * 64,
        "modelDigest": f"sha256:{'c' * 64}",
        "boundaries": [0, 5],
        "audioSeconds": "9.000",
    },
    "quarantine": [{"index": 3, "id": "c3", "class": "ChecksumMismatch", "reason": "sha256 [differs]"}],
    "results": {"uri": "file:///out/nightly-1/index.json", "sha256": "a" * 64},
}
AVAILABLE = {"type": "Available", "status": "True", "reason": "Available", "lastTransitionTime": SINCE}
PLANNED = {
    "observedGeneration": 1,
    "conditions": [{**AVAILABLE, "type": "Accepted", "reason": "Accepted"}],
    "contract": {"digest": "sha256:" + "a" * 64, "spec": VoiceContractSpec.load(CONTRACT["spec"]).in_full().dump()},
    "plan": {
        "attempt": 1,
        "manifestSha256": "a" * 64,
        "modelDigest": "sha256:" + "a" * 64,
        "boundaries": [0, 5],
        "audioSeconds": "5.000",
    },
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


def test_why_tells_a_waiting_job_its_place_and_what_each_mac_lacks(
    run: Any, jobs: str, installed_crds: ControlPlane
) -> None:
    waiting = changed(
        JOB,
        {
            "metadata": {"name": "waiting", "finalizers": [CLEANUP_FINALIZER]},
            "spec.tolerations": [{"key": "other"}],
            "spec.priority": 3,
        },
    )
    installed_crds.apply(waiting, namespace=jobs)
    uid = installed_crds.kubectl("get", "abj", "waiting", "-n", jobs, "-o", "jsonpath={.metadata.uid}")
    owner = {"apiVersion": API_VERSION, "kind": "AudioBatchJob", "name": "waiting", "uid": uid, "controller": True}
    shard = changed(SHARD, {"metadata": {"name": "waiting-00000", "ownerReferences": [owner]}, "spec.jobRef.uid": uid})
    installed_crds.apply(changed(shard, {"spec.jobRef.name": "waiting", "spec.indexes": "0-4"}), namespace=jobs)
    installed_crds.apply(changed(MAC, {"metadata.name": "rented", "spec.taints": [{"key": "rented"}]}))

    async def write() -> None:
        async with await Kube.connect(installed_crds.kubeconfig) as kube:
            await kube.apply_status(AudioBatchJob, jobs, "waiting", PLANNED)
            await kube.apply_status(MacAgent, "", "rented", {"observedGeneration": 1, "conditions": [AVAILABLE]})

    asyncio.run(write())
    try:
        said = json.loads(run("why", "job/waiting", "-n", jobs, "-o", "json").stdout)
        assert said["queue"] == f"1st of 1 job that waits for a lane, with priority 3; namespace {jobs} holds 0 lanes"
        assert {"macs": "rented", "reason": "has an untolerated taint {rented}"} in said["macs"]
        assert "Queue: 1st of 1 job" in run("why", "job/waiting", "-n", jobs).stdout
    finally:
        installed_crds.kubectl("delete", "mac", "rented")
        installed_crds.kubectl(
            "patch", "abj", "waiting", "-n", jobs, "--type=merge", "-p", '{"metadata":{"finalizers":[]}}'
        )


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


def test_drain_and_undrain_change_the_spec(run: Any, installed_crds: ControlPlane) -> None:
    installed_crds.apply(changed(MAC, {"metadata.name": "mac-drained"}))
    told = run("drain", "mac/mac-drained", "--mode", "ReturnAtNextClip", "--deadline", "30m")
    assert told.exit_code == 0 and "kubectl wait mac/mac-drained --for=condition=Draining=False" in told.stdout
    spec = json.loads(installed_crds.kubectl("get", "mac", "mac-drained", "-o", "json"))["spec"]
    assert spec["drain"] == {"mode": "ReturnAtNextClip", "deadlineSeconds": 1800}
    assert run("undrain", "mac-drained").exit_code == 0
    assert "drain" not in json.loads(installed_crds.kubectl("get", "mac", "mac-drained", "-o", "json"))["spec"]
    assert run("drain", "mac-nowhere").exit_code == 3
    installed_crds.kubectl("delete", "mac", "mac-drained")


def spec_of(control_plane: ControlPlane, namespace: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        control_plane.kubectl("get", "abj", name, "-n", namespace, "-o", "json", "--show-managed-fields")
    )
    return found


def test_suspend_resume_and_cancel_change_the_spec(run: Any, jobs: str, installed_crds: ControlPlane) -> None:
    for verb, field, value in (("suspend", "suspend", True), ("resume", "suspend", False), ("cancel", "cancel", True)):
        for _ in range(2):
            assert run(verb, "new", "-n", jobs).exit_code == 0
            assert spec_of(installed_crds, jobs, "new")["spec"][field] is value
        ended = run(verb, "done", "-n", jobs)
        assert ended.exit_code == 1 and "has ended (Finished)" in ended.stderr
        assert run(verb, "nobody", "-n", jobs).exit_code == 3
    managers = {item["manager"] for item in spec_of(installed_crds, jobs, "new")["metadata"]["managedFields"]}
    assert "voxfleet-cli" in managers, "so that GitOps can tell who changed it"


def test_retry_prints_checks_and_creates_the_rerun(run: Any, jobs: str, installed_crds: ControlPlane) -> None:
    arguments = ("retry", "done", "-n", jobs, "--select", "quarantined")
    printed = yaml.safe_load(run(*arguments, "-o", "yaml").stdout)
    assert printed["metadata"] == {"name": "done-retry-1", "namespace": jobs}
    assert printed["spec"]["source"] == {"jobRef": {"name": "done"}, "select": "Quarantined"}
    checked = run(*arguments, "--dry-run")
    assert checked.exit_code == 0 and "would run 1 clip (in quarantine) of done again" in checked.stdout
    assert [
        item["metadata"]["name"] for item in json.loads(run("get", "jobs", "-n", jobs, "-o", "json").stdout)["items"]
    ] == [
        "broken",
        "done",
        "new",
    ]
    assert "job done-retry-1 runs 1 clip" in run(*arguments).stdout
    made = spec_of(installed_crds, jobs, "done-retry-1")
    assert made["spec"]["source"] == printed["spec"]["source"] and "input" not in made["spec"]
    again = run(*arguments)
    assert again.exit_code == 1 and "job done-retry-1 already runs these clips again" in again.stderr
    taken = run(*arguments, "--name", "new")
    assert taken.exit_code == 1 and "there is a job new already" in taken.stderr


def test_retry_refuses_what_makes_no_sense(run: Any, jobs: str) -> None:
    for arguments, code, said in (
        (("retry", "new"), 1, "job new has not ended"),
        (("retry", "done"), 1, "has no clips that are failed: of 5, 0 failed, 1 are in quarantine and 0 did not run"),
        (("retry", "broken"), 1, "ended without results"),
        (("retry", "done", "--clips", "x"), 2, "is not an index or a range"),
        (("retry", "done", "--select", "slow"), 2, "slow"),
        (("retry", "done", "--select", "quarantined", "--name", "No Name"), 1, "metadata.name"),
        (("retry", "nobody"), 3, "there is no AudioBatchJob nobody"),
    ):
        refused = run(*arguments, "-n", jobs)
        assert refused.exit_code == code and said in refused.stderr, refused.stderr


def test_quarantine_is_listed_and_released(run: Any, jobs: str, installed_crds: ControlPlane) -> None:
    listed = run("quarantine", "ls", "done", "-n", jobs)
    assert listed.exit_code == 0 and "c3" in listed.stdout and "ChecksumMismatch" in listed.stdout
    assert [clip["index"] for clip in json.loads(run("quarantine", "ls", "done", "-n", jobs, "-o", "json").stdout)] == [
        3
    ]
    assert "no clips in quarantine" in run("quarantine", "ls", "new", "-n", jobs).stdout
    released = run("quarantine", "release", "done", "-n", jobs, "--clips", "3", "--contract", "lenient")
    assert released.exit_code == 0, released.stderr
    spec = spec_of(installed_crds, jobs, "done-retry-1")["spec"]
    assert spec["source"] == {"jobRef": {"name": "done"}, "select": "Quarantined", "indexes": "3"}
    assert spec["contractRef"] == {"name": "lenient"}


PLANNED_CONTRACT = {"input": {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1]}}
ASKED = {
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
        documents.append(
            {"apiVersion": API_VERSION, "kind": "VoiceContract", "metadata": metadata, "spec": PLANNED_CONTRACT}
        )
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump_all(documents))
    return str(file)


def test_plan_judges_a_job_and_writes_nothing(
    run: Any, jobs: str, installed_crds: ControlPlane, tmp_path: Path
) -> None:
    def plan(file: str, *more: str) -> tuple[int, Any]:
        result = run("plan", "-f", file, "-n", jobs, "-o", "json", *more)
        return result.exit_code, json.loads(result.stdout)

    code, plain = plan(written(tmp_path, ASKED))
    assert (code, plain["next"]) == (1, "0/0 Macs fit: there is no MacAgent; apply one")
    assert plain["contract"] == "new-calls, in the file"
    assert plan(written(tmp_path, ASKED, contract=False))[1]["problems"][0].startswith("VoiceContract new-calls does")

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
            contract = {
                "digest": f"sha256:{'a' * 64}",
                "spec": VoiceContractSpec.load(PLANNED_CONTRACT).in_full().dump(),
            }
            usage = {"audioSeconds": "7200.000", "machineSeconds": "72.000"}
            await kube.apply_status(AudioBatchJob, jobs, "done", {**DONE, "contract": contract, "usage": usage})

    asyncio.run(write())
    try:
        code, plain = plan(written(tmp_path, ASKED), "--audio", "1h")
        assert (code, plain["state"]) == (0, "CouldRun")
        assert plain["macs"] == [{"name": "plan-mac", "fits": True, "lanes": 2}]
        assert plain["estimate"]["machineSeconds"] == 36
        assert plain["estimate"]["basedOn"] == "job done, under another contract"
        book = tmp_path / "price-book.yaml"
        book.write_text(f'budgets: [{{namespace: {jobs}, machineHoursPerMonth: "1", policy: Hold}}]')
        _, plain = plan(written(tmp_path, ASKED), "--audio", "1h", "--price-book", str(book))
        assert [line["then"] for line in plain["budgets"]] == [
            "it fits: 0.0100 of the 1.0000 machine-hours that are left"
        ]

        for changes, problem in (
            ({"modle": {}}, 'unknown field "spec.modle"'),
            ({"parallelism": 0}, "spec.parallelism"),
            ({"task": "Synthesize"}, "task Synthesize needs synthesis"),
        ):
            code, plain = plan(written(tmp_path, {**ASKED, **changes}))
            assert (code, plain["state"]) == (1, "CouldNotRun") and problem in plain["next"]
        code, plain = plan(written(tmp_path, ASKED, "new"))
        assert code == 1 and "a job new exists already" in plain["next"]
    finally:
        installed_crds.kubectl("delete", "mac", "plan-mac")
    names = {"broken", "done", "new"}
    assert {line.split()[0] for line in run("get", "jobs", "-n", jobs).stdout.splitlines()[1:]} == names
    assert "no voicecontracts found" in run("get", "contracts", "-n", jobs).stderr


def test_plan_is_told_from_wrong_usage(run: Any, jobs: str, tmp_path: Path) -> None:
    file = written(tmp_path, ASKED)
    assert run("plan", "-f", file, "-n", jobs, "--audio", "long").exit_code == 2
    assert run("plan", "-f", str(tmp_path / "none.yaml"), "-n", jobs).exit_code == 2
    assert run("plan", "-n", jobs).exit_code == 2
    assert run("plan", "-f", file, "-n", "no-such-namespace").exit_code == 1
    assert "voxfleet plan -f job.yaml" in run("plan", "--help").stdout
