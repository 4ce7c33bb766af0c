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
from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.endpoint_status import EndpointLaneState
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

    fleet.operator.kill()
    fleet.restart_operator()
    drain = json.dumps({"spec": {"drain": {"mode": "ReturnAtNextClip", "deadlineSeconds": 0}}})
    fleet.control_plane.kubectl("patch", "mac", first.name, "--type=merge", "-p", drain)
    fleet.wait_for("the other Mac has it", lambda: is_warm(fleet) and holder(fleet) is not first)
    fleet.wait_for("the first one has it no more", lambda: not lanes_of(first))

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


def lanes_of(mac: Mac) -> list[LaneStatus]:
    return list(LaneList.load(mac.get_json("/v1/lanes")).lanes)
