"""Where the API server keeps objects of this project's kinds, and how one that it sent is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import ValidationError

from voxfleet_api import GROUP, VERSION
from voxfleet_api.kinds import Resource

R = TypeVar("R", bound=Resource)


class Unreadable(Exception):
    """An object that does not parse, for example because its CRD is newer than this operator."""


def parse(kind: type[R], data: Mapping[str, Any]) -> R:
    """Raises Unreadable, which names the object and its wrong fields."""
    try:
        return kind.load(data)
    except ValidationError as error:
        metadata = data.get("metadata") or {}
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        )
        raise Unreadable(
            f"{kind.crd.kind} {metadata.get('namespace', '')}/{metadata.get('name', '')} cannot be read: {wrong}"
        ) from None  # the original error quotes values, which must not reach a log


def resource_path(kind: type[Resource], namespace: str = "", name: str = "", subresource: str = "") -> str:
    """`/apis/voxfleet.dev/v1alpha1/...`. Without a namespace, the path of all namespaces."""
    parts = ["/apis", GROUP, VERSION]
    if kind.crd.scope == "Namespaced" and namespace:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(kind.crd.plural)
    if name:
        parts.append(quote(name, safe=""))
    if subresource:
        parts.append(subresource)
    return "/".join(parts)
