"""Whom a Mac's session tells that its agent says something new of a lane."""

from __future__ import annotations

from typing import cast

from tests.rig.measured_turns import counted
from tests.unit.operator.decisions.bodies import mac_agent
from tests.unit.operator.fleet.idle_session import idle_session

from voxfleet_api.endpoint_lanes import LaneKey, LaneRequest, LaneState, LaneStatus
from voxfleet_api.kinds import MacAgent
from voxfleet_operator.fleet.agent_client import AgentClient
from voxfleet_operator.fleet.lane_orders import READY_SECONDS

DIGEST = "sha256:" + "a" * 64


class TalkingAgent:
    """Answers each PUT with the next state, number of sessions and number of turns."""

    def __init__(self, *answers: tuple[LaneState, int, int]) -> None:
        self._answers = iter(answers)

    async def put_lane(self, uid: str, generation: int, _: LaneRequest) -> LaneStatus:
        state, sessions, turns = next(self._answers)
        return LaneStatus(
            endpoint_uid=uid,
            generation=generation,
            spec_digest=DIGEST,
            namespace="team",
            endpoint="captions",
            state=state,
            sessions=sessions,
            latency=counted(*[400] * turns).told(),
        )


async def test_sessions_and_how_long_turns_take_concern_nobody_but_the_endpoint() -> None:
    changes: list[str] = []
    sessions: list[str] = []
    session = idle_session(
        MacAgent.load(mac_agent("mac-a")),
        on_change=lambda mac, _: changes.append(mac),
        on_sessions=sessions.append,
    )
    lanes, key = session._lanes, LaneKey("uid", 3)
    ready = [(LaneState.READY, *counts) for counts in ((0, 0), (1, 0), (1, 0), (4, 0), (4, 1), (0, 1))]
    agent = cast("AgentClient", TalkingAgent(*ready, (LaneState.LOADING, 0, 1)))
    lanes.hold(key, LaneRequest(spec_digest=DIGEST, spec={}, lease_seconds=60, uri_prefixes=()))
    told: list[tuple[int, int]] = []
    for call in range(7):
        letter = lanes._orders.next(call * READY_SECONDS)
        assert letter is not None
        await lanes._send(agent, letter)
        told.append((len(changes), len(sessions)))
    await session.stop()
    assert told == [(1, 0), (1, 1), (1, 1), (1, 2), (1, 3), (1, 4), (2, 4)]
    assert set(sessions) == {"uid"} and set(changes) == {"mac-a"}
