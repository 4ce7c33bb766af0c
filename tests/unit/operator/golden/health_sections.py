"""What Argo CD and Flux say of every kind in every state, and the objects that stand for it in Argo CD's own tests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from tests.rig.argo_cd import HOOK, Health, HealthScript
from tests.rig.flux import HealthCheck
from tests.rig.kstatus import manifest
from tests.unit.operator.golden.condition_sections import KSTATUS, states
from tests.unit.operator.golden.markdown_tables import Section

from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.resource import Resource
from voxfleet_dev.locations import REPOSITORY
from voxfleet_generate.gitops import CUSTOMIZATIONS, RULE, UNTIL_ACCEPTED

FILE = REPOSITORY / "gitops" / "health.md"
INTRODUCTION = """# State -> health

What a sync sees of every object in every state: by the library kstatus, which Flux asks where nobody tells it more; by
`flux/until-accepted.yaml`; and by `argocd/argocd-cm.yaml`, with the reason that Argo CD shows. For a job, `to its end`
is what it is to whoever waits for its end: with `flux/until-the-end.yaml`, or as a hook of Argo CD.
`tests/unit/operator/golden/test_health.py` runs each row.
"""
ARGO_CD, FLUX, TO_ITS_END, REASON = "Argo CD", "Flux", "to its end", "reason shown"
WAITS = {"Progressing": "InProgress", "Healthy": "Current", "Degraded": "Failed"}
"""The health of Argo CD in the words of kstatus."""


@cache
def script() -> HealthScript:
    return HealthScript(RULE.read_text())


@cache
def checks(file: str) -> Mapping[str, HealthCheck]:
    """The health checks of a file below the repository's root, by kind."""
    document = yaml.safe_load((REPOSITORY / file).read_text())
    return {item["kind"]: HealthCheck(item) for item in document["spec"]["healthCheckExprs"]}


def argo_cd(resource: Resource, *, hook: bool = False) -> Health:
    return script().health(manifest(resource, **({"annotations": {HOOK: "PostSync"}} if hook else {})))


def flux(resource: Resource, file: str = UNTIL_ACCEPTED) -> str:
    return checks(file)[resource.crd.kind].status(manifest(resource))


def health_sections(kstatus: Mapping[str, Mapping[str, str]]) -> list[Section]:
    """`kstatus`: what the library says, by kind and state."""
    return [
        Section(
            kind.crd.kind,
            f"`kubectl get {kind.crd.short_names[0]}`.",
            "state",
            {name: _cells(resource, kstatus[kind.crd.kind][name]) for name, resource in found.items()},
        )
        for kind, found in states().items()
    ]


def _cells(resource: Resource, kstatus: str) -> dict[str, str]:
    health = argo_cd(resource)
    cells = {KSTATUS: kstatus, FLUX: flux(resource), ARGO_CD: health.status}
    if isinstance(resource, AudioBatchJob):
        cells[TO_ITS_END] = argo_cd(resource, hook=True).status
    return {**cells, REASON: health.message.split(":")[0] if ": " in health.message else ""}


def upstream_tests() -> dict[Path, str]:
    """Tests of health.lua as the repository of Argo CD has them: one state for each health of a kind."""
    found: dict[Path, str] = {}
    for kind, resources in states().items():
        folder = REPOSITORY / CUSTOMIZATIONS / kind.crd.kind
        tests = []
        for name, body, health in _standing_for_all(kind, resources):
            path = f"testdata/{name}.yaml"
            found[folder / path] = yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=1000)
            status = {"status": health.status, **({"message": health.message} if health.message else {})}
            tests.append({"healthStatus": status, "inputPath": path})
        found[folder / "health_test.yaml"] = yaml.safe_dump({"tests": tests}, sort_keys=False, width=1000)
    return found


def _standing_for_all(
    kind: type[Resource], resources: Mapping[str, Resource]
) -> Iterator[tuple[str, dict[str, Any], Health]]:
    seen: set[str] = set()
    for name, resource in resources.items():
        health = argo_cd(resource)
        if health.status not in seen and resource.metadata.deletion_timestamp is None:
            seen.add(health.status)
            yield _slug(name), manifest(resource), health
    if kind is AudioBatchJob:
        running = resources["running"]
        yield "running-as-a-hook", manifest(running, annotations={HOOK: "PostSync"}), argo_cd(running, hook=True)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
