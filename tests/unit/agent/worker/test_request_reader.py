"""What the child reads while its model works is bounded, and the parent's end is seen all the same."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.component.lanes.lane_rig import load_request

from voxfleet_agent.lane_protocol.channel import LaneRequest, frame
from voxfleet_agent.lane_protocol.session_messages import CancelSession, FileBytes, HearAudio
from voxfleet_agent.worker.request_reader import RequestReader

END_SECONDS = 30.0
AUDIO = HearAudio(session=1, pcm=bytes(4_000))
MOST_BYTES = 10_000


@dataclass
class Rig:
    inbox: queue.SimpleQueue[LaneRequest]
    reader: RequestReader
    thread: threading.Thread
    parent: int

    def take(self) -> LaneRequest:
        request = self.inbox.get(timeout=END_SECONDS)
        self.reader.taken(request)
        return request


@pytest.fixture
def rig() -> Iterator[Rig]:
    inbox: queue.SimpleQueue[LaneRequest] = queue.SimpleQueue()
    read, write = os.pipe()
    with os.fdopen(read, "rb") as channel:
        reader = RequestReader(channel, inbox.put, MOST_BYTES)
        thread = threading.Thread(target=reader.read_all)
        thread.start()
        rig = Rig(inbox, reader, thread, write)
        yield rig
        if rig.parent >= 0:
            os.close(rig.parent)
        thread.join(END_SECONDS)
        assert not thread.is_alive()


@pytest.mark.parametrize("request_", [AUDIO, FileBytes(session=1, content=AUDIO.pcm)], ids=["audio", "file"])
def test_audio_beyond_the_bound_stays_in_the_pipe_until_some_was_taken(rig: Rig, request_: LaneRequest) -> None:
    os.write(rig.parent, frame(request_) * 5 + frame(CancelSession(session=1)))
    seen: list[int] = []
    for _ in range(5):
        assert rig.take() == request_
        seen.append(rig.inbox.qsize())
    assert max(seen) <= MOST_BYTES // len(AUDIO.pcm)
    assert rig.take() == CancelSession(session=1)


def test_one_request_beyond_the_bound_and_batches_are_not_held_up(rig: Rig, tmp_path: Path) -> None:
    large = HearAudio(session=1, pcm=bytes(3 * MOST_BYTES // 2))
    load = load_request(tmp_path)
    os.write(rig.parent, frame(large) + frame(load))
    assert rig.inbox.get(timeout=END_SECONDS) == large
    assert rig.inbox.get(timeout=END_SECONDS) == load


def test_a_reader_that_waits_sees_that_its_parent_is_gone(rig: Rig) -> None:
    os.write(rig.parent, frame(AUDIO) * 5)
    os.close(rig.parent)
    rig.parent = -1
    rig.thread.join(END_SECONDS)
    assert not rig.thread.is_alive() and rig.inbox.qsize() == MOST_BYTES // len(AUDIO.pcm)
