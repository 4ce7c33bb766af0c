"""What waits for a lane is bounded, keeps its order, and becomes large messages."""

from __future__ import annotations

import asyncio

from tests.rig.fake_lane_session import FakeLaneSession

from voxfleet_api.session_protocol import MAX_AUDIO_MESSAGE_BYTES, CommitTurn, EndAudio, OpenHearing
from voxfleet_gateway.realtime.lane_feed import MOST_WAITING_BYTES, LaneFeed
from voxfleet_gateway.realtime.steps import Commit, End


def lane_session() -> FakeLaneSession:
    return FakeLaneSession(OpenHearing(sample_rate_hz=16_000, max_turn_milliseconds=30_000), 16_000)


async def test_small_frames_become_one_message_and_stay_in_order() -> None:
    feed, session, sent = LaneFeed(), lane_session(), list[int]()
    for _ in range(100):
        await feed.put(b"\x01\x00")
    await feed.put(Commit())
    await feed.put(bytes(2 * MAX_AUDIO_MESSAGE_BYTES))
    task = asyncio.create_task(feed.feed(session, sent.append))
    assert await session.sent.get() == b"\x01\x00" * 100
    assert await session.sent.get() == CommitTurn()
    assert await session.sent.get() == await session.sent.get() == bytes(MAX_AUDIO_MESSAGE_BYTES)
    await feed.put(End())
    assert await session.sent.get() == EndAudio()
    assert feed.waiting_bytes == 0 and sum(sent) == 100 + MAX_AUDIO_MESSAGE_BYTES
    task.cancel()


async def test_no_more_waits_than_the_bound_and_a_frame() -> None:
    feed, session = LaneFeed(), lane_session()
    session.takes.clear()
    task = asyncio.create_task(feed.feed(session, lambda samples: None))

    async def put() -> None:
        for _ in range(100):
            await feed.put(bytes(10_000))

    putting = asyncio.create_task(put())
    for _ in range(200):
        await asyncio.sleep(0)
    assert not putting.done() and feed.waiting_bytes < MOST_WAITING_BYTES + 10_000
    session.takes.set()
    await putting
    assert await session.audio(1_000_000) == bytes(1_000_000)
    task.cancel()


async def test_no_more_turns_wait_than_a_bound() -> None:
    feed = LaneFeed()
    putting = asyncio.create_task(_commit(feed, 1000))
    for _ in range(2000):
        await asyncio.sleep(0)
    assert not putting.done()
    task = asyncio.create_task(feed.feed(lane_session(), lambda samples: None))
    await putting
    task.cancel()


async def _commit(feed: LaneFeed, count: int) -> None:
    for _ in range(count):
        await feed.put(Commit())
