"""Rights as RBAC counts them: what the chart grants, what an account did according to the audit log."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from voxfleet_dev.chart import Manifest
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.operator_account import object_path

WAIT_SECONDS, POLL_SECONDS = 30.0, 0.01
ROLES = ("ClusterRole", "Role")


@dataclass(frozen=True, order=True)
class Right:
    """One verb on one resource, as small as RBAC can grant it."""

    verb: str
    group: str
    resource: str
    """With its subresource: `audiobatchjobs/status`."""
    name: str = ""
    """Empty where the right is not limited to one object."""
    namespace: str = ""
    """Of the Role that grants it; empty for all."""

    def __str__(self) -> str:
        place = f" in {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.resource}{'.' if self.group else ''}{self.group} {self.name}{place}"

    def rule(self) -> dict[str, object]:
        rule: dict[str, object] = {"verbs": [self.verb], "apiGroups": [self.group], "resources": [self.resource]}
        return {**rule, "resourceNames": [self.name]} if self.name else rule


@dataclass(frozen=True)
class Request:
    """What the audit log says of one request."""

    right: Right
    """That it needed, limited to its object and its namespace."""
    uri: str
    status: int

    @property
    def method(self) -> str:
        return {"create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}.get(self.right.verb, "GET")

    def needs(self, granted: Right) -> bool:
        """Whether the right is one that allows it."""
        wanted = self.right
        if not granted.name:
            wanted = replace(wanted, name="")
        if not granted.namespace:
            wanted = replace(wanted, namespace="")
        return wanted == granted


def bound_to(manifests: Sequence[Manifest], account: str) -> list[Manifest]:
    """The roles among the manifests that a binding among them gives to this ServiceAccount."""
    given = {
        (binding["roleRef"]["kind"], binding["roleRef"]["name"], binding["metadata"].get("namespace", ""))
        for binding in manifests
        if binding["kind"] in ("ClusterRoleBinding", "RoleBinding")
        and any(subject["name"] == account for subject in binding["subjects"])
    }
    return [
        role
        for role in manifests
        if role["kind"] in ROLES
        and (role["kind"], role["metadata"]["name"], role["metadata"].get("namespace", "")) in given
    ]


def rights_of(role: Manifest) -> list[Right]:
    namespace = role["metadata"].get("namespace", "")
    found = [
        Right(verb, group, resource, name, namespace)
        for rule in role["rules"]
        for verb, group, resource, name in product(
            rule["verbs"], rule["apiGroups"], rule["resources"], rule.get("resourceNames") or [""]
        )
    ]
    assert len(found) == len(set(found)), f"{role['metadata']['name']} grants something twice"
    return sorted(found)


def requests_of(audit_log: Path, user: str) -> list[Request]:
    """The user's requests for resources; discovery is allowed to everybody."""
    found = []
    for line in audit_log.read_text().splitlines():
        entry = json.loads(line)
        asked = entry.get("objectRef")
        # A request that nobody made, such as one with a token that has just expired, has a user without a name.
        if entry["user"].get("username") != user or asked is None:
            continue
        resource = "/".join(part for part in (asked["resource"], asked.get("subresource")) if part)
        namespace = asked.get("namespace", "") if asked["resource"] != "namespaces" else ""
        right = Right(entry["verb"], asked.get("apiGroup", ""), resource, asked.get("name", ""), namespace)
        found.append(Request(right, entry["requestURI"], entry.get("responseStatus", {}).get("code", 0)))
    return found


class RoleWithout:
    """The role lacks one right while this context lasts, and the API server has heard of it."""

    def __init__(self, control_plane: ControlPlane, user: str, role: Manifest, right: Right) -> None:
        self._admin = control_plane.admin()
        self._user = user
        self._role = role
        self._right = right

    def __enter__(self) -> None:
        left = [other.rule() for other in rights_of(self._role) if other != self._right]
        self._put({**self._role, "rules": left})
        deadline = time.monotonic() + WAIT_SECONDS
        while self._is_allowed():
            assert time.monotonic() < deadline, f"{self._right} is still allowed after {WAIT_SECONDS:g} s"
            time.sleep(POLL_SECONDS)

    def __exit__(self, *_: object) -> None:
        self._put(self._role)

    def _put(self, role: Mapping[str, Any]) -> None:
        self._admin.call("PUT", object_path(dict(role)), role)

    def _is_allowed(self) -> bool:
        right = self._right
        resource, _, subresource = right.resource.partition("/")
        attributes = {
            "verb": right.verb,
            "group": right.group,
            "resource": resource,
            "subresource": subresource,
            "name": right.name,
            "namespace": right.namespace,
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": self._user, "resourceAttributes": attributes},
        }
        answer = self._admin.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(answer["status"]["allowed"])


def unneeded(granted: Iterable[Right], requests: Sequence[Request]) -> list[Right]:
    """Those that no request needed."""
    return [right for right in granted if not any(request.needs(right) for request in requests)]
