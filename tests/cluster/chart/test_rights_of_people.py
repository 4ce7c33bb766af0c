"""What the chart's roles let people do, asked of the API server; and that it takes every manifest of the chart."""

from __future__ import annotations

import json
import time

import pytest

from voxfleet_dev.api_request import ApiRequests
from voxfleet_dev.chart import Manifest, render
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.operator_account import object_path

WRITES = ("create", "update", "patch", "delete", "deletecollection")
READS = ("get", "list", "watch")
WAIT_SECONDS = 30.0
RBAC = "rbac.authorization.k8s.io"


def test_the_api_server_takes_every_manifest(installed_crds: ControlPlane, namespace: str) -> None:
    values = {
        "watchNamespaces": [namespace],
        "fleetSecrets": {"names": ["fleet-ssh"]},
        "credentialNamespaces": [{"namespace": namespace, "secretNames": ["s3-calls"]}],
        "networkPolicy": {"egress": {"enabled": True, "apiServer": ["10.0.0.1/32"], "macs": ["10.1.0.0/24"]}},
        "gateway": {
            "enabled": True,
            "fleetSecrets": ["fleet-ssh"],
            "keySecrets": [{"namespace": namespace, "secretNames": ["speech-keys"]}],
        },
    }
    manifests = render("voxfleet", namespace, values)
    text = "\n---\n".join(json.dumps(manifest) for manifest in manifests)
    printed = installed_crds.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", input=text)
    assert len(printed.splitlines()) == len(manifests)


class Asked:
    """Whether somebody with one of the chart's roles in one namespace may do something."""

    def __init__(self, admin: ApiRequests, namespace: str) -> None:
        self._admin = admin
        self.namespace = namespace

    def may(self, role: str, verb: str, resource: str, namespace: str) -> bool:
        plain, _, subresource = resource.partition("/")
        attributes = {"verb": verb, "group": "voxfleet.dev", "resource": plain, "subresource": subresource}
        spec = {"user": _person(role), "resourceAttributes": {**attributes, "namespace": namespace}}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        answer = self._admin.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(answer["status"]["allowed"])


def _person(role: str) -> str:
    return f"somebody-with-{role}"


@pytest.fixture(scope="module")
def asked(installed_crds: ControlPlane) -> Asked:
    """Kubernetes' own view, edit and admin take the chart's roles up by their labels; no controller does so here."""
    namespace, admin = "people", installed_crds.admin()
    installed_crds.kubectl("create", "namespace", namespace)
    roles = [role for role in render("people", namespace) if role["kind"] == "ClusterRole" and _aggregates(role)]
    for role in roles:
        admin.apply(object_path(role), role)
        for name in _aggregates(role):
            binding = _binding(f"{role['metadata']['name']}-{name}", namespace, role, _person(name))
            admin.apply(object_path(binding), binding)
    asked, deadline = Asked(admin, namespace), time.monotonic() + WAIT_SECONDS
    bound = [
        ("view", "list", "audioshards"),
        ("edit", "update", "voicecontracts"),
        ("admin", "update", "voicecontracts"),
    ]
    while not all(asked.may(*right, namespace) for right in bound):
        assert time.monotonic() < deadline, "the API server has not heard of the bindings"
    return asked


def _aggregates(role: Manifest) -> list[str]:
    prefix = f"{RBAC}/aggregate-to-"
    labels = [label.removeprefix(prefix) for label in role["metadata"]["labels"] if label.startswith(prefix)]
    return [name for name in labels if name in ("view", "edit", "admin")]


def _binding(name: str, namespace: str, role: Manifest, user: str) -> Manifest:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role["metadata"]["name"]},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
    }


@pytest.mark.parametrize("role", ["view", "edit", "admin"])
def test_people_write_what_is_theirs_in_their_namespace_and_nothing_else(asked: Asked, role: str) -> None:
    theirs = ["voicecontracts", "audiobatchjobs", "audiobatchschedules", "voiceendpoints"]
    for resource in theirs:
        assert all(asked.may(role, verb, resource, asked.namespace) for verb in READS)
        assert [asked.may(role, verb, resource, asked.namespace) for verb in WRITES] == [role != "view"] * len(WRITES)
        assert not any(asked.may(role, verb, resource, "default") for verb in (*READS, *WRITES))
        assert not any(asked.may(role, verb, f"{resource}/status", asked.namespace) for verb in WRITES)
    assert asked.may(role, "use", "voiceendpoints", asked.namespace) is (role != "view")
    assert all(asked.may(role, verb, "audioshards", asked.namespace) for verb in READS)
    for resource in ("audioshards", "audioshards/status", "macagents", "machinehourstatements"):
        assert not any(asked.may(role, verb, resource, asked.namespace) for verb in WRITES), resource
