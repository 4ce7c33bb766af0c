"""Lanes of endpoints, as a Mac's session tells its agent about them. Real sshd, real HTTP."""

from __future__ import annotations

import json

from pydantic import SecretStr
from tests.component.fleet.rig import DIGEST, Rig
from tests.component.fleet.stand_in_agent import StandInAgent

from voxfleet_api.endpoint_lanes import LaneKey, LaneRequest, LaneState
from voxfleet_api.protocol import S3Credentials
from voxfleet_operator.fleet.mac_view import LaneAnswer, MacView, Outcome

KEY = LaneKey("endpoint-uid", 3)
PATH = "/v1/lanes/endpoint-uid/3"
REQUEST = LaneRequest(
    spec_digest=DIGEST,
    spec={},
    lease_seconds=60,
    uri_prefixes=("file:///models/",),
    credentials=S3Credentials(access_key_id=SecretStr("me"), secret_access_key=SecretStr("s3cret")),
)


def answer_of(view: MacView, key: LaneKey = KEY) -> LaneAnswer | None:
    return view.lanes.get(key)


def shows(view: MacView, state: LaneState) -> bool:
    answer = answer_of(view)
    return answer is not None and answer.status is not None and answer.status.state == state


async def holding(rig: Rig) -> StandInAgent:
    mac = await rig.start_mac(StandInAgent())
    rig.fleet.ensure(mac.resource("mac-01"))
    await rig.connected("mac-01")
    rig.fleet.hold_lane(rig.fleet.view("mac-01"), KEY, REQUEST)
    await rig.until("mac-01", lambda view: shows(view, LaneState.LOADING))
    return mac.agent


async def test_a_lane_is_held_again_and_again_and_its_state_wakes_its_endpoint(rig: Rig) -> None:
    agent = await holding(rig)
    body = json.loads(agent.calls(PATH)[0].body)
    assert agent.calls(PATH)[0].method == "PUT" and agent.calls(PATH)[0].headers["voxfleet-epoch"] == "3"
    assert body["credentials"] == {"accessKeyId": "me", "secretAccessKey": "s3cret"}
    told = len(rig.changes)
    agent.lanes[KEY.endpoint_uid] = agent.lanes[KEY.endpoint_uid].model_copy(update={"state": LaneState.READY})
    await rig.until("mac-01", lambda view: shows(view, LaneState.READY))
    assert ("mac-01", frozenset()) in rig.changes[told:], "which wakes the endpoints on the Mac"
    assert {call.method for call in agent.calls(PATH)} == {"PUT"}


async def test_a_lane_is_dropped_and_that_is_said(rig: Rig) -> None:
    agent = await holding(rig)

    rig.fleet.drop_lane(rig.fleet.view("mac-01"), KEY)
    view = await rig.until(
        "mac-01", lambda view: (found := answer_of(view)) is not None and found.outcome is Outcome.GONE
    )

    assert agent.lanes == {} and agent.calls(PATH)[-1].method == "DELETE"
    assert view.lanes[KEY].status is None


async def test_a_break_of_contact_forgets_what_was_held_until_it_is_stated_again(rig: Rig) -> None:
    agent = await holding(rig)
    agent.silent = True
    await rig.until("mac-01", lambda view: not view.connected and not view.lanes)
    agent.silent = False
    view = await rig.connected("mac-01")
    assert KEY not in view.lanes

    rig.fleet.hold_lane(view, KEY, None)
    await rig.until("mac-01", lambda view: shows(view, LaneState.LOADING))
    assert agent.calls(PATH)[-1].method == "GET", "nobody has said what it is to hold"


async def test_an_agent_that_knows_no_lanes_refuses_to_hold_one_and_has_none_to_drop(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent(knows_lanes=False))
    rig.fleet.ensure(mac.resource("mac-01"))
    view = await rig.connected("mac-01")

    rig.fleet.hold_lane(view, KEY, REQUEST)
    view = await rig.until("mac-01", lambda view: answer_of(view) is not None)
    refusal = view.lanes[KEY].refusal
    assert refusal is not None and refusal.status == 404

    rig.fleet.drop_lane(view, KEY)
    await rig.until("mac-01", lambda view: (found := answer_of(view)) is not None and found.outcome is Outcome.GONE)
