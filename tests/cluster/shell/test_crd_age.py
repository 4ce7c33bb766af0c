"""The CRDs of this version, as a real API server publishes them."""

from __future__ import annotations

from copy import deepcopy

from voxfleet_api import GROUP, VERSION
from voxfleet_api.kinds import KINDS
from voxfleet_operator.crd_age import unknown_fields
from voxfleet_operator.kube import Kube


async def test_what_the_api_server_publishes_of_our_kinds_lacks_nothing(kube: Kube) -> None:
    published = await kube.request("GET", f"/openapi/v3/apis/{GROUP}/{VERSION}")
    older = deepcopy(published)
    for schema in older["components"]["schemas"].values():
        schema.get("properties", {}).get("status", {}).get("properties", {}).pop("observedGeneration", None)
    for kind in KINDS:
        assert unknown_fields(kind, published) == []
        assert unknown_fields(kind, older) == [f"{kind.crd.kind}.status.observedGeneration"]
