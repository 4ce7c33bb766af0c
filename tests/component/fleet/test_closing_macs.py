"""What renewals tell a Mac whose attempts have to be over."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tests.component.fleet.rig import FAST, Rig
from tests.component.fleet.stand_in_agent import StandInAgent

from voxfleet_api.protocol import RenewRequest
from voxfleet_operator.fleet.closing import Closing

RENEW = "/v1/renew"


async def newest(agent: StandInAgent, more_than: int = 0) -> RenewRequest:
    return RenewRequest.load_json((await agent.heard(RENEW, more_than)).body)


async def test_a_closing_is_told_at_once_and_with_every_renewal(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent())
    strict = Rig(mac.sshd.directory, rig.stack, timing=replace(FAST, longest_renewal_interval_seconds=3600.0))
    rig.stack.push_async_callback(strict.fleet.close)
    strict.secrets = rig.secrets
    strict.fleet.ensure(mac.resource("mac-01"))
    await strict.connected("mac-01")
    assert await newest(mac.agent) == RenewRequest(lanes=True)
    told = len(mac.agent.calls(RENEW))
    stop_at = datetime.now(UTC) + timedelta(hours=1)

    strict.fleet.close_at("mac-01", Closing(True, stop_at - timedelta(minutes=5), stop_at))

    asked = await newest(mac.agent, told)
    assert asked.takes_nothing and asked.return_after_seconds is not None and asked.stop_after_seconds is not None
    assert 3200 < asked.return_after_seconds <= 3300 and asked.stop_after_seconds == asked.return_after_seconds + 300
    strict.fleet.close_at("mac-01", Closing(True, stop_at - timedelta(minutes=5), stop_at))
    strict.fleet.close_at("mac-01", Closing())
    assert await newest(mac.agent, told + 1) == RenewRequest(lanes=True), "what is no news is not told again"


async def test_an_older_agent_that_is_to_stop_gets_no_more_time(rig: Rig) -> None:
    mac = await rig.start_mac(StandInAgent(capabilities=()))
    rig.fleet.ensure(mac.resource("mac-01"))
    await rig.connected("mac-01")
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    rig.fleet.close_at("mac-01", Closing(True, long_ago, long_ago))
    await mac.agent.heard("/v1/machine", len(mac.agent.calls("/v1/machine")) + 1)
    told = len(mac.agent.calls(RENEW))
    await mac.agent.heard("/v1/machine", len(mac.agent.calls("/v1/machine")) + 3)
    assert len(mac.agent.calls(RENEW)) == told
    assert rig.fleet.view("mac-01").connected
