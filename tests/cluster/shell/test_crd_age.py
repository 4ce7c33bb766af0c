"""The CRDs of this version, as a real API server publishes them."""

from __future__ import annotations

import asyncio
from copy import deepcopy

from voxfleet_api import GROUP, VERSION
from voxfleet_api.kinds import KINDS
from voxfleet_operator.crd_age import unknown_fields
from voxfleet_operator.kube import Json, Kube
from voxfleet_operator.kube_errors import NotFound

POLL_SECONDS, LONGEST_SECONDS = 0.25, 60.0


async def published(kube: Kube) -> Json:
    """A new kind is published some moments after it is served."""
    async with asyncio.timeout(LONGEST_SECONDS):
        while True:
            try:
                return await kube.request("GET", f"/openapi/v3/apis/{GROUP}/{VERSION}")
            except NotFound:
                await asyncio.sleep(POLL_SECONDS)


async def test_what_the_api_server_publishes_of_our_kinds_lacks_nothing(kube: Kube) -> None:
    schemas = await published(kube)
    older = deepcopy(schemas)
    for schema in older["components"]["schemas"].values():
        schema.get("properties", {}).get("status", {}).get("properties", {}).pop("observedGeneration", None)
    for kind in KINDS:
        assert unknown_fields(kind, schemas) == []
        assert unknown_fields(kind, older) == [f"{kind.crd.kind}.status.observedGeneration"]
