"""Sessions that listen, in a real child with the real built-in model."""

from __future__ import annotations

import pytest
import pytest_asyncio
from tests.component.lanes.lane_rig import Examples, transcribe_spec
from tests.component.lanes.session_rig import VAD, Client, clip_samples, frames, opening, pcm_of

from voxfleet_agent.lane_protocol.messages import SessionLimits
from voxfleet_agent.lane_protocol.session_messages import (
    AudioTaken,
    CancelSession,
    ClearTurn,
    CommitTurn,
    EndSession,
    HearAudio,
    SessionEnded,
    SessionOpened,
    SpeechStarted,
    SpeechStopped,
    TurnCommitted,
    TurnDone,
    TurnDropped,
)
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.worker.session_host import UNCOUNTED_SESSIONS
from voxfleet_api.failures import FailureClass

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def loaded(client: Client, model: ResolvedModel) -> None:
    await client.load(model, transcribe_spec())


@pytest.fixture(scope="session")
def spoken(example_clips: Examples) -> dict[str, tuple[bytes, int, str]]:
    """By id: the PCM of a clip, its rate in Hz, and its text."""
    found = {}
    for name, (path, text, _) in example_clips.items():
        if text:
            samples, rate_hz = clip_samples(path)
            found[name] = (pcm_of(samples), rate_hz, text)
    return found


@pytest.mark.parametrize(("frame_milliseconds", "most"), [(10, 4), (20, 99), (30, 4), (100, 4), (1000, 4)])
async def test_every_clip_has_the_batchs_text_however_it_is_cut(
    client: Client, spoken: dict[str, tuple[bytes, int, str]], frame_milliseconds: int, most: int
) -> None:
    for pcm, rate_hz, text in list(spoken.values())[:most]:
        number = client.number()
        ended = await client.hear(pcm, frame_milliseconds, opening(number, rate_hz=rate_hz))
        assert (ended.failure_class, client.texts(number)) == (None, [text])


async def test_turns_are_found_by_the_detector_and_no_tail_is_lost(
    client: Client, spoken: dict[str, tuple[bytes, int, str]]
) -> None:
    """Two clips with silence around them are two turns; the second is still spoken when the session ends."""
    first, second = [clip for clip in spoken.values() if clip[1] == 16_000][:2]
    silence = bytes(2 * 16_000)
    number = client.number()
    ended = await client.hear(silence + first[0] + silence + second[0], 20, opening(number, detection=VAD))
    assert (ended.failure_class, client.texts(number)) == (None, [first[2], second[2]])
    started, stopped = client.of(SpeechStarted, number), client.of(SpeechStopped, number)
    assert [message.turn for message in started] == [message.turn for message in stopped] == [0, 1]
    turns = client.of(TurnDone, number)
    length = (len(silence + first[0] + silence + second[0])) // 32
    times = [time for turn in turns for time in (turn.start_milliseconds, turn.end_milliseconds)]
    assert times == sorted(times) and times[0] >= 500 and times[-1] == length
    for turn, start, stop in zip(turns, started, stopped, strict=True):
        assert turn.start_milliseconds == start.audio_milliseconds < stop.audio_milliseconds <= turn.end_milliseconds
        assert turn.voiced_end_milliseconds == stop.audio_milliseconds


async def test_silence_alone_makes_no_turn(client: Client) -> None:
    number = client.number()
    ended = await client.hear(bytes(2 * 16_000 * 5), 30, opening(number, detection=VAD))
    assert ended.failure_class is None
    told = {type(message) for message in client.heard if getattr(message, "session", None) == number}
    assert told == {SessionOpened, AudioTaken, SessionEnded}


async def test_a_turn_ends_by_the_clock_when_audio_stops_coming(
    client: Client, spoken: dict[str, tuple[bytes, int, str]]
) -> None:
    pcm, _, text = next(clip for clip in spoken.values() if clip[1] == 16_000)
    number = client.number()
    client.send(opening(number, detection=VAD), *frames(number, pcm, 20))
    await client.until(TurnDone, number)
    assert client.texts(number) == [text]
    client.send(EndSession(session=number))
    assert (await client.until(SessionEnded, number)).failure_class is None


async def test_a_commit_ends_a_turn_and_a_clear_drops_one(
    client: Client, spoken: dict[str, tuple[bytes, int, str]]
) -> None:
    first, second, third = [clip for clip in spoken.values() if clip[1] == 16_000][:3]
    number = client.number()
    client.send(opening(number), *frames(number, first[0], 100), CommitTurn(session=number))
    client.send(*frames(number, second[0], 100), ClearTurn(session=number), CommitTurn(session=number))
    client.send(*frames(number, third[0], 100), EndSession(session=number))
    ended = await client.until(SessionEnded, number)
    assert (ended.failure_class, client.texts(number)) == (None, [first[2], third[2]])
    assert [turn.voiced_end_milliseconds for turn in client.of(TurnDone, number)] == [None, None]


