"""What sessions send their child: in order, in turn, and past others' audio where it is no audio itself."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.lane_protocol.messages import Message
from voxfleet_agent.lane_protocol.session_messages import (
    CancelSession,
    ClearTurn,
    CommitTurn,
    EndSession,
    FileBytes,
    GrantRoom,
    HearAudio,
)
from voxfleet_agent.lanes.session_feed import CHUNK_BYTES, SessionFeed, file_bytes, heard_audio


class Child:
    """Takes one message whenever a test says so."""

    alive = True

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.room = asyncio.Semaphore(0)

    def send(self, request: Message) -> None:
        self.sent.append(request)

    async def until_taken(self) -> None:
        await self.room.acquire()


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class Feeding:
    """A feed that runs for as long as it is entered."""

    async def __aenter__(self) -> tuple[SessionFeed, Child]:
        self._child = Child()
        feed = SessionFeed(self._child)
        self._running = asyncio.create_task(feed.run())
        await settled()
        return feed, self._child

    async def __aexit__(self, *facts: object) -> None:
        self._running.cancel()
        await asyncio.wait({self._running})


async def take_all(child: Child) -> None:
    before = -1
    while before != len(child.sent):
        before = len(child.sent)
        child.room.release()
        await settled()


async def test_no_more_is_sent_than_the_child_takes() -> None:
    async with Feeding() as (feed, child):
        feed.put_audio(1, bytes(10 * CHUNK_BYTES), heard_audio)
        await settled()
        assert len(child.sent) == 1
        child.room.release()
        await settled()
        assert len(child.sent) == 2


async def test_an_end_and_a_cancel_wait_for_no_other_sessions_audio() -> None:
    async with Feeding() as (feed, child):
        for session in (1, 2, 3):
            feed.put_audio(session, bytes(10 * CHUNK_BYTES), heard_audio)
        await settled()
        feed.put(EndSession(session=4))
        feed.send_first(CancelSession(session=2))
        feed.forget(2)
        child.room.release()
        await settled()
        assert child.sent[1:] == [CancelSession(session=2), EndSession(session=4)]
        await take_all(child)
        assert not any(isinstance(one, HearAudio) and one.session == 2 for one in child.sent)


async def test_sessions_have_their_turns() -> None:
    async with Feeding() as (feed, child):
        feed.put_audio(1, bytes(100 * CHUNK_BYTES), heard_audio)
        feed.put_audio(2, bytes(2 * CHUNK_BYTES), file_bytes)
        for _ in range(4):
            await settled()
            child.room.release()
        await settled()
        turns = [(one.kind, one.session) for one in child.sent[:4] if isinstance(one, HearAudio | FileBytes)]
        assert turns == [("HearAudio", 1), ("FileBytes", 2), ("HearAudio", 1), ("FileBytes", 2)]


async def test_small_pieces_and_grants_that_wait_become_one_message() -> None:
    async with Feeding() as (feed, child):
        feed.put_audio(1, bytes(CHUNK_BYTES), heard_audio)
        await settled()
        for _ in range(1_000):
            feed.put_audio(2, b"ab", heard_audio)
            feed.put(GrantRoom(session=3, samples=5))
        await take_all(child)
        assert child.sent[1:] == [
            GrantRoom(session=3, samples=5_000),
            HearAudio(session=2, pcm=b"ab" * 1_000),
        ]


Put = tuple[int, bytes | type[CommitTurn | ClearTurn]]
PUTS = st.lists(
    st.tuples(
        st.integers(1, 3),
        st.binary(min_size=1, max_size=3) | st.sampled_from([bytes(CHUNK_BYTES + 2), CommitTurn, ClearTurn]),
    ),
    max_size=30,
)


@given(PUTS, st.lists(st.booleans(), max_size=30))
def test_each_session_is_sent_what_it_put_in_its_order(puts: list[Put], taken: list[bool]) -> None:
    async def check() -> None:
        async with Feeding() as (feed, child):
            expected: dict[int, list[object]] = defaultdict(list)
            for number, (session, what) in enumerate(puts):
                if isinstance(what, bytes):
                    feed.put_audio(session, what, file_bytes)
                    expected[session] += what
                else:
                    feed.put(what(session=session))
                    expected[session].append(what)
                if number < len(taken) and taken[number]:
                    child.room.release()
                    await settled()
            await take_all(child)
            found: dict[int, list[object]] = defaultdict(list)
            for message in child.sent:
                if isinstance(message, FileBytes):
                    assert len(message.content) <= CHUNK_BYTES
                    found[message.session] += message.content
                elif isinstance(message, CommitTurn | ClearTurn):
                    found[message.session].append(type(message))
            assert found == expected
            assert [feed.waiting_requests(session) for session in (1, 2, 3)] == [0, 0, 0]

    asyncio.run(check())
