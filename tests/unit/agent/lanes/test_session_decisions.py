"""What a lane of sessions decides: when its child hangs, when it loads again, and what a session may hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.lane_protocol.session_messages import SessionEnded, SpokenAudio, TextDelta
from voxfleet_agent.lanes.reload_backoff import MOST_SECONDS, STEADY_SECONDS, early_ends, reload_delay_seconds
from voxfleet_agent.lanes.session_hangs import ChildSilence, SessionTimeouts, misbehaviour
from voxfleet_agent.lanes.session_queue import EVENT_BYTES, SessionEvent, SessionQueue, event_bytes
from voxfleet_agent.lanes.warm_up_clip import clip_rate_hz, voice_like_pcm

TIMEOUTS = SessionTimeouts(answer_seconds=30.0, pace_factor=10, most_seconds=300.0)
NOTHING_OWED = ChildSilence(
    owed_since_seconds=None,
    passed_over_since_seconds=None,
    untaken_since_seconds=None,
    last_received_seconds=0.0,
    first_audio_seconds=0.5,
)
OWED = replace(NOTHING_OWED, owed_since_seconds=100.0, passed_over_since_seconds=100.0)


@pytest.mark.parametrize(
    ("silence", "now_seconds", "expected"),
    [
        (NOTHING_OWED, 1e6, None),
        (OWED, 129.9, None),
        (OWED, 130.0, "gave no sign of life for 30 s"),
        (replace(OWED, last_received_seconds=125.0), 154.9, None),
        (replace(OWED, last_received_seconds=125.0), 155.0, "gave no sign of life for 30 s"),
        (replace(OWED, first_audio_seconds=5.0), 149.9, None),
        (replace(OWED, first_audio_seconds=5.0), 150.0, "gave no sign of life for 50 s"),
        (replace(OWED, first_audio_seconds=1000.0), 400.0, "gave no sign of life for 300 s"),
        (replace(OWED, last_received_seconds=399.0), 399.9, None),
        (replace(OWED, last_received_seconds=399.0), 400.0, "owed a session an answer for 300 s"),
        (replace(OWED, passed_over_since_seconds=None, last_received_seconds=399.0), 1e3, "gave no sign of life"),
        (replace(OWED, passed_over_since_seconds=None, last_received_seconds=999.0), 1e3, None),
        (replace(OWED, step_audio_seconds=60.0), 729.9, None),
        (replace(OWED, step_audio_seconds=60.0), 730.0, "gave no sign of life for 630 s"),
        (replace(NOTHING_OWED, untaken_since_seconds=100.0, step_audio_seconds=60.0), 729.9, None),
        (replace(NOTHING_OWED, untaken_since_seconds=100.0), 129.9, None),
        (replace(NOTHING_OWED, untaken_since_seconds=100.0), 130.0, "took nothing of what it was sent for 30 s"),
        (replace(NOTHING_OWED, untaken_since_seconds=100.0, last_received_seconds=130.0), 130.0, "took nothing"),
    ],
)
def test_when_a_child_is_killed(silence: ChildSilence, now_seconds: float, expected: str | None) -> None:
    reason = misbehaviour(TIMEOUTS, silence, now_seconds)
    assert reason is expected or (reason is not None and expected is not None and reason.startswith(expected))


TIMES = st.floats(0, 1000)


@given(st.none() | TIMES, st.booleans(), st.none() | TIMES, TIMES, TIMES, st.floats(0, 1000))
def test_a_child_that_works_is_kept_and_one_that_is_owed_an_answer_is_found(
    owed: float | None, in_order: bool, untaken: float | None, last: float, first_audio: float, later: float
) -> None:
    now = 1000 + later
    silence = ChildSilence(owed, None if in_order else owed, untaken, last, first_audio)
    if owed is None and untaken is None:
        assert misbehaviour(TIMEOUTS, silence, now) is None
    # A session that waits its turn beside others that get theirs is owed nothing before the child falls silent.
    owed_since = owed if owed is None or not in_order else max(owed, last)
    waits = [since for since in (owed_since, untaken) if since is not None]
    if waits and now - min(waits) >= TIMEOUTS.most_seconds:  # nothing else waits without an end
        assert misbehaviour(TIMEOUTS, silence, now) is not None
    if all(now - since < TIMEOUTS.answer_seconds for since in waits):
        assert misbehaviour(TIMEOUTS, silence, now) is None


def test_the_first_end_is_mended_at_once_and_then_the_pauses_grow_to_a_bound() -> None:
    assert [reload_delay_seconds(count) for count in range(1, 10)] == [
        0,
        1,
        2,
        4,
        8,
        16,
        32,
        MOST_SECONDS,
        MOST_SECONDS,
    ]
    assert reload_delay_seconds(10**6) == MOST_SECONDS


@given(st.integers(0, 100), st.none() | st.floats(0, 1e6))
def test_only_steady_service_ends_the_count(before: int, served_seconds: float | None) -> None:
    after = early_ends(before, served_seconds)
    steady = served_seconds is not None and served_seconds >= STEADY_SECONDS
    assert after == (1 if steady else before + 1)
    assert reload_delay_seconds(after) >= (0 if steady else reload_delay_seconds(before))


EVENTS = st.one_of(
    st.builds(TextDelta, session=st.just(1), turn=st.just(0), text=st.text(max_size=50)),
    st.builds(SpokenAudio, session=st.just(1), pcm=st.binary(max_size=500)),
)
END = SessionEnded(session=1)


@given(st.lists(st.one_of(EVENTS, st.just("take")), max_size=60), st.integers(0, 3000), st.booleans())
def test_a_queue_keeps_its_bound_and_its_order_and_ends_once(
    steps: list[SessionEvent | str], max_bytes: int, drop: bool
) -> None:
    async def check() -> None:
        queue, expected = SessionQueue(max_bytes), list[SessionEvent]()
        for step in steps:
            if isinstance(step, str):
                if expected:
                    assert await queue.take() == expected.pop(0)
                continue
            fits = sum(map(event_bytes, expected)) + event_bytes(step) <= max_bytes
            assert queue.put(step) is fits
            expected += [step] if fits else []
            assert queue.held_bytes == sum(map(event_bytes, expected)) <= max_bytes
        queue.finish(END, drop=drop)
        queue.finish(SessionEnded(session=1, reason="again"))
        assert queue.put(TextDelta(session=1, turn=0, text="late")) and queue.finished
        left = [event async for event in _taken(queue)]
        assert left == [*([] if drop else expected), END] and queue.held_bytes == 0

    asyncio.run(check())


async def _taken(queue: SessionQueue) -> AsyncIterator[SessionEvent]:
    while (event := await queue.take()) is not None:
        yield event


def test_what_an_event_holds() -> None:
    assert event_bytes(SpokenAudio(session=1, pcm=bytes(1000))) == EVENT_BYTES + 1000
    assert event_bytes(TextDelta(session=1, turn=0, text="ü" * 10)) >= len("ü" * 10) + EVENT_BYTES
    assert event_bytes(END) == EVENT_BYTES


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000])
def test_the_warm_up_clip_is_audible_and_does_not_clip(rate_hz: int) -> None:
    samples = memoryview(voice_like_pcm(rate_hz, 1000)).cast("h").tolist()
    assert len(samples) == rate_hz
    assert 5_000 < max(map(abs, samples)) < 30_000


@pytest.mark.parametrize(
    ("accepted_hz", "expected_hz"),
    [((16_000,), 16_000), ((8_000, 16_000), 16_000), ((24_000,), 24_000), ((8_000, 48_000), 8_000)],
)
def test_the_warm_up_clip_has_a_rate_that_the_contract_accepts(accepted_hz: tuple[int, ...], expected_hz: int) -> None:
    assert clip_rate_hz(accepted_hz, model_hz=16_000) == expected_hz
