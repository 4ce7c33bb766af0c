"""Links to Macs: one a Mac, none shares its fate with another, and a session goes where a lane answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from tests.component.gateway.gateway_rig import GatewayRig

from voxfleet_api.conditions import Reason
from voxfleet_api.session_protocol import Ended, OpenHearing
from voxfleet_gateway import endpoint_sessions
from voxfleet_gateway.lane_session import LaneSession
from voxfleet_gateway.mac_links import lane_socket, mac_link
from voxfleet_gateway.mac_links.link_state import LinkState
from voxfleet_gateway.refusals import CallRefused
from voxfleet_operator.fleet.dialer import DialError

HEARING = OpenHearing(sample_rate_hz=16_000, max_turn_milliseconds=30_000)
PATIENCE_SECONDS = 20.0


@pytest.fixture
async def held() -> AsyncIterator[AsyncExitStack]:
    """Sessions that a test holds open."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mac_link, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(mac_link, "pause_seconds", lambda failures, jitter: 0.02)


async def opened(rig: GatewayRig, held: AsyncExitStack) -> LaneSession:
    return await held.enter_async_context(rig.opener()(HEARING))


async def last_of(session: LaneSession) -> Ended:
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for event in session.events():
            if isinstance(event, Ended):
                return event
    raise AssertionError("events end with Ended")


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():  # noqa: ASYNC110 # a link tells nobody of its changes
            await asyncio.sleep(0.01)


async def refusal(rig: GatewayRig, held: AsyncExitStack) -> CallRefused:
    with pytest.raises(CallRefused) as refused:
        await opened(rig, held)
    return refused.value


async def test_sessions_spread_over_the_lanes_and_a_full_one_sends_them_on(
    rig: GatewayRig, held: AsyncExitStack
) -> None:
    await rig.start_agent("mac-a", room=2)
    await rig.start_agent("mac-b", room=2)
    rig.serve("mac-a", "mac-b", session={"maxPerLane": 3})
    macs = [(await opened(rig, held)).mac for _ in range(4)]
    assert sorted(macs) == ["mac-a", "mac-a", "mac-b", "mac-b"]
    assert (await refusal(rig, held)).status == 429, "the agents decide, not the gateway's own count"
    assert rig.dialer.dialled.count("mac-a") == rig.dialer.dialled.count("mac-b") == 1, "one transport a Mac"


async def test_another_gateway_s_sessions_are_seen_as_the_agent_refuses(rig: GatewayRig, held: AsyncExitStack) -> None:
    taken = await rig.start_agent("mac-a", room=0)
    await rig.start_agent("mac-b")
    rig.serve("mac-a", "mac-b")
    assert [(await opened(rig, held)).mac for _ in range(4)] == ["mac-b"] * 4
    assert taken.upgrades <= 1, "a lane that said it is full is not asked again at once"


async def test_whoever_waits_gets_the_place_that_is_left_and_an_ended_session_holds_none(
    rig: GatewayRig, held: AsyncExitStack
) -> None:
    await rig.start_agent("mac-a", room=1)
    rig.serve("mac-a", session={"maxPerLane": 1})
    first = await opened(rig, held)
    waiting = asyncio.create_task(opened(rig, held))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await first.end_audio()
    assert await last_of(first) == Ended()
    assert (await waiting).mac == "mac-a", "although the first one's context is still open"


async def test_sessions_spread_over_macs_that_were_never_called(rig: GatewayRig, held: AsyncExitStack) -> None:
    for name in ("mac-a", "mac-b", "mac-c"):
        await rig.start_agent(name)
    rig.serve("mac-a", "mac-b", "mac-c")
    assert {(await opened(rig, held)).mac for _ in range(3)} == {"mac-a", "mac-b", "mac-c"}


async def test_an_agent_s_pings_are_answered_after_the_end_of_a_session(rig: GatewayRig, held: AsyncExitStack) -> None:
    agent = await rig.start_agent("mac-a", pings_at_end=True)
    rig.serve("mac-a")
    session = await opened(rig, held)
    await session.end_audio()
    assert await last_of(session) == Ended()
    await asyncio.wait_for(agent.ponged.wait(), PATIENCE_SECONDS)


