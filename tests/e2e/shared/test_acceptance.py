"""The checklist of a rental: a baseline on this machine, a Mac that takes nothing yet, `voxfleet accept`, then work."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.e2e.fleet import CLIPS, CONTRACT, EXPECTED, Fleet
from typer.testing import CliRunner, Result

from voxfleet_api.acceptance import SIGNATURE_PURPOSE, AcceptanceRecord
from voxfleet_api.conditions import ConditionType, Reason, find
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.mac_acceptance import AcceptanceCheck
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_cli.main import app
from voxfleet_dev.controlplane import KubectlFailed
from voxfleet_dev.mac import agent_environment

GOOD = [name for name, row in EXPECTED.items() if "text" in row and name.startswith("wav-")][:6]
SLICE = 4
# The tiny model takes milliseconds a clip, and a lane that works on four of them waits for the disk, too.
MACHINE_TIME = ("--machine-time-percent", "100000")


@pytest.fixture
def documents(fleet: Fleet, tmp_path: Path) -> Path:
    """The job of the night and its contract."""
    manifest = fleet.shared / "clips" / "baseline.jsonl"
    lines = (CLIPS / "manifest.jsonl").read_text().splitlines()
    manifest.write_text("".join(f"{line}\n" for line in lines if json.loads(line)["id"] in GOOD))
    job = {
        "apiVersion": "voxfleet.dev/v1alpha1",
        "kind": "AudioBatchJob",
        "metadata": {"name": "nightly"},
        "spec": {
            "contractRef": {"name": "contract"},
            "model": {"builtin": {"name": "commands"}},
            "input": {"manifest": {"uri": f"file://{manifest}"}},
            "output": {"uri": f"file://{fleet.shared}/results/"},
        },
    }
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump_all([CONTRACT, job]))
    return path


@pytest.fixture
def baseline(documents: Path, fleet: Fleet, tmp_path: Path) -> Path:
    """The output folder of `voxfleet-agent run` on this machine."""
    variables = {
        **agent_environment(),
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "scratch"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    agent = Path(sys.executable).with_name("voxfleet-agent")
    ended = subprocess.run([agent, "run", "-f", documents], env=variables, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return next((fleet.shared / "results").glob("nightly-*"))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "acceptance-key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@pytest.fixture
def admin(fleet: Fleet, tmp_path: Path) -> Path:
    """The kubeconfig of a fleet admin who may create jobs in the namespace: the chart's roles for people, no more."""
    kubectl, account, chart = fleet.control_plane.kubectl, f"{fleet.namespace}:admin", fleet.account.name
    here = ("-n", fleet.namespace)
    kubectl("create", "serviceaccount", "admin", *here)
    for role in ("view", "edit"):
        kubectl("create", "rolebinding", role, *here, f"--clusterrole={chart}-{role}", f"--serviceaccount={account}")
    kubectl(
        "create",
        "clusterrolebinding",
        f"{fleet.namespace}-admin",
        f"--clusterrole={chart}-fleet-admin",
        f"--serviceaccount={account}",
    )
    config = yaml.safe_load(fleet.control_plane.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": kubectl("create", "token", "admin", *here).strip()}
    path = tmp_path / "admin.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config))

    def knows_its_rights() -> bool:
        asked = ["auth", "can-i", "patch", "macagents", f"--as=system:serviceaccount:{account}"]
        try:
            return kubectl(*asked).strip() == "yes"
        except KubectlFailed:
            return False

    fleet.wait_for("the admin's rights took effect", knows_its_rights)
    return path


@pytest.fixture
def rented(fleet: Fleet) -> Iterator[str]:
    """The second Mac, which requires acceptance; afterwards it requires and has none."""
    name = fleet.macs[1].name
    _patch(fleet, name, requireAcceptance=True)
    fleet.wait_for_condition(lambda: _mac(fleet), ConditionType.AVAILABLE, "False", Reason.AWAITS_ACCEPTANCE)
    yield name
    _patch(fleet, name, requireAcceptance=None, acceptance=None, acceptanceJob=None)
    fleet.wait_for_condition(lambda: _mac(fleet), ConditionType.AVAILABLE, "True", Reason.AVAILABLE)


def test_a_rented_mac_works_once_it_has_passed(
    fleet: Fleet, admin: Path, rented: str, documents: Path, baseline: Path, key: Path, tmp_path: Path
) -> None:
    fleet.submit("early", GOOD[:3])
    assert fleet.wait_for_end("early").status.macs == (fleet.macs[0].name,), "the rented Mac takes nothing yet"

    record = tmp_path / "record.json"
    options = ["-f", documents, "--mac", f"mac/{rented}", "--baseline", baseline, "--key", key, "--out", record]
    strict = accept(fleet, admin, *options, "--peak-slice", str(SLICE), "--machine-time-percent", "1")
    assert strict.exit_code == 1, strict.output
    assert "MachineHours" in strict.stdout and "FAILED" in strict.stdout and "not passed" in strict.stdout
    failed = fleet.wait_for_condition(
        lambda: _mac(fleet), ConditionType.ACCEPTANCE_PASSED, "False", Reason.ACCEPTANCE_FAILED
    )
    assert "MachineHours" in failed.message and "1 % of the baseline" in failed.message
    assert _available(fleet) == Reason.AWAITS_ACCEPTANCE

    passed = accept(fleet, admin, *options, "--peak-slice", str(SLICE), *MACHINE_TIME)
    assert passed.exit_code == 0, passed.output
    fleet.wait_for_condition(lambda: _mac(fleet), ConditionType.AVAILABLE, "True", Reason.AVAILABLE)
    found = AcceptanceRecord.load_json(record.read_bytes())
    assert [line.name for line in found.lines] == list(AcceptanceCheck) and all(line.passed for line in found.lines)
    assert found.slice.clips == SLICE and found.baseline.manifest_sha256 in (baseline / "index.json").read_text()
    job = fleet.job(found.job.name)
    assert job.status.macs == (rented,) and job.status.clips.succeeded == SLICE
    signed = sum(rows.machine_milliseconds for rows in found.rows)
    assert signed == seconds_milliseconds(job.status.usage.machine_seconds) > 0
    mac = _mac(fleet)
    assert mac.spec.acceptance == found.acceptance() and mac.spec.acceptance_job is None
    assert ("MacAgent", rented) in {event[:2] for event in fleet.events(Reason.ACCEPTANCE_PASSED)}

    shown = voxfleet("accept", "show", rented, "--kubeconfig", admin)
    assert shown.exit_code == 0 and found.acceptance().record_sha256 in shown.stdout
    verify = ("accept", "verify", record, "--public-key", f"{key}.pub")
    assert voxfleet(*verify).exit_code == 0
    allowed = tmp_path / "allowed"
    allowed.write_text(f"lessor {Path(f'{key}.pub').read_text()}")
    with record.open("rb") as content:
        check = ["ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", "lessor", "-n", SIGNATURE_PURPOSE]
        checked = subprocess.run([*check, "-s", f"{record}.sig"], stdin=content, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr
    record.write_bytes(record.read_bytes().replace(b'"passed":true', b'"passed":false', 1))
    broken = voxfleet(*verify)
    assert broken.exit_code == 1 and "not the one that was signed" in broken.stderr

    fleet.submit("night", GOOD, sharding={"targetAudio": "1s"})
    assert rented in fleet.wait_for_end("night").status.macs

    other = {**found.acceptance().dump(), "hardwareId": "another-machine"}
    _patch(fleet, rented, acceptance=other)
    fleet.wait_for_condition(
        lambda: _mac(fleet), ConditionType.ACCEPTANCE_PASSED, "False", Reason.OTHER_MACHINE_ACCEPTED
    )
    assert _available(fleet) == Reason.AWAITS_ACCEPTANCE


def accept(fleet: Fleet, kubeconfig: Path, *options: object) -> Result:
    where = ("--kubeconfig", kubeconfig, "-n", fleet.namespace, "--timeout", "2m")
    return voxfleet("accept", *options, *where)


def voxfleet(*words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words)])


def _mac(fleet: Fleet) -> MacAgent:
    return fleet.mac_agent(fleet.macs[1])


def _available(fleet: Fleet) -> str:
    found = find(_mac(fleet).status.conditions, ConditionType.AVAILABLE)
    assert found is not None
    return found.reason


def _patch(fleet: Fleet, name: str, **spec: object) -> None:
    fleet.control_plane.kubectl("patch", "mac", name, "--type=merge", "-p", json.dumps({"spec": spec}))
