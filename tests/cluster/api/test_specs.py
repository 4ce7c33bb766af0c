"""What the API server accepts and refuses, asked of a real one with our CRDs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from tests.cluster.api.bad_contracts import BAD_CONTRACTS
from tests.cluster.api.bad_endpoints import BAD_ENDPOINTS
from tests.cluster.api.bad_jobs import BAD_JOBS
from tests.cluster.api.bad_macs_and_shards import BAD_MACS_AND_SHARDS
from tests.cluster.api.bad_schedules import BAD_SCHEDULES
from tests.cluster.api.good_specs import GOOD
from tests.cluster.api.specs import CONTRACT, ENDPOINT, JOB, MAC, SCHEDULE, SHARD, changed
from tests.rig.api_server import ApiServer, Refused

from voxfleet_dev.controlplane import ControlPlane

REPOSITORY = Path(__file__).resolve().parents[3]
CHART_VALUES = REPOSITORY / "examples" / "values.yaml"
NO_OBJECTS = {CHART_VALUES, *(REPOSITORY / "examples" / name for name in ("price-book.yaml", "lessor-columns.yaml"))}
"""Files of other programs: the chart and `voxfleet bill`, whose tests read them."""
CRDS = sorted((REPOSITORY / "crds").glob("voxfleet.dev_*.yaml"))
BAD = BAD_CONTRACTS | BAD_ENDPOINTS | BAD_JOBS | BAD_MACS_AND_SHARDS | BAD_SCHEDULES


@pytest.mark.parametrize("name", BAD)
def test_a_bad_spec_is_refused_with_its_field_and_what_to_write(server: ApiServer, name: str) -> None:
    case = BAD[name]
    with pytest.raises(Refused) as caught:
        server.create(changed(case.base, case.changes), dry_run=True)
    error = str(caught.value)
    assert re.search(rf"{re.escape(case.field)}\b|{re.escape(case.field)}[:\"]", error), error
    assert case.advice in error, error


@pytest.mark.parametrize("name", GOOD)
def test_a_good_spec_is_accepted(server: ApiServer, name: str) -> None:
    assert server.create(GOOD[name], dry_run=True)["spec"]


@pytest.mark.parametrize(
    "path", sorted({*(REPOSITORY / "examples").glob("*.yaml")} - NO_OBJECTS), ids=lambda path: path.name
)
def test_examples_are_accepted(installed_crds: ControlPlane, path: Path) -> None:
    text = path.read_text().replace("namespace: speech", "namespace: default")
    assert "dry run" in installed_crds.kubectl("apply", "--dry-run=server", "-f", "-", input=text)


def test_every_kind_starts_unobserved(server: ApiServer) -> None:
    """kstatus: an object that no controller has seen is in progress, not ready."""
    for name, base in (
        ("contract", CONTRACT),
        ("endpoint", ENDPOINT),
        ("job", JOB),
        ("schedule", SCHEDULE),
        ("shard", SHARD),
        ("mac", MAC),
    ):
        assert server.create(base, dry_run=True)["status"]["observedGeneration"] == -1, name


def test_every_rule_of_the_crds_has_a_case() -> None:
    """A new CEL rule needs a case that it refuses; transition rules have theirs in test_transitions."""
    tested = {case.advice for case in BAD.values()} | transition_advice()
    untested = [
        message
        for crd in CRDS
        for message in _messages(yaml.safe_load(crd.read_text()))
        if not any(advice in message for advice in tested)
    ]
    assert CRDS and not untested


def transition_advice() -> set[str]:
    from tests.cluster.api.test_transitions import ADVICE

    return set(ADVICE)


def _messages(node: object) -> list[str]:
    if isinstance(node, dict):
        scalar = node.get("type") not in ("object", "array")  # test_bounds asks each of them
        own = [] if scalar else [rule["message"] for rule in node.get("x-kubernetes-validations", [])]
        return own + [message for child in node.values() for message in _messages(child)]
    if isinstance(node, list):
        return [message for child in node for message in _messages(child)]
    return []
