"""kustomize carries the names that it gives into every field of our kinds that names another object."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from voxfleet_api import API_VERSION
from voxfleet_api.kinds import KINDS
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.locations import REPOSITORY
from voxfleet_generate.kustomize import COMPONENT, references

FIELDS = sorted(references(KINDS))


@pytest.fixture(scope="module")
def renamed(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """An object with each of the fields, in a kustomization with a prefix and a generated Secret, by kind."""
    folder = tmp_path_factory.mktemp("renamed")
    (folder / "references").symlink_to(REPOSITORY / COMPONENT, target_is_directory=True)
    objects: dict[str, dict[str, Any]] = {
        kind.crd.kind: {"apiVersion": API_VERSION, "kind": kind.crd.kind, "metadata": {"name": "one"}} for kind in KINDS
    }
    for kind, path, _ in FIELDS:
        where = objects[kind]
        *folders, last = path.split("/")
        for name in folders:
            where = where.setdefault(name, {})
        where[last] = "one"
    (folder / "objects.yaml").write_text(yaml.safe_dump_all(objects.values()))
    kustomization = {
        "namePrefix": "team-",
        "resources": ["objects.yaml"],
        "components": ["references"],
        "secretGenerator": [{"name": "one", "literals": ["key=value"]}],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    built = yaml.safe_load_all(control_plane.kubectl("kustomize", str(folder)))
    return {item["kind"]: item for item in built}


@pytest.mark.parametrize(("kind", "path", "named"), FIELDS)
def test_a_name_that_kustomize_gave_is_carried_over(
    renamed: dict[str, dict[str, Any]], kind: str, path: str, named: str
) -> None:
    value: Any = renamed[kind]
    for name in path.split("/"):
        value = value[name]
    assert value == renamed[named]["metadata"]["name"] != "one"


def test_a_contract_a_job_and_a_secret_are_named_by_jobs_schedules_and_macs() -> None:
    named = {(kind, named) for kind, _, named in FIELDS}
    assert {(kind, "VoiceContract") for kind in ("AudioBatchJob", "AudioBatchSchedule", "VoiceEndpoint")} <= named
    assert {(kind, "Secret") for kind in ("AudioBatchJob", "AudioBatchSchedule", "MacAgent", "VoiceEndpoint")} <= named
