"""An endpoint's lanes on real agents, beside the batch: whoever dies or drains, what is warm stays or moves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.fleet import EXPECTED, Fleet
from tests.rig.api_server import ApiServer

from voxfleet_api import API_VERSION
from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.endpoint_lanes import LaneList, LaneState, LaneStatus
from voxfleet_api.kinds import MachineHourStatement, VoiceEndpoint
from voxfleet_api.kinds.endpoint_status import EndpointLaneState
from voxfleet_api.ledger import LedgerRow
from voxfleet_api.protocol import LedgerPage
from voxfleet_api.quantities import seconds_milliseconds, seconds_text
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.mac import Mac

NAMESPACE = "warm-lanes"
CLIPS = [*EXPECTED][:4]


@pytest.fixture
def fleet(served_kinds: ControlPlane, tmp_path: Path) -> Iterator[Fleet]:
    """Two Macs, each with a lane of either kind."""
    served_kinds.kubectl("create", "namespace", NAMESPACE)
    with Fleet(served_kinds, tmp_path, NAMESPACE, macs=2, interactive_lanes=1) as made:
        made.start()
        yield made


def test_a_lane_stays_warm_beside_the_batch_and_moves_when_its_mac_drains(fleet: Fleet) -> None:
    spec = {"contractRef": {"name": "contract"}, "model": {"builtin": {"name": "commands"}}, "memoryCap": "1Gi"}
    fleet.apply({"apiVersion": API_VERSION, "kind": "VoiceEndpoint", "metadata": {"name": "captions"}, "spec": spec})
    fleet.wait_for("a lane is warm", lambda: is_warm(fleet))
    first = holder(fleet)
    (lane,) = lanes_of(first)
    assert lane.state is LaneState.READY and lane.model_digest == endpoint(fleet).status.model_digest

    fleet.submit("night", CLIPS)
    assert is_true(fleet.wait_for_end("night").status.conditions, ConditionType.COMPLETE), fleet.explain()
    assert lanes_of(first) == [lane], "the batch has taken nothing from it"

    first.kill_agent()
    fleet.wait_for("the endpoint has seen its Mac go", lambda: not is_warm(fleet))
    first.restart_agent()
    fleet.wait_for("the agent loads it again", lambda: is_warm(fleet))
    assert [item.generation for item in lanes_of(first)] == [lane.generation]

    assert rows_of(first), "what the killed process held it for was signed"
    fleet.operator.kill()
    fleet.restart_operator()
    drain = json.dumps({"spec": {"drain": {"mode": "ReturnAtNextClip", "deadlineSeconds": 0}}})
    fleet.control_plane.kubectl("patch", "mac", first.name, "--type=merge", "-p", drain)
    fleet.wait_for("the other Mac has it", lambda: is_warm(fleet) and holder(fleet) is not first)
    fleet.wait_for("the first one has it no more", lambda: not lanes_of(first))
    fleet.wait_for("a statement counts all that it signed", lambda: counted(fleet, first) == signed_seconds(first))

    fleet.control_plane.kubectl("delete", "ve", "captions", "-n", NAMESPACE, "--timeout=60s")
    assert not any(lanes_of(mac) for mac in fleet.macs)


def endpoint(fleet: Fleet) -> VoiceEndpoint:
    with ApiServer(fleet.control_plane) as server:
        return server.get(VoiceEndpoint, "captions", NAMESPACE)


def is_warm(fleet: Fleet) -> bool:
    found = endpoint(fleet)
    states = [lane.state for lane in found.status.macs]
    return states == [EndpointLaneState.WARM] and is_true(found.status.conditions, ConditionType.AVAILABLE)


def holder(fleet: Fleet) -> Mac:
    named = {lane.mac for lane in endpoint(fleet).status.macs}
    return next(mac for mac in fleet.macs if mac.name in named)


def rows_of(mac: Mac) -> list[LedgerRow]:
    """Of endpoints."""
    rows = [signed.row for signed in LedgerPage.load(mac.get_json("/v1/ledger")).rows]
    return [row for row in rows if row.held_for.kind == VoiceEndpoint.crd.kind]


def signed_seconds(mac: Mac) -> str:
    rows = [signed.row for signed in LedgerPage.load(mac.get_json("/v1/ledger")).rows]
    return seconds_text(sum(row.monotonic_milliseconds for row in rows))


def counted(fleet: Fleet, mac: Mac) -> str:
    """Machine time of all months, for the test may run over a month's end."""
    with ApiServer(fleet.control_plane) as server:
        statements = [item for item in server.list(MachineHourStatement) if item.spec.mac == mac.name]
    return seconds_text(sum(seconds_milliseconds(item.status.machine_seconds) for item in statements))


def lanes_of(mac: Mac) -> list[LaneStatus]:
    return list(LaneList.load(mac.get_json("/v1/lanes")).lanes)