async def test_a_mac_that_dies_ends_only_its_own_sessions_and_new_ones_go_elsewhere(
    rig: GatewayRig, held: AsyncExitStack
) -> None:
    async with AsyncExitStack() as life:
        dying = await rig.start_agent("mac-a", stack=life)
        await rig.start_agent("mac-b")
        rig.serve("mac-a", "mac-b")
        first, second = await opened(rig, held), await opened(rig, held)
        lost, stays = (first, second) if first.mac == "mac-a" else (second, first)
        assert dying.open_sessions == 1
    assert (await last_of(lost)).failure_class == "Transport"
    assert (await opened(rig, held)).mac == "mac-b"
    await stays.send_audio(bytes(100))
    await stays.end_audio()
    assert await last_of(stays) == Ended()


async def test_a_mac_that_cannot_be_reached_gets_no_session_and_is_dialled_again(
    rig: GatewayRig, held: AsyncExitStack
) -> None:
    await rig.start_agent("mac-a")
    rig.serve("mac-a")
    rig.dialer.down.add("mac-a")
    assert (await refusal(rig, held)).status == 503
    await until(lambda: rig.dialer.dialled.count("mac-a") > 2)
    rig.dialer.down.clear()
    await until(lambda: rig.links.states()[LinkState.UP] == 1)
    assert (await opened(rig, held)).mac == "mac-a"


async def test_a_connection_that_ended_is_replaced(rig: GatewayRig, held: AsyncExitStack) -> None:
    await rig.start_agent("mac-a")
    rig.serve("mac-a")
    session = await opened(rig, held)
    first = rig.dialer.connections["mac-a"]
    first.ended = DialError(Reason.SSH_UNREACHABLE, "the SSH connection broke")
    assert (await last_of(session)).failure_class == "Transport"
    await until(lambda: rig.links.states()[LinkState.UP] == 1)
    assert (await opened(rig, held)).mac == "mac-a"
    assert rig.dialer.connections["mac-a"] is not first and rig.dialer.open == 1


async def test_a_connection_that_is_renewed_ends_no_session(rig: GatewayRig, held: AsyncExitStack) -> None:
    """As with new certificates of a Mac over HTTPS."""
    await rig.start_agent("mac-a")
    rig.serve("mac-a")
    session = await opened(rig, held)
    first = rig.dialer.connections["mac-a"]
    first.is_broken = False
    first.ended = DialError(Reason.CONNECTING, "a Secret of spec.https has changed")
    await until(lambda: rig.links.state(rig.mac("mac-a")) is not LinkState.UP)
    assert (await opened(rig, held)).mac == "mac-a"
    assert rig.dialer.connections["mac-a"] is not first and rig.dialer.open == 2
    await session.send_audio(bytes(100))
    await session.end_audio()
    assert await last_of(session) == Ended()
    await held.aclose()
    await until(lambda: rig.dialer.open == 1)


async def test_a_mac_that_answers_nothing_is_passed_over_and_its_sessions_end_by_their_pings(
    rig: GatewayRig, held: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_socket, "UPGRADE_SECONDS", 0.2)
    monkeypatch.setattr(lane_socket, "PING_SECONDS", 0.05)
    monkeypatch.setattr(lane_socket, "SILENCE_SECONDS", 0.3)
    silent = await rig.start_agent("mac-a")
    rig.serve("mac-a")
    session = await opened(rig, held)
    silent.answers.clear()
    await rig.start_agent("mac-b")
    rig.serve("mac-a", "mac-b")
    assert (await opened(rig, held)).mac == "mac-b"
    assert (await last_of(session)).failure_class == "Transport"
    silent.answers.set()


