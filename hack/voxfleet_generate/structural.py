"""Converts pydantic's JSON schema to the structural schema that a CRD needs.

The result is checked: a field that the API server would refuse is an error that names the field, and so is a field that
is costly or unexplained because it lacks a bound, a list type or a description.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from voxfleet_api.base import DURATION_PATTERN, NOT_FILLED_IN
from voxfleet_api.kinds import Resource
from voxfleet_generate.immutability import immutability_rules
from voxfleet_generate.not_structural import NotStructural

Schema = dict[str, Any]

_DROPPED = {"title", "$defs", "discriminator", "propertyNames", *NOT_FILLED_IN}
_KEPT = {
    "type",
    "description",
    "default",
    "enum",
    "format",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "maxProperties",
    "properties",
    "required",
    "items",
    "additionalProperties",
    "anyOf",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-validations",
}
_CONDITION_STATUSES = ["True", "False", "Unknown"]  # Kubernetes' own closed set
_COPIED_VALUE_PATTERN = r"^[A-Za-z][A-Za-z0-9_.-]*$"  # a spec that a status copies has values such as `pcm_s16le`
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]


def kind_schema(kind: type[Resource]) -> Schema:
    """Returns the openAPIV3Schema of a kind. Raises NotStructural."""
    root = kind.model_json_schema(by_alias=True)
    definitions: Mapping[str, Schema] = root.get("$defs", {})
    name = kind.crd.kind
    spec = _structural(root["properties"]["spec"], definitions, f"{name}.spec", defaults=True)
    status = _structural(root["properties"]["status"], definitions, f"{name}.status", defaults=False)
    spec["description"] = "The desired state."
    status["description"] = "The observed state; only the operator writes it."
    status["default"] = {"observedGeneration": -1}
    if kind.crd.frozen_spec is not None:
        rules = immutability_rules(kind.crd.frozen_spec, spec, f"{name}.spec")
        spec["x-kubernetes-validations"] = [*rules, *spec.get("x-kubernetes-validations", ())]
    schema: Schema = {
        "type": "object",
        "description": _one_line(root["description"]),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of the API that this object is written in."},
            "kind": {"type": "string", "description": f"Always {name}."},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    }
    if "x-kubernetes-validations" in root:
        schema["x-kubernetes-validations"] = root["x-kubernetes-validations"]
    for part in ("spec", "status"):
        _check(schema["properties"][part], f"{name}.{part}")
    return schema


def _structural(node: Schema, definitions: Mapping[str, Schema], path: str, *, defaults: bool) -> Schema:
    node = _inlined(node, definitions, path)
    result: Schema = {}
    for keyword, value in node.items():
        if keyword in _DROPPED or (keyword == "additionalProperties" and value is False):
            continue
        if keyword == "const":
            result["enum"] = [value]
        elif keyword == "default":
            if defaults and value is not None and not NOT_FILLED_IN.keys() & node.keys():
                result["default"] = _plain(value)
        elif keyword == "properties":
            result["properties"] = {
                name: _structural(child, definitions, f"{path}.{name}", defaults=defaults)
                for name, child in value.items()
            }
        elif keyword in ("items", "additionalProperties"):
            result[keyword] = _structural(value, definitions, f"{path}[]", defaults=defaults)
        elif keyword == "description":
            result["description"] = _one_line(value)
        elif keyword in _KEPT:
            result[keyword] = value
        else:
            raise NotStructural(f"{path}: a CRD cannot say {keyword!r}")
    if result.get("x-kubernetes-int-or-string"):
        # The API server allows no type here; the pattern applies to text, the minimum to numbers.
        del result["type"]
        result["anyOf"] = _INT_OR_STRING
        result.setdefault("minimum", 0)
    elif result.get("type") == "integer":
        result["format"] = "int64"
    if not defaults and result.get("enum", _CONDITION_STATUSES) != _CONDITION_STATUSES:
        # An operator may be newer than the CRDs, so a status takes values that its schema does not list.
        del result["enum"]
        result |= {"maxLength": 64, "pattern": _COPIED_VALUE_PATTERN}
    return result


def _inlined(node: Schema, definitions: Mapping[str, Schema], path: str) -> Schema:
    """Returns the node without `$ref` and the null of an optional field; keywords beside them take precedence."""
    node = dict(node)
    while "$ref" in node or "anyOf" in node or "allOf" in node:
        if "$ref" in node:
            target = definitions[node.pop("$ref").removeprefix("#/$defs/")]
        else:
            keyword = "anyOf" if "anyOf" in node else "allOf"
            choices = [choice for choice in node.pop(keyword) if choice != {"type": "null"}]
            if len(choices) != 1:
                raise NotStructural(f"{path}: a CRD knows no unions; write one optional field for each alternative")
            target = choices[0]
        node = {**target, **node}
    return node


def _plain(value: Any) -> Any:
    """Returns a default without its absent fields."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _check(node: Schema, path: str) -> None:
    if "type" not in node and not node.get("x-kubernetes-int-or-string"):
        raise NotStructural(f"{path}: has no type")
    match node.get("type"):
        case "array":
            if "x-kubernetes-list-type" not in node or "maxItems" not in node:
                raise NotStructural(f"{path}: a list needs a list type and max_length")
            if node["x-kubernetes-list-type"] == "map":
                _check_list_keys(node, path)
            _check(node["items"], f"{path}[]")
        case "object":
            _check_object(node, path)
        case "string":
            if "maxLength" not in node and "enum" not in node:
                raise NotStructural(f"{path}: a string needs max_length")
            if node.get("pattern") == DURATION_PATTERN and not _has_bounds(node):
                raise NotStructural(f"{path}: a duration needs bounds; write json_schema_extra=between(…, …)")
        case "number":
            raise NotStructural(f"{path}: the API has no floats; write an integer unit or a decimal string")
        case "integer" | "boolean" | None:
            pass
        case other:
            raise NotStructural(f"{path}: a CRD has no type {other!r}")


def _check_object(node: Schema, path: str) -> None:
    if "additionalProperties" in node:
        if "properties" in node or "maxProperties" not in node:
            raise NotStructural(f"{path}: a map needs max_length, and no fields beside its entries")
        _check(node["additionalProperties"], f"{path}[]")
    elif not node.get("properties"):
        raise NotStructural(f"{path}: an object needs fields")
    for name, child in node.get("properties", {}).items():
        if "_" in name:
            raise NotStructural(f"{path}.{name}: names are camelCase; give the field an alias")
        if not child.get("description"):
            raise NotStructural(f"{path}.{name}: has no description; kubectl explain would say nothing")
        _check(child, f"{path}.{name}")


def _has_bounds(node: Schema) -> bool:
    rules = " ".join(rule["rule"] for rule in node.get("x-kubernetes-validations", ()))
    return "duration(self) >=" in rules and "duration(self) <=" in rules


def _check_list_keys(node: Schema, path: str) -> None:
    item = node["items"]
    for key in node["x-kubernetes-list-map-keys"]:
        field = item.get("properties", {}).get(key)
        if field is None or (key not in item.get("required", ()) and "default" not in field):
            raise NotStructural(f"{path}[].{key}: the key of a map list is a required field, or has a default")
