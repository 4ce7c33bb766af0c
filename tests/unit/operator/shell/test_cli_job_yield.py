"""`voxfleet why job` names the endpoints for which its lanes give way, as far as the objects tell."""

from __future__ import annotations

import pytest
from tests.unit.operator.golden.endpoint_states import a_lane, an_endpoint
from tests.unit.operator.shell.test_cli_job_wait import NIGHTLY, YOUNGER, around, shard

from voxfleet_api.kinds import AudioShard, VoiceEndpoint
from voxfleet_api.kinds.endpoint_status import EndpointLane, EndpointLaneState, LaneCounts, VoiceEndpointStatus
from voxfleet_cli.explain import explain

WARM, LOADING = a_lane("mac-a", EndpointLaneState.WARM), a_lane("mac-a", EndpointLaneState.LOADING)
RUNS = shard(NIGHTLY, 0, "mac-a")


def endpoint(*lanes: EndpointLane, busy: int = 1) -> VoiceEndpoint:
    status = VoiceEndpointStatus(macs=lanes, lanes=LaneCounts(wanted=2, warm=2, busy=busy))
    return an_endpoint().model_copy(update={"status": status})


def told(found: VoiceEndpoint, item: AudioShard = RUNS) -> list[str]:
    others = around(NIGHTLY, YOUNGER, item, endpoints=(found,))
    return list(explain(NIGHTLY, (item,), others).get("yields", ()))


def test_an_endpoint_with_sessions_beside_the_job_is_named() -> None:
    (line,) = told(endpoint(a_lane("mac-b", EndpointLaneState.WARM), WARM))
    assert line.startswith("mac-a: its lanes work in quanta or stand still for VoiceEndpoint ")
    assert f"/{an_endpoint().metadata.name}, of which 1 of 2 lanes have sessions; the endpoint pays" in line


@pytest.mark.parametrize(
    ("found", "item"),
    [
        (endpoint(WARM, busy=0), RUNS),
        (endpoint(LOADING), RUNS),
        (endpoint(WARM), shard(NIGHTLY, 0, "mac-b")),
        (endpoint(WARM), shard(NIGHTLY)),
        (endpoint(WARM), shard(YOUNGER, 0, "mac-a")),
        (an_endpoint(), RUNS),
    ],
)
def test_others_are_not(found: VoiceEndpoint, item: AudioShard) -> None:
    assert told(found, item) == []
