"""Turns at the model's rate, with a detector of speech that hears every sample above 0 as speech."""

from __future__ import annotations

import numpy as np
import pytest

from voxfleet_agent.engine.turn_detection import TurnBegan, TurnEnded, TurnEvent, TurnRules
from voxfleet_agent.worker.decode_thread import Samples
from voxfleet_agent.worker.turn_clock import CommittedTurns, DetectedTurns, ResampledTurns, TurnClock

CHUNK = 512
RULES = TurnRules(threshold=0.5, prefix_padding_frames=1_024, silence_frames=4_096, max_turn_frames=64_000)


class Vad:
    def __init__(self) -> None:
        self._waiting = np.zeros(0, np.float32)

    def feed(self, samples_16k: Samples) -> list[float]:
        waiting = np.concatenate([self._waiting, samples_16k])
        whole = len(waiting) // CHUNK * CHUNK
        self._waiting = waiting[whole:]
        return [float(chunk.max() > 0) for chunk in waiting[:whole].reshape(-1, CHUNK)]


class Late:
    """Makes 16 kHz of 48, a tenth of a second late, as a filter does."""

    def __init__(self) -> None:
        self._held = np.zeros(0, np.float32)

    def process(self, samples: Samples) -> Samples:
        held = np.concatenate([self._held, samples])
        out = max(0, (len(held) - 4_800) // 3) * 3
        self._held = held[out:]
        return held[:out:3]

    def finish(self) -> Samples:
        return self._held[::3]


def detected() -> TurnClock:
    return DetectedTurns(RULES, Vad())


def resampled() -> TurnClock:
    return ResampledTurns(DetectedTurns(RULES, Vad()), Late, 48_000)


def audio(rate_hz: int, *parts: tuple[float, int]) -> Samples:
    """(level, milliseconds) one after the other."""
    return np.concatenate([np.full(rate_hz * length // 1000, level, np.float32) for level, length in parts])


def turns_of(events: list[TurnEvent], rate_hz: int) -> list[tuple[int, int]]:
    """(start, end) in milliseconds."""
    return [
        (event.start_frame * 1000 // rate_hz, event.end_frame * 1000 // rate_hz)
        for event in events
        if isinstance(event, TurnEnded)
    ]


def heard(turns: TurnClock, samples: Samples, piece: int) -> list[TurnEvent]:
    return [e for start in range(0, len(samples), piece) for e in turns.hear(samples[start : start + piece])]


@pytest.mark.parametrize(("make", "rate_hz"), [(detected, 16_000), (resampled, 48_000)])
def test_turns_lie_where_speech_is_at_either_rate(make: object, rate_hz: int) -> None:
    turns = detected() if make is detected else resampled()
    samples = audio(rate_hz, (0, 1_024), (1, 512), (0, 1_024), (1, 512))
    events = heard(turns, samples, rate_hz // 50)
    first = turns_of(events, rate_hz)
    assert first == [(960, 1_792)]  # 64 ms of padding before, 256 ms of silence behind
    commit = turns.commit()
    ((start, end),) = turns_of(commit, rate_hz)
    assert (start, end) == (2_496, 3_072), "what the filter held back belongs to the turn"
    assert turns.due_milliseconds() is None
    again = heard(turns, audio(rate_hz, (0, 512), (1, 512)), rate_hz // 50) + turns.finish()
    assert turns_of(again, rate_hz) == [(3_520, 4_096)]


def test_an_open_turn_is_due_after_its_silence_and_no_other() -> None:
    turns = detected()
    turns.hear(audio(16_000, (0, 512)))
    assert turns.due_milliseconds() is None
    turns.hear(audio(16_000, (1, 512)))
    assert turns.due_milliseconds() == 256
    turns.hear(audio(16_000, (0, 128)))
    assert turns.due_milliseconds() == 128


def test_without_detection_a_turn_is_what_lies_between_two_commits() -> None:
    turns = CommittedTurns(1_000)
    assert turns.commit() == [] and turns.finish() == []
    assert turns.hear(np.zeros(300, np.float32)) == [TurnBegan(0)]
    assert turns.due_milliseconds() is None
    assert turns_of(turns.commit(), 1_000) == [(0, 300)]
    assert turns_of(turns.hear(np.zeros(2_100, np.float32)), 1_000) == [(300, 1_300), (1_300, 2_300)]
    assert len(turns.clear()) == 1 and turns.commit() == []