async def test_a_mac_that_was_slow_to_answer_takes_sessions_again_as_soon_as_it_is_heard(
    rig: GatewayRig, held: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crowd at one endpoint keeps a Mac busy; its other callers do not wait until doubt has passed."""
    monkeypatch.setattr(lane_socket, "UPGRADE_SECONDS", 0.2)
    monkeypatch.setattr(lane_socket, "PING_SECONDS", 0.05)
    monkeypatch.setattr(mac_link, "DOUBT_SECONDS", 1000.0)
    agent = await rig.start_agent("mac-a")
    rig.serve("mac-a")
    await opened(rig, held)
    agent.answers.clear()
    assert (await refusal(rig, held)).status == 503
    assert rig.links.state(rig.mac("mac-a")) is LinkState.DOWN
    agent.answers.set()
    await until(lambda: rig.links.state(rig.mac("mac-a")) is LinkState.UP)
    assert (await opened(rig, held)).mac == "mac-a" and rig.dialer.dialled == ["mac-a"]


async def test_a_lane_that_hangs_takes_no_other_lane_of_its_mac_along(
    rig: GatewayRig, held: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_sessions, "ANSWER_SECONDS", 0.1)
    agent = await rig.start_agent("mac-a")
    rig.serve("mac-a")
    agent.hangs = True
    told = await refusal(rig, held)
    assert told.status == 503 and "did not answer" in told.message
    assert rig.links.state(rig.mac("mac-a")) is LinkState.UP and rig.dialer.dialled == ["mac-a"]
    asked = agent.upgrades
    assert (await refusal(rig, held)).status == 503
    assert agent.upgrades == asked, "the lane itself is left alone for a while"


async def test_a_lane_that_hangs_keeps_its_caller_no_longer_than_another_lane_can_still_be_asked(
    rig: GatewayRig, held: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_sessions, "IMPATIENT_SECONDS", 0.1)
    hanging, well = await rig.start_agent("mac-a"), await rig.start_agent("mac-b")
    rig.serve("mac-a", "mac-b")
    hanging.hangs = True
    assert [(await opened(rig, held)).mac for _ in range(4)] == ["mac-b"] * 4
    assert hanging.upgrades == 1 and well.upgrades == 4, "whoever comes later does not wait for it"


async def test_an_agent_that_does_not_know_the_token_is_left_alone_and_asked_with_a_new_one(
    rig: GatewayRig, held: AsyncExitStack
) -> None:
    agent = await rig.start_agent("mac-a")
    rig.serve("mac-a")
    rig.token = "an-old-token"
    refused = await refusal(rig, held)
    assert refused.status == 503 and "token" not in refused.message
    rig.token = agent.token
    await until(lambda: rig.dialer.dialled.count("mac-a") > 1 and rig.links.states()[LinkState.UP] == 1)
    assert (await opened(rig, held)).mac == "mac-a"


async def test_a_link_that_nobody_uses_is_closed(
    rig: GatewayRig, held: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mac_link, "IDLE_SECONDS", 0.1)
    await rig.start_agent("mac-a")
    rig.serve("mac-a")
    session = await opened(rig, held)
    await asyncio.sleep(0.2)
    assert rig.dialer.open == 1, "a session uses it"
    await session.end_audio()
    await held.aclose()
    await until(lambda: rig.dialer.open == 0)
    assert rig.links.states() == {LinkState.CLOSED: 1}


async def test_a_change_of_the_way_to_a_mac_ends_no_session_and_a_deleted_mac_takes_no_new_one(
    rig: GatewayRig, held: AsyncExitStack
) -> None:
    await rig.start_agent("mac-a")
    rig.serve("mac-a")
    session = await opened(rig, held)
    rig.cache.put(rig.mac("mac-a", user="another"))
    assert (await opened(rig, held)).mac == "mac-a" and rig.dialer.open == 2
    await session.send_audio(bytes(100))
    await session.end_audio()
    assert await last_of(session) == Ended()
    mac = rig.mac("mac-a")
    rig.cache.remove(mac)
    rig.links.forget(mac)
    assert (await refusal(rig, held)).status == 503
    await held.aclose()
    await until(lambda: rig.dialer.open == 0)


async def test_many_sessions_leave_nothing_behind(rig: GatewayRig, held: AsyncExitStack) -> None:
    agent = await rig.start_agent("mac-a", room=20)
    rig.serve("mac-a", session={"maxPerLane": 20})
    for _ in range(5):
        await asyncio.gather(*(opened(rig, held) for _ in range(15)))
        await held.aclose()
    tasks = {task.get_name() for task in asyncio.all_tasks() if "LaneSocket" in repr(task.get_coro())}
    assert rig.sessions.open_sessions == 0 and rig.links.held_bytes == 0 and tasks == set()
    await until(lambda: agent.open_sessions == 0)
