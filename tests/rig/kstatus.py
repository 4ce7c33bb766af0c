"""What the kstatus library, on which Flux and others wait, says of an object. `hack/kstatus` wraps it."""

from __future__ import annotations

import json
import subprocess

from voxfleet_api import API_VERSION
from voxfleet_api.kinds.resource import Resource
from voxfleet_dev import binaries


def kstatus(*objects: dict[str, object]) -> list[str]:
    program = binaries.ensure(["kstatus"])["kstatus"]
    lines = "".join(f"{json.dumps(item)}\n" for item in objects)
    answer = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
    return [line.split("\t")[0] for line in answer.stdout.splitlines()]


def manifest(resource: Resource, **metadata: object) -> dict[str, object]:
    """The object as the API server stores it."""
    plain = resource.dump()
    found = resource.metadata
    plain["metadata"] = {"name": found.name, "namespace": found.namespace, "generation": found.generation, **metadata}
    if found.deletion_timestamp is not None:
        plain["metadata"] = {**plain["metadata"], "deletionTimestamp": found.deletion_timestamp}
    return {"apiVersion": API_VERSION, "kind": resource.crd.kind, **plain}
