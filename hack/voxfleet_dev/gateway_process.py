"""A gateway as a child process, under the chart's account for gateways."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from voxfleet_dev.chart import Manifest, render
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.health_client import HealthClient
from voxfleet_dev.operator_account import COLLECTIONS, log_in, object_path
from voxfleet_dev.processes import Child, free_port

START_TIMEOUT_SECONDS = 60.0


class GatewayAccount:
    """Of the gateways in one namespace, with exactly the chart's rights. `grant` makes it."""

    def __init__(self, control_plane: ControlPlane, namespace: str, values: Mapping[str, object]) -> None:
        """`values`: of the chart's `gateway`, such as the Secrets that it may get."""
        self.namespace = namespace
        self.release = f"voxfleet-{namespace}"
        self.name = f"{self.release}-gateway"
        self.kubeconfig = control_plane.directory / f"gateway-{namespace}.kubeconfig"
        self._control_plane = control_plane
        self._values = {"gateway": {"enabled": True, **values}, "crds": {"enabled": False}}

    @property
    def user(self) -> str:
        """As the API server names it."""
        return f"system:serviceaccount:{self.namespace}:{self.name}"

    def manifests(self) -> list[Manifest]:
        """The account and its rights, as the chart has them."""
        return [
            found
            for found in render(self.release, self.namespace, self._values)
            if found["kind"] in COLLECTIONS
            and found["metadata"]["labels"].get("app.kubernetes.io/component") == "gateway"
        ]

    def grant(self) -> Path:
        """Applies what the chart grants and writes the kubeconfig, which it returns. The namespace is there."""
        admin = self._control_plane.admin()
        secrets: list[str] = []
        for manifest in self.manifests():
            admin.apply(object_path(manifest), manifest)
            if manifest["metadata"]["name"].endswith("-secrets") and manifest["kind"] == "Role":
                (rule,) = manifest["rules"]
                where = f"/api/v1/namespaces/{manifest['metadata']['namespace']}/secrets"
                secrets += [f"{where}/{name}" for name in rule["resourceNames"]]
        awaited = ["/api/v1/namespaces/kube-system", *secrets]
        return log_in(self._control_plane, self.namespace, self.name, self.kubeconfig, awaited)


class GatewayProcess:
    def __init__(
        self,
        directory: Path,
        kubeconfig: Path,
        namespace: str,
        flags: Sequence[str] = (),
        *,
        port: int | None = None,
    ) -> None:
        """`namespace`: of the MacAgents' Secrets. `port`: None for any free one."""
        port, health_port = port or free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.health = HealthClient(health_port)
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        argv = [sys.executable, "-m", "voxfleet_gateway", "gateway", "--namespace", namespace]
        ports = ["--port", str(port), "--health-port", str(health_port)]
        self.child = Child("gateway", [*argv, *ports, *flags], directory / "gateway.log", env=environment)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns once it is ready. Raises ChildFailed."""
        self.child.start()
        self.child.wait_until(self.health.ready, START_TIMEOUT_SECONDS, "ready")

    def stop(self) -> None:
        """SIGTERM, then SIGKILL. Safe to repeat."""
        self.child.stop()

    def log_lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.child.log.read_text().splitlines()]
