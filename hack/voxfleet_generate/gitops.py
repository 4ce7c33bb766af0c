"""Generates what `gitops/` says of each kind, so that a new kind is in it by being a kind.

The rule for Argo CD is `health.lua` beside this file; its copies stand where Argo CD looks for them. The rule for Flux
stands here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from voxfleet_api import API_VERSION, GROUP
from voxfleet_api.kinds import AudioBatchJob, Resource
from voxfleet_generate.crds import HEADER

RULE = Path(__file__).with_name("health.lua")
CUSTOMIZATIONS = f"gitops/argocd/resource_customizations/{GROUP}"
CONFIG_MAP = "gitops/argocd/argocd-cm.yaml"
UNTIL_ACCEPTED = "gitops/flux/until-accepted.yaml"
UNTIL_THE_END = "gitops/flux/until-the-end.yaml"

_SEEN = "status.observedGeneration == metadata.generation"


def _is_true(type_: str) -> str:
    return f"status.conditions.exists(c, c.type == '{type_}' && c.status == 'True')"


def _among_conditions(rule: str) -> str:
    return f"has(status.conditions) && {rule}"


_NOT_READY = "status.conditions.exists(c, c.type == 'Ready' && c.status != 'True')"
_WAITS = f"has(metadata.deletionTimestamp) || {_among_conditions(_is_true('Reconciling'))}"
_FAILED = _among_conditions(_is_true("Stalled"))
_ACCEPTED = f"{_SEEN} && !({_among_conditions(_NOT_READY)})"
_ENDED = f"{_SEEN} && {_among_conditions(_is_true('Complete'))}"


def argo_cd_files(kinds: tuple[type[Resource], ...]) -> dict[str, str]:
    """Returns the files by path."""
    rule = RULE.read_text()
    copy = f"--{HEADER.removeprefix('#')}{rule}"
    found = {f"{CUSTOMIZATIONS}/{kind.crd.kind}/health.lua": copy for kind in kinds}
    return {**found, CONFIG_MAP: _config_map(kinds, rule)}


def flux_files(kinds: tuple[type[Resource], ...]) -> dict[str, str]:
    """Returns the files by path."""
    return {
        UNTIL_ACCEPTED: _patch(
            "What Flux assumes of our kinds, said in full: a job is current once it is accepted.",
            [_health_check(kind, _ACCEPTED) for kind in kinds],
        ),
        UNTIL_THE_END: _patch(
            "For a Kustomization that others wait for: a job is current once it is Complete.",
            [_health_check(AudioBatchJob, _ENDED)],
        ),
    }


def _config_map(kinds: tuple[type[Resource], ...], rule: str) -> str:
    data = {f"resource.customizations.health.{GROUP}_{kind.crd.kind}": _Block(rule) for kind in kinds}
    return _yaml(
        "# A patch for the ConfigMap of Argo CD.\n",
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "argocd-cm", "namespace": "argocd"},
            "data": data,
        },
    )


def _health_check(kind: type[Resource], current: str) -> dict[str, str]:
    return {
        "apiVersion": API_VERSION,
        "kind": kind.crd.kind,
        "inProgress": _WAITS,
        "failed": _FAILED,
        "current": current,
    }


def _patch(purpose: str, checks: list[dict[str, str]]) -> str:
    return _yaml(
        f"# {purpose}\n",
        {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": {"name": "speech", "namespace": "flux-system"},
            "spec": {"healthCheckExprs": checks},
        },
    )


class _Block(str):
    """A text that is written as it is, line by line."""


class _Dumper(yaml.SafeDumper):
    """Writes every text in full, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(
    _Block, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")
)


def _yaml(purpose: str, document: dict[str, Any]) -> str:
    return HEADER + purpose + yaml.dump(document, Dumper=_Dumper, sort_keys=True, width=1000, allow_unicode=True)
