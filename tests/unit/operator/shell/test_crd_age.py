"""An operator that is newer than the CRDs says so when it starts, and names what they lack."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from voxfleet_api import GROUP, VERSION
from voxfleet_api.kinds import KINDS, AudioShard, Resource
from voxfleet_generate.structural import kind_schema
from voxfleet_operator.crd_age import unknown_fields


def openapi(kind: type[Resource]) -> dict[str, Any]:
    """As the API server publishes the CRD of this version."""
    named = {"group": GROUP, "version": VERSION, "kind": kind.crd.kind}
    schema = {**deepcopy(kind_schema(kind)), "x-kubernetes-group-version-kind": [named]}
    return {"components": {"schemas": {"other": {}, "ours": schema}}}


@pytest.mark.parametrize("kind", KINDS)
def test_the_crds_of_this_version_lack_nothing(kind: type[Resource]) -> None:
    assert unknown_fields(kind, openapi(kind)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_each_field_of_a_status_that_they_lack_is_named(kind: type[Resource]) -> None:
    known = openapi(kind)["components"]["schemas"]["ours"]["properties"]["status"]["properties"]
    for name in known:
        older = openapi(kind)
        del older["components"]["schemas"]["ours"]["properties"]["status"]["properties"][name]
        assert unknown_fields(kind, older) == [f"{kind.crd.kind}.status.{name}"]


def test_a_field_inside_a_list_is_named_with_its_place() -> None:
    older = openapi(AudioShard)
    status = older["components"]["schemas"]["ours"]["properties"]["status"]["properties"]
    del status["attempts"]["items"]["properties"]["usage"]["properties"]["rows"]
    assert unknown_fields(AudioShard, older) == ["AudioShard.status.attempts.usage.rows"]


def test_a_kind_that_is_not_served_is_left_to_the_watch() -> None:
    assert unknown_fields(AudioShard, {}) == []
