"""The Helm chart: rendered, or installed as people install it. Nothing here runs the Deployment."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from voxfleet_dev import binaries
from voxfleet_dev.locations import REPOSITORY

CHART = REPOSITORY / "charts" / "voxfleet"
TIMEOUT_SECONDS = 120.0
Manifest = dict[str, Any]


class HelmFailed(RuntimeError):
    """helm exited with an error; the message is what it printed."""


def helm(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> str:
    """Runs helm; returns its output. Raises HelmFailed, subprocess.TimeoutExpired, go_build.BuildFailed."""
    program = binaries.ensure(["helm"])["helm"]
    answer = subprocess.run(
        [program, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
        env=None if environment is None else dict(environment),
    )
    if answer.returncode:
        raise HelmFailed(f"helm {' '.join(map(str, arguments))} exited with {answer.returncode}:\n{answer.stderr}")
    return answer.stdout


def helm_with_values(
    *arguments: str | Path, values: Mapping[str, object], environment: Mapping[str, str] | None = None
) -> str:
    """Runs helm with these values, which may be secret no more than a file of this user's. Raises as `helm` does."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values, file)
        file.flush()
        return helm(*arguments, "--values", file.name, environment=environment)


def render(
    release: str, namespace: str, values: Mapping[str, object] | None = None, chart: Path = CHART
) -> list[Manifest]:
    """The manifests of `helm template`, in its order. Raises HelmFailed."""
    text = helm_with_values("template", release, chart, "--namespace", namespace, values=values or {})
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]


def deployment_of(manifests: Sequence[Manifest], component: str = "operator") -> Manifest:
    (deployment,) = (
        document
        for document in manifests
        if document["kind"] == "Deployment"
        and document["metadata"]["labels"]["app.kubernetes.io/component"] == component
    )
    return deployment


def container_arguments(manifests: Sequence[Manifest], component: str = "operator") -> list[str]:
    """What the Deployment's container starts the operator with, or the gateway."""
    (container,) = deployment_of(manifests, component)["spec"]["template"]["spec"]["containers"]
    return [str(word) for word in container["args"]]
