"""Sessions on lanes: nobody sends ahead of its credit, and every session has an end."""

from __future__ import annotations

import asyncio

import pytest
from tests.component.gateway.gateway_rig import GatewayRig

from voxfleet_api.failures import FailureClass
from voxfleet_api.session_protocol import (
    Ended,
    LatencyKind,
    OpenHearing,
    OpenSpeaking,
    OpenUpload,
    TextDelta,
    TurnDone,
    TurnMeasured,
)
from voxfleet_gateway.lane_session import LaneSession, OpensSessions, SessionEvent
from voxfleet_gateway.refusals import CallRefused

HEARING = OpenHearing(sample_rate_hz=16_000, max_turn_milliseconds=30_000)
UPLOAD = OpenUpload(max_bytes=10_000_000)
PATIENCE_SECONDS = 20.0


async def all_of(session: LaneSession) -> list[SessionEvent]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return [event async for event in session.events()]


def opens(rig: GatewayRig) -> OpensSessions:
    return rig.opener()


async def test_audio_goes_no_further_ahead_than_the_lane_allows_and_all_of_it_is_told(rig: GatewayRig) -> None:
    agent = await rig.start_agent("mac-a", window_bytes=5_000)
    rig.serve("mac-a")
    async with opens(rig)(HEARING) as session:
        assert (session.mac, session.sample_rate_hz) == ("mac-a", 16_000)
        reading = asyncio.create_task(all_of(session))
        await session.send_audio(bytes(100_000))
        await session.commit()
        await session.send_audio(bytes(2_000))
        await session.end_audio()
        events = await reading
    assert 0 < agent.most_ahead_bytes <= 5_000
    assert [event.text for event in events if isinstance(event, TurnDone)] == ["100000 bytes", "2000 bytes"]
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["100000 bytes", "2000 bytes"]
    assert events[-1] == Ended()


async def test_a_sender_waits_while_the_lane_takes_nothing(rig: GatewayRig) -> None:
    agent = await rig.start_agent("mac-a", window_bytes=4_000, takes=False)
    rig.serve("mac-a")
    async with opens(rig)(UPLOAD) as session:
        sending = asyncio.create_task(session.send_audio(bytes(9_001)))
        done, _ = await asyncio.wait([sending], timeout=0.1)
        assert not done
        assert agent.most_ahead_bytes <= 4_000
        sending.cancel()


async def test_speech_comes_only_as_fast_as_it_is_heard(rig: GatewayRig) -> None:
    agent = await rig.start_agent("mac-a", speech_bytes=64_000)
    rig.serve("mac-a")
    async with opens(rig)(OpenSpeaking(text="one two", window_bytes=8_000)) as session:
        heard, unheard = 0, 0
        async for event in session.events():
            if isinstance(event, bytes):
                unheard += len(event)
                assert unheard <= 8_000
                if unheard > 4_000:
                    await session.heard(unheard)
                    heard, unheard = heard + unheard, 0
            else:
                last = event
        assert heard + unheard == 64_000
        assert isinstance(last, Ended) and last.infer_milliseconds == 2
        measured = TurnMeasured(
            latency=LatencyKind.FIRST_AUDIO,
            total_milliseconds=5,
            gateway_milliseconds=1,
            tunnel_milliseconds=1,
            wait_milliseconds=1,
            infer_milliseconds=2,
        )
        await session.measured(measured)
    await asyncio.wait_for(agent.ended.wait(), PATIENCE_SECONDS)
    assert agent.measured == [measured], "what is known only at the end is still told"


async def test_a_mac_that_is_lost_ends_the_session_as_retryable_and_no_sender_waits(rig: GatewayRig) -> None:
    await rig.start_agent("mac-a", loses_after_bytes=6_000, window_bytes=3_000)
    rig.serve("mac-a")
    async with opens(rig)(HEARING) as session:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await session.send_audio(bytes(100_000))
        (*_, last) = await all_of(session)
        assert isinstance(last, Ended) and last.failure_class == FailureClass.TRANSPORT
        async with asyncio.timeout(PATIENCE_SECONDS):
            await session.send_audio(bytes(100_000))
            await session.commit()


async def test_leaving_a_session_cancels_it_and_frees_its_place(rig: GatewayRig) -> None:
    agent = await rig.start_agent("mac-a", room=1)
    rig.serve("mac-a")
    for _ in range(3):
        agent.ended.clear()
        async with opens(rig)(HEARING) as session:
            await session.send_audio(bytes(100))
            assert rig.sessions.open_sessions == 1
        assert rig.sessions.open_sessions == 0
        await asyncio.wait_for(agent.ended.wait(), PATIENCE_SECONDS)


async def test_a_refused_opening_names_what_is_at_fault(rig: GatewayRig) -> None:
    agent = await rig.start_agent("mac-a")
    rig.serve("mac-a")
    agent.refusal = Ended(failure_class=FailureClass.CONTRACT_VIOLATION, reason="sampleRate 8000 is not accepted")
    with pytest.raises(CallRefused, match="sampleRate 8000") as caught:
        async with opens(rig)(HEARING):
            raise AssertionError("not to be opened")
    assert caught.value.status == 422


async def test_the_way_to_the_mac_is_measured(rig: GatewayRig) -> None:
    await rig.start_agent("mac-a")
    rig.serve("mac-a")
    async with opens(rig)(HEARING) as session:
        await session.send_audio(bytes(100))
        await session.end_audio()
        await all_of(session)
        assert 0 <= session.tunnel_milliseconds < 1_000
