"""The whole process: it starts, works, answers its probes, and stops cleanly."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from voxfleet_api import API_VERSION
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.processes import Child, free_port
from voxfleet_operator.metric_list import METRICS

PATIENCE_SECONDS = 60.0


class Operator:
    def __init__(self, control_plane: ControlPlane, namespace: str, folder: Path) -> None:
        self.health_url = f"http://127.0.0.1:{(port := free_port())}"
        argv = [sys.executable, "-m", "voxfleet_operator", "--namespace", namespace, "--health-port", str(port)]
        self.child = Child("operator", argv, folder / "operator.log", env=control_plane.environment())

    def answer(self, path: str) -> str:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.health_url + path, timeout=5) as response:
            text: str = response.read().decode()
            return text

    def ready(self) -> bool:
        try:
            return self.answer("/readyz") == "ok\n"
        except OSError:
            return False

    def log_lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.child.log.read_text().splitlines()]


@pytest.fixture
def operator(installed_crds: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[Operator]:
    made = Operator(installed_crds, namespace, tmp_path)
    yield made
    made.child.stop()


def contract_condition(control_plane: ControlPlane, namespace: str) -> bool:
    path = "jsonpath={.status.conditions[?(@.type=='Accepted')].status}"
    return control_plane.kubectl("get", "vc", "calls", "-n", namespace, "-o", path) == "True"


def test_it_accepts_a_contract_answers_its_probes_and_frees_the_lease_on_sigterm(
    operator: Operator, installed_crds: ControlPlane, namespace: str
) -> None:
    installed_crds.apply(
        {
            "apiVersion": API_VERSION,
            "kind": "VoiceContract",
            "metadata": {"name": "calls"},
            "spec": {"input": {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1]}},
        },
        namespace=namespace,
    )
    operator.child.start()
    operator.child.wait_until(operator.ready, PATIENCE_SECONDS)
    operator.child.wait_until(lambda: contract_condition(installed_crds, namespace), PATIENCE_SECONDS, "done")
    assert operator.answer("/livez") == "ok\n"
    metrics = operator.answer("/metrics")
    assert "voxfleet_leader 1.0" in metrics
    assert 'voxfleet_reconcile_total{kind="VoiceContract",result="success"}' in metrics
    typed = {line.split()[2] for line in metrics.splitlines() if line.startswith("# TYPE voxfleet_")}
    assert typed == {spec.name for spec in METRICS}
    assert 'voxfleet_watch_starts_total{code="200",resource="macagents"}' in metrics
    assert 'voxfleet_watch_starts_total{code="200",resource="namespaces"}' in metrics
    assert 'voxfleet_api_requests_total{code="201",verb="POST"}' in metrics, "the Lease is made"

    operator.child.stop()
    assert operator.child.exit_code == 0
    lease = json.loads(installed_crds.kubectl("get", "lease", "voxfleet-operator", "-n", namespace, "-o", "json"))
    assert lease["spec"].get("holderIdentity", "") == ""
    lines = operator.log_lines()
    assert lines[-1]["event"] == "lease released"
    assert [line for line in lines if line["level"] in ("warning", "error", "critical")] == []


def test_two_processes_have_one_leader_and_the_standby_is_ready(
    operator: Operator, installed_crds: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    operator.child.start()
    operator.child.wait_until(lambda: _leads(operator), PATIENCE_SECONDS)
    standby = Operator(installed_crds, namespace, tmp_path / "standby")
    try:
        standby.child.start()
        standby.child.wait_until(standby.ready, PATIENCE_SECONDS)
        assert not _leads(standby)
        operator.child.kill()
        standby.child.wait_until(lambda: _leads(standby), PATIENCE_SECONDS)
        standby.child.stop()
        assert standby.child.exit_code == 0
    finally:
        standby.child.stop()


def test_a_cluster_that_cannot_be_reached_ends_it_with_a_message(tmp_path: Path, operator: Operator) -> None:
    operator.child.env["KUBECONFIG"] = str(tmp_path / "nothing")
    operator.child.start()
    assert operator.child.wait_exit(PATIENCE_SECONDS) == 1
    assert "--kubeconfig" in str(operator.log_lines()[-1]["error"])


def _leads(operator: Operator) -> bool:
    try:
        return "voxfleet_leader 1.0" in operator.answer("/metrics")
    except OSError:
        return False
