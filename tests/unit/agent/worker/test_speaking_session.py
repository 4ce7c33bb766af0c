"""A session that speaks, whatever its model makes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from voxfleet_agent.lane_protocol.messages import Message
from voxfleet_agent.lane_protocol.session_messages import GrantRoom, OpenSpeaking, SpokenAudio, WorkingOnAudio
from voxfleet_agent.worker.decode_thread import Samples
from voxfleet_agent.worker.session_host import _first_chunk_milliseconds
from voxfleet_agent.worker.session_summary import SessionSummary
from voxfleet_agent.worker.speaking_session import SpeakingSession
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import Clipping
from voxfleet_api.kinds.job_task import Synthesis

RATE_HZ = 1_000


def endless(made: list[int], samples: int) -> Iterator[Samples]:
    while True:
        made.append(samples)
        yield np.zeros(samples, np.float32)


def session_of(
    chunks: Iterator[Samples],
    sent: list[Message],
    *,
    first_chunk_milliseconds: int = 0,
    now_ns: Callable[[], int] = time.monotonic_ns,
) -> SpeakingSession:
    return SpeakingSession(
        1,
        chunks,
        room_samples=10**9,
        most_samples=10_000,
        first_chunk_milliseconds=first_chunk_milliseconds,
        sample_rate_hz=RATE_HZ,
        clipping=Clipping.REFUSE,
        opened_ns=0,
        send=sent.append,
        now_ns=now_ns,
    )


def test_an_endless_speech_ends_at_the_contracts_longest_audio() -> None:
    made: list[int] = []
    sent: list[Message] = []
    session = session_of(endless(made, 3_000), sent)
    for _ in range(3):
        session.run_step()
    with pytest.raises(VoxFleetError, match="longer than maxClip") as raised:
        session.run_step()
    assert raised.value.failure_class is FailureClass.CONTRACT_VIOLATION
    assert sum(len(audio.pcm) // 2 for audio in sent if isinstance(audio, SpokenAudio)) == 9_000


def test_the_parent_is_told_how_much_audio_a_chunk_may_have() -> None:
    """Before the first it is the whole text, which some families speak at once; then the longest that came."""
    sent: list[Message] = []
    session = session_of(endless([], 4_000), sent, first_chunk_milliseconds=60_000)
    session.run_step()
    session.run_step()
    assert [message.audio_milliseconds for message in sent if isinstance(message, WorkingOnAudio)] == [
        60_000,
        0,
        4_000,
        0,
    ]
    sent.clear()
    session = session_of(endless([], 500), sent, first_chunk_milliseconds=60_000)
    session.run_step()
    session.run_step()
    assert len([message for message in sent if isinstance(message, WorkingOnAudio)]) == 2


@pytest.mark.parametrize(
    ("interval_milliseconds", "asked", "expected"),
    [(0, None, 15_000), (80, None, 80), (80, "2s", 2_000), (80, "20s", 15_000)],
)
def test_a_model_that_streams_is_given_no_more_patience_than_its_chunk(
    interval_milliseconds: int, asked: str | None, expected: int
) -> None:
    synthesis = None if asked is None else Synthesis(streaming_interval=asked)
    request = OpenSpeaking(session=1, text="x" * 100, room_samples=1, synthesis=synthesis)
    assert _first_chunk_milliseconds(request, interval_milliseconds) == expected


def test_a_speech_tells_how_long_its_listener_waited_for_the_first_chunk() -> None:
    now_ns = iter([3_000_000_000, 3_500_000_000]).__next__
    session = session_of(endless([], 100), [], now_ns=now_ns)
    assert session.summary() == SessionSummary(audio_milliseconds=0)
    session.run_step()
    session.run_step()
    assert session.summary() == SessionSummary(200, wait_milliseconds=3_000, infer_milliseconds=500)


def test_a_closed_speech_closes_what_makes_its_chunks() -> None:
    chunks = endless([], 100)
    session = session_of(chunks, [])
    session.run_step()
    session.close()
    with pytest.raises(StopIteration):
        next(chunks)


def test_a_grant_of_nothing_is_refused() -> None:
    with pytest.raises(VoxFleetError, match="above 0"):
        session_of(endless([], 100), []).request(GrantRoom(session=1, samples=0))
