"""The account that an operator works under: the chart's ServiceAccount, with exactly the chart's rights."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from voxfleet_dev.api_request import ApiRequests, RequestRefused
from voxfleet_dev.chart import Manifest, render
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.processes import ChildFailed

TOKEN_SECONDS = 7 * 24 * 3600
WAIT_SECONDS, POLL_SECONDS = 30.0, 0.02
ALL_FLEET_SECRETS: Mapping[str, object] = {"fleetSecrets": {"all": True}}
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
COLLECTIONS = {
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts",
    "ClusterRole": f"{_RBAC}/clusterroles",
    "ClusterRoleBinding": f"{_RBAC}/clusterrolebindings",
    "Role": f"{_RBAC}/namespaces/{{namespace}}/roles",
    "RoleBinding": f"{_RBAC}/namespaces/{{namespace}}/rolebindings",
}
"""The kinds of a chart's manifests that make an account and its rights."""


def object_path(manifest: Manifest) -> str:
    """Where the API server has it; only for the kinds of COLLECTIONS."""
    metadata = manifest["metadata"]
    return f"{COLLECTIONS[manifest['kind']].format(namespace=metadata.get('namespace', ''))}/{metadata['name']}"


class OperatorAccount:
    """Of the operators in one namespace. `grant` makes it; where its kubeconfig lies is known before.

    `values` are the chart's; without them the operator may get every Secret of its own namespace, and none elsewhere.
    """

    def __init__(
        self, control_plane: ControlPlane, namespace: str, values: Mapping[str, object] = ALL_FLEET_SECRETS
    ) -> None:
        self.namespace = namespace
        self.name = f"voxfleet-{namespace}"
        self.kubeconfig = control_plane.directory / f"operator-{namespace}.kubeconfig"
        self._control_plane = control_plane
        self._values = {**values, "crds": {"enabled": False}}

    @property
    def user(self) -> str:
        """As the API server names it."""
        return f"system:serviceaccount:{self.namespace}:{self.name}"

    def manifests(self) -> list[Manifest]:
        """The account and its rights, as the chart has them."""
        return [found for found in render(self.name, self.namespace, self._values) if found["kind"] in COLLECTIONS]

    def grant(self) -> Path:
        """Applies what the chart grants and writes the kubeconfig, which it returns. Safe to repeat.

        The namespace is made where there is none. Raises as `log_in` does, and HelmFailed.
        """
        admin = self._control_plane.admin()
        admin.apply(
            f"/api/v1/namespaces/{self.namespace}",
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}},
        )
        for manifest in self.manifests():
            admin.apply(object_path(manifest), manifest)
        return log_in(self._control_plane, self.namespace, self.name, self.kubeconfig)


def log_in(
    control_plane: ControlPlane,
    namespace: str,
    account: str,
    kubeconfig: Path,
    awaited: Sequence[str] | None = None,
) -> Path:
    """Writes a kubeconfig for the ServiceAccount of an installed chart, and returns it, once its rights take effect.

    `awaited`: paths that it may GET then; None: the operator's. Raises RequestRefused, ChildFailed.
    """
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
    answer = control_plane.admin().call(
        "POST",
        f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token",
        {**request, "spec": {"expirationSeconds": TOKEN_SECONDS}},
    )
    token = str(answer["status"]["token"])
    config = yaml.safe_load(control_plane.kubeconfig.read_text())
    config["users"][0] = {"name": account, "user": {"token": token}}
    config["contexts"][0]["context"]["user"] = account
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(yaml.safe_dump(config))
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/voxfleet-operator"
    paths = ("/api/v1/namespaces/kube-system", lease) if awaited is None else awaited
    _await_rights(ApiRequests(control_plane.url, control_plane.ca_file, token), account, paths)
    return kubeconfig


def _await_rights(requests: ApiRequests, account: str, paths: Sequence[str]) -> None:
    """The API server learns of rights by a watch of its own, and of cluster-wide ones apart from the others."""
    deadline = time.monotonic() + WAIT_SECONDS
    for path in paths:
        while _refused(requests, path):
            if time.monotonic() > deadline:
                raise ChildFailed(f"{account} may not GET {path} {WAIT_SECONDS:g} s after it was granted")
            time.sleep(POLL_SECONDS)


def _refused(requests: ApiRequests, path: str) -> bool:
    try:
        requests.call("GET", path)
    except RequestRefused as error:
        return error.status in (401, 403)
    return False
