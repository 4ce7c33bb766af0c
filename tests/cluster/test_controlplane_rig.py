"""The development control plane is a real one: versions, rights, restarts, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from voxfleet_dev.binaries import SOURCES
from voxfleet_dev.controlplane import ControlPlane, KubectlFailed
from voxfleet_dev.processes import wait_ended

OWNER = """
import sys
from pathlib import Path
from voxfleet_dev.controlplane import ControlPlane
servers = ControlPlane(Path(sys.argv[1]))
servers.start()
print(*servers.pids.values(), flush=True)
sys.stdin.read()
"""


def test_serves_the_pinned_version(control_plane: ControlPlane) -> None:
    versions = json.loads(control_plane.kubectl("version", "-o", "json"))
    minor = SOURCES["kube-apiserver"].version.rsplit(".", 1)[0]
    assert versions["serverVersion"]["gitVersion"].startswith(f"v{minor}.")
    assert versions["clientVersion"]["gitVersion"].startswith(f"v{minor}.")


def test_first_namespaces_exist(control_plane: ControlPlane) -> None:
    names = control_plane.kubectl("get", "namespaces", "-o", "name").split()
    assert {"namespace/default", "namespace/kube-system"} <= set(names)


def test_checks_rights_by_rbac(control_plane: ControlPlane) -> None:
    with pytest.raises(KubectlFailed, match="forbidden") as refused:
        control_plane.kubectl("get", "secrets", "--as=nobody")
    assert "nobody" in refused.value.stderr


def test_applies_objects_and_text(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}}, namespace=namespace)
    control_plane.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: two}}", namespace=namespace)
    assert control_plane.kubectl("get", "cm", "-n", namespace, "-o", "name").split() == [
        "configmap/one",
        "configmap/two",
    ]


def test_audit_log_names_each_request(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("get", "configmaps", "-n", namespace)
    events = [json.loads(line) for line in control_plane.audit_log.read_text().splitlines()]
    mine = [event for event in events if event.get("objectRef", {}).get("namespace") == namespace]
    assert [event["verb"] for event in mine if event["objectRef"]["resource"] == "configmaps"] == ["list"]


def test_survives_a_killed_apiserver(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("create", "configmap", "kept", "-n", namespace)
    control_plane.kill_apiserver()
    with pytest.raises(KubectlFailed, match="refused"):
        control_plane.kubectl("get", "configmap", "kept", "-n", namespace)
    control_plane.start_apiserver()
    assert "kept" in control_plane.kubectl("get", "configmap", "kept", "-n", namespace)


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_no_server_outlives_a_killed_owner(tmp_path: Path) -> None:
    """The demo's tests end one by SIGTERM, and one by SIGINT."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "servers")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as owner:
        assert owner.stdout is not None
        servers = [psutil.Process(int(pid)) for pid in owner.stdout.readline().split()]
        assert len(servers) == 2
        owner.send_signal(signal.SIGKILL)
        owner.wait(30)
    assert not wait_ended(servers, 30)