async def test_a_clear_right_behind_speech_is_told_after_its_start(
    client: Client, spoken: dict[str, tuple[bytes, int, str]]
) -> None:
    """Else the parent takes the session for one that speaks, for which batches stand still."""
    pcm, _, _ = next(clip for clip in spoken.values() if clip[1] == 16_000)
    number = client.number()
    client.send(opening(number, detection=VAD), *frames(number, pcm, 1000), ClearTurn(session=number))
    client.send(*frames(number, bytes(2 * 16_000), 100), EndSession(session=number))
    await client.until(SessionEnded, number)
    last = [message for message in client.heard if isinstance(message, SpeechStarted | TurnCommitted | TurnDropped)][-1]
    assert isinstance(last, TurnDropped) and client.of(SpeechStarted, number)[-1].turn == last.turn


async def test_two_sessions_are_heard_at_once(client: Client, spoken: dict[str, tuple[bytes, int, str]]) -> None:
    first, second = [clip for clip in spoken.values() if clip[1] == 16_000][:2]
    numbers = client.number(), client.number()
    client.send(*(opening(number, partial=100) for number in numbers))
    parts = [list(frames(number, pcm, 20)) for number, (pcm, _, _) in zip(numbers, (first, second), strict=True)]
    for ours, theirs in zip(*parts, strict=False):
        client.send(ours, theirs)
    for part in parts:
        client.send(*part[min(map(len, parts)) :])
    client.send(*(EndSession(session=number) for number in numbers))
    for number, (_, _, text) in zip(numbers, (first, second), strict=True):
        await client.until(SessionEnded, number)
        assert client.texts(number) == [text]


async def test_an_undeclared_rate_is_refused_and_its_neighbour_goes_on(
    client: Client, spoken: dict[str, tuple[bytes, int, str]]
) -> None:
    pcm, _, text = next(clip for clip in spoken.values() if clip[1] == 16_000)
    refused, good = client.number(), client.number()
    client.send(opening(good), opening(refused, rate_hz=8_000), HearAudio(session=refused, pcm=pcm))
    ended = await client.until(SessionEnded, refused)
    assert ended.failure_class is FailureClass.CONTRACT_VIOLATION
    assert "8000 Hz" in ended.reason and "input.sampleRatesHz" in ended.reason
    client.send(HearAudio(session=good, pcm=pcm), EndSession(session=good), EndSession(session=refused))
    await client.until(SessionEnded, good)
    assert client.texts(good) == [text] and len(client.of(SessionEnded, refused)) == 1


async def test_half_a_sample_a_second_opening_and_one_session_too_many_end_only_themselves(
    client: Client, spoken: dict[str, tuple[bytes, int, str]]
) -> None:
    pcm, _, text = next(clip for clip in spoken.values() if clip[1] == 16_000)
    good, odd, twice, *many = [client.number() for _ in range(2 + UNCOUNTED_SESSIONS)]
    client.send(opening(good), opening(odd), HearAudio(session=odd, pcm=b"\0\0\0"))
    client.send(opening(twice), opening(twice), HearAudio(session=9_999, pcm=pcm), CommitTurn(session=9_999))
    assert (await client.until(SessionEnded, odd)).failure_class is FailureClass.INVALID_INPUT
    assert (await client.until(SessionEnded, twice)).failure_class is FailureClass.INVALID_INPUT
    client.send(*(opening(number) for number in many), opening(client.number()))
    ended = await client.until(SessionEnded, many[-1] + 1)
    assert ended.failure_class is FailureClass.THROTTLED
    client.send(*(CancelSession(session=number) for number in many))
    client.send(HearAudio(session=good, pcm=pcm), EndSession(session=good))
    await client.until(SessionEnded, good)
    assert client.texts(good) == [text]
    for number in many:
        assert (await client.until(SessionEnded, number)).failure_class is None


async def test_a_lane_takes_no_longer_turns_and_no_more_sessions_than_it_was_loaded_for(
    client: Client, model: ResolvedModel
) -> None:
    limits = SessionLimits(most_sessions=1, max_turn_milliseconds=1_000)
    await client.child.load(model, transcribe_spec(), memory_cap_bytes=2**30, environment={}, sessions=limits)
    number, other = client.number(), client.number()
    client.send(opening(number), opening(other), *frames(number, bytes(2 * 40_000), 100), EndSession(session=number))
    await client.until(SessionEnded, number)
    assert [turn.end_milliseconds for turn in client.of(TurnDone, number)] == [1_000, 2_000, 2_500]
    (refused,) = client.of(SessionEnded, other)
    assert refused.failure_class is FailureClass.THROTTLED
