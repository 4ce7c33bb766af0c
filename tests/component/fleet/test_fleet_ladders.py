"""A session reads the ladders of its Mac, and trouble with them costs nothing else."""

from __future__ import annotations

from tests.component.fleet.rig import Rig
from tests.component.fleet.stand_in_agent import LADDER_PROFILE, StandInAgent

from voxfleet_api.protocol import ReportedLadder

MODEL, CONTRACT, OTHER = (f"sha256:{letter * 64}" for letter in "abc")


def ladder(profile: str = LADDER_PROFILE, pace: int = 1000) -> ReportedLadder:
    return ReportedLadder(
        profile=profile,
        model_digest=MODEL,
        contract_digest=CONTRACT,
        audio_milliseconds_per_second=pace,
        table="{}",
    )


async def renewed(rig: Rig, agent: StandInAgent) -> None:
    """Until a renewal was answered that began after this call: what was read before it is in the view."""
    await agent.heard("/v1/renew", more_than=len(agent.calls("/v1/renew")) + 1)


async def test_ladders_are_read_once_and_again_when_the_agent_has_others(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent(ladders=(ladder(),)))
    agent = mac.agent
    rig.fleet.ensure(mac.resource("mac-01"))
    await rig.connected("mac-01")
    await renewed(rig, agent)
    assert rig.fleet.view("mac-01").ladders == {(MODEL, CONTRACT): ladder()}
    assert len(agent.calls("/v1/ladders")) == 1
    first = next(number for number, call in enumerate(agent.seen) if call.path == "/v1/ladders")
    assert "/v1/renew" in [call.path for call in agent.seen[:first]], "leases come first"

    agent.ladders, agent.ladders_revision = (ladder(pace=2000), ladder(), ladder(profile=OTHER)), "2"
    await renewed(rig, agent)
    assert rig.fleet.view("mac-01").ladders == {(MODEL, CONTRACT): ladder(pace=2000)}, "the newest of its own profile"
    assert len(agent.calls("/v1/ladders")) == 2


async def test_an_agent_without_ladders_is_not_asked(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    rig.fleet.ensure(mac.resource("mac-01"))
    await rig.connected("mac-01")
    await renewed(rig, mac.agent)
    assert mac.agent.calls("/v1/ladders") == []


async def test_ladders_that_cannot_be_read_cost_no_contact(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent(ladders=(ladder(),), ladders_unreadable=True))
    agent = mac.agent
    rig.fleet.ensure(mac.resource("mac-01"))
    await rig.connected("mac-01")
    await renewed(rig, agent)
    await renewed(rig, agent)
    view = rig.fleet.view("mac-01")
    assert (view.connected, view.ladders, len(agent.calls("/v1/ladders"))) == (True, {}, 1)
    agent.ladders_unreadable, agent.ladders_revision = False, "2"
    await renewed(rig, agent)
    assert rig.fleet.view("mac-01").ladders == {(MODEL, CONTRACT): ladder()}
