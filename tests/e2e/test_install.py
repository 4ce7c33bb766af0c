"""Installed with Helm, upgraded in mid-job, and uninstalled in the documented order."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.e2e.fleet import CONTRACT, EXPECTED, LOST_MARGIN_SECONDS, Fleet

from voxfleet_api import GROUP
from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.kinds import KINDS
from voxfleet_dev.api_request import RequestRefused
from voxfleet_dev.chart import CHART
from voxfleet_dev.chart_release import ChartRelease
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.locations import REPOSITORY
from voxfleet_dev.mac import IDENTITY_SECRET
from voxfleet_dev.operator_process import OperatorProcess

NAMESPACE, OPERATOR_NAMESPACE = "installed", "installed-system"
CLIPS = [*EXPECTED]
FLAGS = ("--progress-interval-seconds=1", f"--lost-margin-seconds={LOST_MARGIN_SECONDS}")
TAKE_OVER = ("--take-ownership", "--force-conflicts")
"""Other tests have applied the kinds with kubectl, as people may have before they install the chart."""
KINDS_LEFT = {f"customresourcedefinition.apiextensions.k8s.io/{kind.crd.plural}.{GROUP}" for kind in KINDS}
LEADS, WAITS = "operator started", "waiting for the lease"


@pytest.fixture
def fleet(served_kinds: ControlPlane, tmp_path: Path) -> Iterator[Fleet]:
    served_kinds.kubectl("create", "namespace", NAMESPACE)
    with Fleet(served_kinds, tmp_path, NAMESPACE, macs=1, operator_namespace=OPERATOR_NAMESPACE) as made:
        yield made


def previous_commit(folder: Path) -> tuple[Path, Mapping[str, str]]:
    """Its chart, and the environment in which its operator runs; this commit's where git knows no earlier chart."""
    command = ["git", "-C", str(REPOSITORY), "archive", "HEAD^", "charts/voxfleet", "operator", "crds"]
    packed = subprocess.run(command, capture_output=True, check=False)
    if packed.returncode:
        return CHART, {}
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder / "charts" / "voxfleet", {"PYTHONPATH": f"{folder / 'operator'}:{folder / 'crds'}"}


def started(pod: OperatorProcess, words: str, environment: Mapping[str, str] | None = None) -> OperatorProcess:
    pod.start(environment)
    pod.child.wait_until(lambda: words in pod.log.read_text(), 60.0, words)
    return pod


def test_an_upgrade_in_mid_job_loses_nothing_and_nothing_hangs_when_it_goes(fleet: Fleet, tmp_path: Path) -> None:
    control_plane, mac = fleet.control_plane, fleet.macs[0]
    release = ChartRelease(control_plane, OPERATOR_NAMESPACE, "release")
    values = {"fleetSecrets": {"names": [IDENTITY_SECRET, mac.name]}}
    chart, environment = previous_commit(tmp_path / "previous")
    release.install(values, *TAKE_OVER, chart=chart)
    pods = [started(release.pod(tmp_path / "old-0", *FLAGS), LEADS, environment)]
    pods.append(started(release.pod(tmp_path / "old-1", *FLAGS), WAITS, environment))
    try:
        mac.start()
        fleet.register(mac)
        fleet.apply(CONTRACT)
        fleet.submit("night", CLIPS)
        fleet.wait_for("some clips are done, and some are not", lambda: 0 < done(fleet) < len(CLIPS))

        release.upgrade({**values, "replicas": 3}, "--force-conflicts")
        assert [pod.child.running for pod in pods] == [True, True], "the operator goes on with the new kinds"
        pods.append(started(release.pod(tmp_path / "new-0", *FLAGS), WAITS))
        pods[0].stop()
        pods.append(started(release.pod(tmp_path / "new-1", *FLAGS), WAITS))
        pods[1].stop()
        job = fleet.wait_for_end("night")
        assert is_true(job.status.conditions, ConditionType.COMPLETE), fleet.explain()
        fleet.assert_nothing_lost_or_doubled(job, len(CLIPS))
        assert {shard.status.attempt for shard in fleet.shards("night")} == {1}, "nothing was begun twice"

        control_plane.kubectl("delete", "audiobatchjobs", "--all", "-n", NAMESPACE, "--timeout=60s")
        control_plane.kubectl("delete", "macagents", mac.name, "--timeout=60s")
        said = release.uninstall("--timeout", "60s")
    finally:
        for pod in pods:
            pod.stop()
    assert "CustomResourceDefinition" in said, "Helm says what it keeps"
    assert set(control_plane.kubectl("get", "crd", "-o", "name").split()) == KINDS_LEFT
    for path in (
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/release-voxfleet",
        f"/apis/apps/v1/namespaces/{OPERATOR_NAMESPACE}/deployments/release-voxfleet",
        f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/serviceaccounts/release-voxfleet",
    ):
        with pytest.raises(RequestRefused, match="not found"):
            control_plane.admin().call("GET", path)
    fleet.wait_until_empty(mac)


def done(fleet: Fleet) -> int:
    return fleet.job("night").status.clips.succeeded
