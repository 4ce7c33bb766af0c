"""Generates kustomize's configuration: which fields of our kinds name other objects, so that it can rename them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from voxfleet_api import GROUP
from voxfleet_api.kinds import AudioShard, MachineHourStatement, Resource
from voxfleet_generate.crds import HEADER
from voxfleet_generate.not_structural import NotStructural
from voxfleet_generate.structural import kind_schema

COMPONENT = "gitops/kustomize/references"
REFERENCES = f"{COMPONENT}/references.yaml"
NAMED = {"contractRef": "VoiceContract", "jobRef": "AudioBatchJob", "SecretRef": "Secret", "caBundleRef": "Secret"}
"""The kind that a field names, by how the field's name ends."""
_WRITTEN_BY_THE_OPERATOR = (AudioShard, MachineHourStatement)


def references_yaml(kinds: tuple[type[Resource], ...]) -> str:
    """Raises NotStructural naming a reference whose kind is unknown."""
    found = list(references(kinds))
    entries = [
        {
            "kind": named,
            **({} if named == "Secret" else {"group": GROUP}),
            "fieldSpecs": [{"kind": kind, "group": GROUP, "path": path} for kind, path, of in found if of == named],
        }
        for named in dict.fromkeys(NAMED.values())
    ]
    return HEADER + yaml.safe_dump({"nameReference": entries}, sort_keys=False, width=1000)


def references(kinds: tuple[type[Resource], ...]) -> Iterator[tuple[str, str, str]]:
    """(kind, path of a name in its spec, kind of the object that it names), of the kinds that people write."""
    for kind in kinds:
        if kind not in _WRITTEN_BY_THE_OPERATOR:
            for path in _names(kind_schema(kind)["properties"]["spec"], "spec"):
                yield kind.crd.kind, path, _named_by(kind, path)


def _names(schema: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, inner in schema.get("properties", {}).items():
        if name.endswith("Ref"):
            yield f"{path}/{name}/name"
        yield from _names(inner, f"{path}/{name}")
    if "items" in schema:
        yield from _names(schema["items"], path)


def _named_by(kind: type[Resource], path: str) -> str:
    field = path.split("/")[-2]
    for ending, named in NAMED.items():
        if field.endswith(ending):
            return named
    raise NotStructural(f"{kind.crd.kind} {path}: voxfleet_generate.kustomize.NAMED does not say what {field} names")
