"""The whole process: it starts, works, answers its probes, and stops cleanly."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.rig.rights import Right, RoleWithout, bound_to, requests_of, rights_of
from typer.testing import CliRunner

from voxfleet_api import API_VERSION
from voxfleet_cli.main import app
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.health_client import HealthClient
from voxfleet_dev.operator_account import OperatorAccount
from voxfleet_dev.processes import Child, free_port
from voxfleet_operator.metric_list import METRICS
from voxfleet_shared import crash_points

PATIENCE_SECONDS = 60.0


class Operator:
    def __init__(self, account: OperatorAccount, folder: Path, *flags: str) -> None:
        self.health = HealthClient(port := free_port())
        argv = [sys.executable, "-m", "voxfleet_operator", "--namespace", account.namespace, "--health-port", str(port)]
        environment = {**os.environ, "KUBECONFIG": str(account.kubeconfig)}
        self.child = Child("operator", [*argv, *flags], folder / "operator.log", env=environment)

    def log_lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.child.log.read_text().splitlines()]


@pytest.fixture
def operator(account_here: OperatorAccount, tmp_path: Path) -> Iterator[Operator]:
    (tmp_path / "archive").mkdir()
    made = Operator(account_here, tmp_path, "--archive", (tmp_path / "archive").as_uri())
    yield made
    made.child.stop()


def apply_contract(control_plane: ControlPlane, namespace: str, name: str = "calls") -> None:
    control_plane.apply(
        {
            "apiVersion": API_VERSION,
            "kind": "VoiceContract",
            "metadata": {"name": name},
            "spec": {"input": {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1]}},
        },
        namespace=namespace,
    )


def contract_condition(control_plane: ControlPlane, namespace: str, name: str = "calls") -> bool:
    path = "jsonpath={.status.conditions[?(@.type=='Accepted')].status}"
    return control_plane.kubectl("get", "vc", name, "-n", namespace, "-o", path) == "True"


def _is_told(operator: Operator, metric: str) -> bool:
    return metric in operator.health.answer("/metrics")


def test_it_accepts_a_contract_answers_its_probes_and_frees_the_lease_on_sigterm(
    operator: Operator, installed_crds: ControlPlane, namespace: str
) -> None:
    apply_contract(installed_crds, namespace)
    operator.child.start()
    operator.child.wait_until(operator.health.ready, PATIENCE_SECONDS)
    operator.child.wait_until(lambda: contract_condition(installed_crds, namespace), PATIENCE_SECONDS, "done")
    assert operator.health.answer("/livez") == "ok\n"
    metrics = operator.health.answer("/metrics")
    assert "voxfleet_leader 1.0" in metrics
    assert 'voxfleet_reconcile_total{kind="VoiceContract",result="success"}' in metrics
    typed = {line.split()[2] for line in metrics.splitlines() if line.startswith("# TYPE voxfleet_")}
    assert typed == {spec.name for spec in METRICS}
    for kind in ("macagents", "namespaces"):  # a list comes before its watch, and is enough to be ready
        started = f'voxfleet_watch_starts_total{{code="200",resource="{kind}"}}'
        operator.child.wait_until(partial(_is_told, operator, started), PATIENCE_SECONDS, started)
    assert 'voxfleet_api_requests_total{code="201",verb="POST"}' in metrics, "the Lease is made"

    operator.child.stop()
    assert operator.child.exit_code == 0
    lease = json.loads(installed_crds.kubectl("get", "lease", "voxfleet-operator", "-n", namespace, "-o", "json"))
    assert lease["spec"].get("holderIdentity", "") == ""
    lines = operator.log_lines()
    assert lines[-1]["event"] == "lease released"
    assert [line for line in lines if line["level"] in ("warning", "error", "critical")] == []


def test_the_last_night_is_closed_although_the_first_who_does_so_dies(
    operator: Operator, operator_account: OperatorAccount, installed_crds: ControlPlane, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    operator.child.start({crash_points.VARIABLE: "night-closed"})
    assert operator.child.wait_exit(PATIENCE_SECONDS) == crash_points.EXIT_CODE
    (manifest,) = (archive / "nightly").iterdir()
    csv = manifest.with_suffix(".csv")
    assert manifest.suffix == ".json" and not csv.exists()
    successor = Operator(operator_account, tmp_path / "successor", "--archive", archive.as_uri())  # with its own Lease
    try:
        successor.child.start()
        successor.child.wait_until(csv.exists, PATIENCE_SECONDS, "the night has its CSV")
        closed = ("get", "events", "-n", operator_account.namespace, "--field-selector", "reason=NightClosed")
        successor.child.wait_until(lambda: csv.name in installed_crds.kubectl(*closed), PATIENCE_SECONDS, "it is told")
        assert 'voxfleet_nightly_csv_total{result="written"} 1.0' in successor.health.answer("/metrics")
    finally:
        successor.child.stop()
    told = CliRunner().invoke(app, ["bill", "nightly", "--archive", archive.as_uri()])
    assert told.exit_code == 0 and "byte for byte" in told.output


def test_a_standby_is_ready_does_not_lead_and_stops(
    operator: Operator, account_here: OperatorAccount, tmp_path: Path
) -> None:
    operator.child.start()
    operator.child.wait_until(lambda: _leads(operator), PATIENCE_SECONDS)
    standby = Operator(account_here, tmp_path / "standby")
    try:
        standby.child.start()
        standby.child.wait_until(standby.health.ready, PATIENCE_SECONDS)
        assert not _leads(standby) and _leads(operator)
        standby.child.stop()
        assert standby.child.exit_code == 0
    finally:
        standby.child.stop()


def test_it_looks_after_listed_namespaces_and_needs_no_right_in_others(
    installed_crds: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    account = OperatorAccount(installed_crds, f"{namespace}-system", {"watchNamespaces": [namespace]})
    account.grant()
    (elsewhere, before, after) = (f"{namespace}-{name}" for name in ("elsewhere", "before", "after"))
    apply_contract(installed_crds, "default", elsewhere)
    apply_contract(installed_crds, namespace, before)
    operator = Operator(account, tmp_path, f"--watch-namespaces={namespace}")
    try:
        operator.child.start()
        for name in (before, after):  # one is listed, the other watched
            if name == after:
                apply_contract(installed_crds, namespace, name)
            accepted = partial(contract_condition, installed_crds, namespace, name)
            operator.child.wait_until(accepted, PATIENCE_SECONDS, name)
    finally:
        operator.child.stop()
    assert not contract_condition(installed_crds, "default", elsewhere)
    requests = requests_of(installed_crds.audit_log, account.user)
    assert [request.uri for request in requests if request.status == 403] == []
    listed = {request.right.namespace for request in requests if request.right.resource == "voicecontracts"}
    assert listed == {namespace}


@pytest.mark.parametrize(
    ("right", "ends"),
    [
        (Right("list", "voxfleet.dev", "audioshards"), True),
        (Right("watch", "voxfleet.dev", "audiobatchjobs"), False),
        (Right("patch", "voxfleet.dev", "voicecontracts/status"), False),
    ],
    ids=str,
)
def test_a_right_that_is_missing_is_named_in_the_log(
    operator: Operator,
    account_here: OperatorAccount,
    installed_crds: ControlPlane,
    namespace: str,
    right: Right,
    *,
    ends: bool,
) -> None:
    apply_contract(installed_crds, namespace)
    manifests = account_here.manifests()
    (role,) = (role for role in bound_to(manifests, account_here.name) if right in rights_of(role))
    with RoleWithout(installed_crds, account_here.user, role, right):
        operator.child.start()
        said = f'cannot {right.verb} resource "{right.resource}" in API group "voxfleet.dev"'
        if ends:
            assert operator.child.wait_exit(PATIENCE_SECONDS) == 1
        else:
            operator.child.wait_until(lambda: said in logged(operator), PATIENCE_SECONDS, said)
            operator.child.stop()
    assert said in logged(operator)


def logged(operator: Operator) -> str:
    return "\n".join(f"{line['event']} {line.get('error', '')}" for line in operator.log_lines())


def test_a_cluster_that_cannot_be_reached_ends_it_with_a_message(tmp_path: Path, operator: Operator) -> None:
    operator.child.env["KUBECONFIG"] = str(tmp_path / "nothing")
    operator.child.start()
    assert operator.child.wait_exit(PATIENCE_SECONDS) == 1
    assert "--kubeconfig" in str(operator.log_lines()[-1]["error"])


def _leads(operator: Operator) -> bool:
    try:
        return "voxfleet_leader 1.0" in operator.health.answer("/metrics")
    except OSError:
        return False
