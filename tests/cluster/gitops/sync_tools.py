"""Argo CD and Flux as an API server sees them: how each applies, and how each tells that what is live has drifted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from voxfleet_api.kinds import KINDS
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_operator.kube import Kube
from voxfleet_operator.kube_objects import resource_path

Manifest = dict[str, Any]
Owners = Mapping[str, frozenset[str]]
"""The fields that each manager has written, by the manager's name."""


@dataclass(frozen=True)
class SyncTool:
    """Neither forces a conflict: a field that somebody else has written since fails the sync."""

    field_manager: str
    flags: tuple[str, ...]
    """Of `kubectl apply` and `kubectl diff` alike."""

    def sync(self, control_plane: ControlPlane, folder: Path) -> None:
        """Raises KubectlFailed for a refusal and for a conflict."""
        manager = f"--field-manager={self.field_manager}"
        control_plane.kubectl("apply", *self.flags, manager, "-k", str(folder))

    def drift(self, control_plane: ControlPlane, folder: Path) -> str:
        """What the next sync would change. Raises KubectlFailed, with the differences, where there are any."""
        manager = f"--field-manager={self.field_manager}"
        return control_plane.kubectl("diff", *self.flags, manager, "-k", str(folder))


FLUX = SyncTool("kustomize-controller", ("--server-side",))
ARGO_CD = SyncTool("argocd-controller", ())
"""Without ServerSideApply: a three-way merge with the annotation of what was last applied."""


def built(control_plane: ControlPlane, folder: Path) -> list[Manifest]:
    """What Git says."""
    return list(yaml.safe_load_all(control_plane.kubectl("kustomize", str(folder))))


async def live(kube: Kube, objects: list[Manifest]) -> dict[str, Manifest]:
    """The objects of a kustomization as the server has them, by kind and name."""
    return {f"{item['kind']}/{item['metadata']['name']}": await kube.request("GET", _path(item)) for item in objects}


def _path(item: Manifest) -> str:
    kind = next((kind for kind in KINDS if kind.crd.kind == item["kind"]), None)
    if kind is None:
        assert item["kind"] == "Namespace"
        return f"/api/v1/namespaces/{item['metadata']['name']}"
    return resource_path(kind, item["metadata"].get("namespace", ""), item["metadata"]["name"])


def owners(item: Manifest) -> Owners:
    found: dict[str, frozenset[str]] = {}
    for entry in item["metadata"].get("managedFields", ()):
        written = frozenset(_leaves(entry.get("fieldsV1", {}), ""))
        found[entry["manager"]] = found.get(entry["manager"], frozenset()) | written
    return found


def _leaves(fields: Mapping[str, Any], path: str) -> Iterator[str]:
    """A field without fields of its own, or that was written as a whole."""
    inner = {name: value for name, value in fields.items() if name != "."}
    if not inner and path:
        yield path
    for name, value in inner.items():
        yield from _leaves(value, f"{path}.{name.removeprefix('f:')}" if path else name.removeprefix("f:"))
