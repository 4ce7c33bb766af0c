"""Generates crds/*.yaml."""

from __future__ import annotations

from typing import Any

import yaml

from voxfleet_api import GROUP, VERSION
from voxfleet_api.kinds import Resource
from voxfleet_api.kinds.resource import PrinterColumn
from voxfleet_generate.structural import kind_schema

NOTE = "Generated from crds/voxfleet_api by `make generate`; do not edit."
HEADER = f"# {NOTE}\n"
CATEGORIES = ["audio", "voxfleet"]
"""What `kubectl get` takes for all kinds."""


def crd_file_name(kind: type[Resource]) -> str:
    return f"{GROUP}_{kind.crd.plural}.yaml"


def crd_yaml(kind: type[Resource]) -> str:
    return HEADER + yaml_text(crd(kind))


def kustomization_yaml(kinds: tuple[type[Resource], ...]) -> str:
    return HEADER + yaml_text(
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": sorted(crd_file_name(kind) for kind in kinds),
        }
    )


def crd(kind: type[Resource]) -> dict[str, Any]:
    """Returns a kind's CustomResourceDefinition. Raises NotStructural."""
    facts = kind.crd
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{facts.plural}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "voxfleet"}},
        "spec": {
            "group": GROUP,
            "scope": facts.scope,
            "names": {
                "kind": facts.kind,
                "listKind": f"{facts.kind}List",
                "plural": facts.plural,
                "singular": facts.singular,
                "shortNames": list(facts.short_names),
                "categories": CATEGORIES,
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": kind_schema(kind)},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(column) for column in facts.columns],
                }
            ],
        },
    }


def _column(column: PrinterColumn) -> dict[str, Any]:
    printed: dict[str, Any] = {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.json_path,
        "description": column.description,
    }
    return {**printed, "priority": column.priority} if column.priority else printed


class _Dumper(yaml.SafeDumper):
    """Writes no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def yaml_text(document: dict[str, Any]) -> str:
    """Returns the document with sorted keys, and every list and map in full."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=True, width=120, allow_unicode=True)
