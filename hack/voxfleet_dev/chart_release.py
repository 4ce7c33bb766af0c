"""The chart as people install it, with Helm, on a control plane that runs no pods: the Deployment is played."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from voxfleet_dev.chart import CHART, Manifest, container_arguments, deployment_of, helm, helm_with_values
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.gateway_process import GatewayProcess
from voxfleet_dev.operator_account import log_in
from voxfleet_dev.operator_process import OperatorProcess

HERE = ("--health-host=127.0.0.1", "--health-port=0")
"""In place of a pod's own address and port."""
IN_A_POD = ("--namespace=", "--host=", "--port=", "--health-")
"""Flags of a gateway that a process on this machine has others for."""


class ChartRelease:
    """One release in a namespace. Raises HelmFailed where Helm refuses."""

    def __init__(self, control_plane: ControlPlane, namespace: str, name: str = "voxfleet") -> None:
        self.name = name
        self.namespace = namespace
        self._control_plane = control_plane

    def install(self, values: Mapping[str, object], *flags: str, chart: Path = CHART) -> None:
        """With its namespace, if there is none."""
        self._helm("install", chart, values, "--create-namespace", *flags)

    def upgrade(self, values: Mapping[str, object], *flags: str, chart: Path = CHART) -> None:
        self._helm("upgrade", chart, values, *flags)

    def uninstall(self, *flags: str) -> str:
        """Returns what Helm says."""
        environment = self._control_plane.environment()
        return helm("uninstall", self.name, "--namespace", self.namespace, *flags, environment=environment)

    def manifests(self) -> list[Manifest]:
        """As they were installed."""
        environment = self._control_plane.environment()
        text = helm("get", "manifest", self.name, "--namespace", self.namespace, environment=environment)
        return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]

    def pod(self, directory: Path, *flags: str) -> OperatorProcess:
        """One pod of the Deployment: its arguments, its ServiceAccount, and what `flags` change."""
        kubeconfig, told = self._pod(directory, "operator")
        return OperatorProcess(directory, kubeconfig=kubeconfig, namespace=self.namespace, flags=[*told, *HERE, *flags])

    def gateway_pod(self, directory: Path, port: int) -> GatewayProcess:
        """One pod of the gateway's Deployment, on a port of this machine."""
        kubeconfig, told = self._pod(directory, "gateway", ("/api/v1/namespaces/kube-system",))
        flags = [word for word in told if not word.startswith(IN_A_POD)]
        return GatewayProcess(directory, kubeconfig, self.namespace, flags, port=port)

    def _pod(self, directory: Path, component: str, awaited: Sequence[str] | None = None) -> tuple[Path, list[str]]:
        """The kubeconfig of its ServiceAccount, and its arguments."""
        manifests = self.manifests()
        account = deployment_of(manifests, component)["spec"]["template"]["spec"]["serviceAccountName"]
        directory.mkdir(parents=True, exist_ok=True)
        kubeconfig = log_in(self._control_plane, self.namespace, account, directory / "kubeconfig", awaited)
        return kubeconfig, container_arguments(manifests, component)

    def _helm(self, verb: str, chart: Path, values: Mapping[str, object], *flags: str) -> None:
        where = ("--namespace", self.namespace)
        environment = self._control_plane.environment()
        helm_with_values(verb, self.name, chart, *where, *flags, values=values, environment=environment)
