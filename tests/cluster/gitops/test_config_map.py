"""The command of use-gitops.md that gives Argo CD the health of our kinds."""

from __future__ import annotations

import json
import shlex

import yaml

from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.locations import REPOSITORY
from voxfleet_generate.gitops import CONFIG_MAP

PAGE = REPOSITORY / "docs" / "how-to" / "use-gitops.md"
OTHERS = {"resource.customizations.health.example.dev_Thing": "return {status = 'Healthy'}"}


def test_the_command_adds_to_the_config_map_and_keeps_what_is_there(control_plane: ControlPlane) -> None:
    (command,) = [line for line in PAGE.read_text().splitlines() if CONFIG_MAP in line and line.startswith("kubectl")]
    metadata = {"name": "argocd-cm", "namespace": "argocd"}
    control_plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "argocd"}})
    control_plane.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": OTHERS})
    words = shlex.split(command.replace(CONFIG_MAP, str(REPOSITORY / CONFIG_MAP)))
    control_plane.kubectl(*words[1:])
    found = json.loads(control_plane.kubectl("get", "configmap", "argocd-cm", "-n", "argocd", "-o", "json"))
    assert found["data"] == {**OTHERS, **yaml.safe_load((REPOSITORY / CONFIG_MAP).read_text())["data"]}
