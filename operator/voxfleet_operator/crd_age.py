"""Whether the API server's CRDs know all that this operator writes: a status with a field that they lack is refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

import structlog
from pydantic import BaseModel

from voxfleet_api import GROUP, VERSION
from voxfleet_api.kinds import KINDS, Resource
from voxfleet_operator.kube import Kube
from voxfleet_operator.kube_errors import KubeError

SHOWN_FIELDS = 5

log = structlog.get_logger(__name__)


async def tell_of_older_crds(kube: Kube) -> None:
    """Logs an error that names the fields which the CRDs lack. Where the schemas cannot be read, nothing is told."""
    try:
        answer = await kube.request("GET", f"/openapi/v3/apis/{GROUP}/{VERSION}")
    except KubeError as error:
        log.debug("the schemas of the CRDs cannot be read", error=str(error))
        return
    missing = [field for kind in KINDS for field in unknown_fields(kind, answer)]
    if missing:
        log.error(
            "the CRDs are older than this operator, and the API server refuses what it writes; apply those of its"
            " version (kubectl apply -k crds)",
            unknown_fields=missing[:SHOWN_FIELDS],
        )


def unknown_fields(kind: type[Resource], openapi: Mapping[str, Any]) -> list[str]:
    """The fields of the kind's status that the API server does not know. `openapi`: OpenAPI v3 of our group."""
    schemas = openapi.get("components", {}).get("schemas", {})
    schema = next((item for item in schemas.values() if _is_of(kind, item)), None)
    if schema is None:
        return []  # it is not served yet: the watch tells
    status = schema.get("properties", {}).get("status", {})
    return list(_unknown(kind.model_fields["status"].annotation, status, f"{kind.crd.kind}.status"))


def _is_of(kind: type[Resource], schema: Mapping[str, Any]) -> bool:
    named = {"group": GROUP, "version": VERSION, "kind": kind.crd.kind}
    return named in schema.get("x-kubernetes-group-version-kind", ())


def _unknown(annotation: object, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    schema = schema.get("items", schema)
    properties = schema.get("properties")
    if properties is None:
        return  # a map, or no object
    for model in _models(annotation):
        for name, field in model.model_fields.items():
            alias = field.alias or name
            if alias in properties:
                yield from _unknown(field.annotation, properties[alias], f"{path}.{alias}")
            else:
                yield f"{path}.{alias}"


def _models(annotation: object) -> Iterable[type[BaseModel]]:
    """The models in an annotation, as in `tuple[Model, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]
