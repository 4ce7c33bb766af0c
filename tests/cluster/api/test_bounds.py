"""Durations and sizes have bounds, asked of a real API server for every such field of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.api.specs import (
    CONTRACT,
    ENDPOINT,
    JOB,
    MAC,
    SCHEDULE,
    SHARD,
    SPEAK,
    STATEMENT,
    Json,
    changed,
)
from tests.rig.api_server import ApiServer, Refused

from voxfleet_api.base import DURATION_PATTERN, SIZE_PATTERN
from voxfleet_api.kinds import KINDS
from voxfleet_generate.structural import kind_schema
from voxfleet_operator.leader import LEASE_SECONDS

BASES = {str(base["kind"]): base for base in (CONTRACT, ENDPOINT, JOB, MAC, SCHEDULE, SHARD, STATEMENT)}
NEEDS: dict[str, tuple[Json, dict[str, object]]] = {
    "spec.synthesis.streamingInterval": (SPEAK, {}),
    "spec.jobTemplate.spec.synthesis.streamingInterval": (
        changed(SCHEDULE, {"spec.jobTemplate.spec": SPEAK["spec"]}),
        {},
    ),
    "spec.slo.offlineTailP95": (CONTRACT, {"spec.batching.ladder": {}}),
    "spec.conversions.windows.seek": (CONTRACT, {"spec.conversions.windows.length": "30s"}),
}
"""What else a spec must have around a field, so that only the field is wrong."""
TOO_LONG = ("87601h", "99999999h", "99999999h99999999h99999999h")
"""The last two are beyond what a Go duration can hold."""


def fields(node: dict[str, Any], path: str, pattern: str) -> Iterator[str]:
    if node.get("pattern") == pattern:
        yield path
    for name, child in node.get("properties", {}).items():
        yield from fields(child, f"{path}.{name}", pattern)


def spec_fields(pattern: str) -> list[tuple[str, str]]:
    return [
        (kind.crd.kind, path)
        for kind in KINDS
        for path in fields(kind_schema(kind)["properties"]["spec"], "spec", pattern)
    ]


def refusal(server: ApiServer, kind: str, path: str, value: object) -> str:
    base, around = NEEDS.get(path, (BASES[kind], {}))
    with pytest.raises(Refused) as caught:
        server.create(changed(base, {**around, path: value}), dry_run=True)
    return str(caught.value)


@pytest.mark.parametrize(("kind", "path"), spec_fields(DURATION_PATTERN))
def test_no_duration_is_zero_or_endless(server: ApiServer, kind: str, path: str) -> None:
    assert f"{path}: " in (short := refusal(server, kind, path, "0s")) and "write a duration from" in short
    longest = "10001h" if path.endswith("spec.sharding.targetAudio") else TOO_LONG[0]
    for value in (longest, *TOO_LONG[1:]):
        assert f"{path}: " in refusal(server, kind, path, value), value


def test_a_mac_is_not_lost_while_the_operator_changes_its_leader(server: ApiServer) -> None:
    seconds = 3 * LEASE_SECONDS
    told = refusal(server, "MacAgent", "spec.disconnect.lostAfter", f"{seconds - 1}s")
    assert f"write a duration from {seconds}s to 24h" in told


@pytest.mark.parametrize(("kind", "path"), spec_fields(SIZE_PATTERN))
def test_no_size_is_zero_or_endless(server: ApiServer, kind: str, path: str) -> None:
    for value in (0, "0", "0Gi", -1, 10**15, 2**63, str(10**15), "1000000Ti", "999999999999999Ti"):
        assert f"{path}: " in refusal(server, kind, path, value), value
