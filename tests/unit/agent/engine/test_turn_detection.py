"""Turns begin and end where the probabilities of speech, the clock and the client say."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.engine.turn_detection import (
    EndOfTurn,
    SpeechEnded,
    TurnBegan,
    TurnCleared,
    TurnDetector,
    TurnEnded,
    TurnEvent,
    TurnRules,
)

CHUNK = 10
RULES = TurnRules(threshold=0.5, prefix_padding_frames=15, silence_frames=25, max_turn_frames=1000)
YES, HARDLY, NO = 0.5, 0.35, 0.34


def events(rules: TurnRules, *probabilities: float) -> list[TurnEvent]:
    detector = TurnDetector(rules, CHUNK)
    return [event for probability in probabilities for event in detector.feed(probability)]


def ended(start: int, end: int, why: EndOfTurn, speech_end: int | None = None) -> list[TurnEvent]:
    return [SpeechEnded(end if speech_end is None else speech_end), TurnEnded(start, end, why)]


SILENCE, MAX_TURN, COMMIT, FINISH = EndOfTurn


@pytest.mark.parametrize(
    ("rules", "probabilities", "expected"),
    [
        pytest.param(RULES, [NO] * 50, [], id="silence makes no turn"),
        pytest.param(RULES, [HARDLY] * 50, [], id="what is hardly speech begins no turn"),
        pytest.param(RULES, [YES], [TurnBegan(0)], id="no prefix before the session"),
        pytest.param(RULES, [NO, NO, NO, YES], [TurnBegan(15)], id="the prefix belongs to the turn"),
        pytest.param(
            RULES,
            [YES, NO, NO, NO],
            [TurnBegan(0), *ended(0, 35, SILENCE, speech_end=10)],
            id="silence ends a turn within the chunk in which it is long enough",
        ),
        pytest.param(RULES, [YES, NO, NO], [TurnBegan(0)], id="silence that is too short"),
        pytest.param(
            replace(RULES, silence_frames=20, max_turn_frames=30),
            [YES, NO, NO],
            [TurnBegan(0), *ended(0, 30, SILENCE, speech_end=10)],
            id="silence that is just long enough, at the last moment",
        ),
        pytest.param(
            replace(RULES, silence_frames=20, max_turn_frames=28),
            [YES, NO, NO],
            [TurnBegan(0), *ended(0, 28, MAX_TURN, speech_end=10)],
            id="the longest turn ends before the silence is long enough",
        ),
        pytest.param(RULES, [YES, NO, NO, YES, NO, NO], [TurnBegan(0)], id="speech starts the silence anew"),
        pytest.param(RULES, [YES, *[HARDLY] * 50], [TurnBegan(0)], id="what is hardly speech continues it"),
        pytest.param(
            RULES,
            [YES, NO, HARDLY, HARDLY],
            [TurnBegan(0), *ended(0, 35, SILENCE, speech_end=10)],
            id="what is hardly speech does not end silence",
        ),
        pytest.param(
            RULES,
            [YES, NO, NO, NO, YES],
            [TurnBegan(0), *ended(0, 35, SILENCE, speech_end=10), TurnBegan(35)],
            id="the prefix ends where the last turn does",
        ),
        pytest.param(
            RULES,
            [YES, NO, NO, NO, HARDLY],
            [TurnBegan(0), *ended(0, 35, SILENCE, speech_end=10)],
            id="after silence, speech needs the threshold again",
        ),
        pytest.param(
            replace(RULES, max_turn_frames=25),
            [YES] * 5,
            [TurnBegan(0), *ended(0, 25, MAX_TURN), TurnBegan(25), *ended(25, 50, MAX_TURN)],
            id="speech goes on in the next turn",
        ),
        pytest.param(
            replace(RULES, max_turn_frames=30),
            [YES, YES, YES, HARDLY],
            [TurnBegan(0), *ended(0, 30, MAX_TURN), TurnBegan(30)],
            id="a turn that is cut between chunks goes on with speech, however faint",
        ),
        pytest.param(
            replace(RULES, max_turn_frames=30),
            [YES, YES, YES, NO, HARDLY, NO],
            [TurnBegan(0), *ended(0, 30, MAX_TURN)],
            id="after the longest turn, silence begins none",
        ),
        pytest.param(
            replace(RULES, max_turn_frames=30),
            [YES, NO, NO, NO],
            [TurnBegan(0), *ended(0, 30, MAX_TURN, speech_end=10)],
            id="the longest turn ends in silence",
        ),
        pytest.param(
            replace(RULES, threshold=0.1),
            [0.1, 0.0, 0.0, 0.0],
            [TurnBegan(0), *ended(0, 35, SILENCE, speech_end=10)],
            id="a low threshold hears silence, too",
        ),
    ],
)
def test_turns(rules: TurnRules, probabilities: list[float], expected: list[TurnEvent]) -> None:
    assert events(rules, *probabilities) == expected


def test_a_commit_ends_the_turn_with_all_audio_so_far() -> None:
    detector = TurnDetector(RULES, CHUNK)
    assert detector.commit(3) == []
    detector.feed(YES)
    assert detector.commit(17) == ended(0, 17, COMMIT)
    assert detector.feed(HARDLY) == []  # the end of a word that was committed is no turn
    assert detector.feed(YES) == [TurnBegan(17)]


def test_the_clock_does_not_count_audio_that_nobody_has_judged_as_silence() -> None:
    detector = TurnDetector(RULES, CHUNK)
    for probability in (YES, NO, NO):
        detector.feed(probability)
    assert detector.finish(39) == ended(0, 39, FINISH, speech_end=10)


def test_a_commit_beyond_the_longest_turn_ends_two() -> None:
    detector = TurnDetector(replace(RULES, max_turn_frames=25), CHUNK)
    detector.feed(YES)
    detector.feed(YES)
    assert detector.commit(29) == [*ended(0, 25, MAX_TURN), TurnBegan(25), *ended(25, 29, COMMIT)]


def test_cleared_audio_is_in_no_turn() -> None:
    detector = TurnDetector(RULES, CHUNK)
    assert detector.clear(5) == []
    assert detector.feed(YES) == [TurnBegan(5)]
    assert detector.clear(12) == [TurnCleared(5, 12)]
    assert detector.feed(HARDLY) == []
    assert detector.feed(YES) == [TurnBegan(12)]
    assert detector.finish(30) == ended(12, 30, FINISH)


def test_audio_that_was_committed_before_it_was_judged_begins_no_turn() -> None:
    detector = TurnDetector(RULES, CHUNK)
    assert detector.feed(YES) == [TurnBegan(0)]
    assert detector.commit(31) == ended(0, 31, COMMIT)
    assert [*detector.feed(YES), *detector.feed(YES)] == []
    assert detector.feed(YES) == [TurnBegan(31)]


def test_a_turn_tells_when_it_is_due() -> None:
    detector = TurnDetector(replace(RULES, max_turn_frames=60), CHUNK)
    due = [detector.due_in_frames()]
    for probability in (YES, NO, NO, YES, YES, NO, NO):
        detector.feed(probability)
        due.append(detector.due_in_frames())
    assert due == [None, 25, 15, 5, 20, 10, None, None]


@pytest.mark.parametrize("frame", [9, 16])
def test_the_past_cannot_be_ended(frame: int) -> None:
    detector = TurnDetector(RULES, CHUNK)
    detector.feed(YES)
    if frame > CHUNK:
        detector.commit(frame + 1)
    for act in (detector.commit, detector.clear, detector.finish):
        with pytest.raises(ValueError, match=f"frame {frame} is past"):
            act(frame)


def test_a_turn_must_hold_its_prefix() -> None:
    with pytest.raises(ValueError, match="max_turn_frames"):
        TurnDetector(replace(RULES, max_turn_frames=24), CHUNK)


@dataclass
class Session:
    """A session as it was fed."""

    rules: TurnRules
    events: list[TurnEvent] = field(default_factory=list)
    spoken: list[int] = field(default_factory=list)
    """Where chunks at or above the threshold begin."""
    cleared_until: int = 0
    frames: int = 0

    @property
    def turns(self) -> list[TurnEnded]:
        return [event for event in self.events if isinstance(event, TurnEnded)]


@st.composite
def sessions(draw: st.DrawFn) -> Session:
    prefix, silence = draw(st.integers(0, 30)), draw(st.integers(0, 60))
    rules = TurnRules(
        draw(st.sampled_from([0.05, 0.5, 0.95])), prefix, silence, prefix + CHUNK + draw(st.integers(0, 80))
    )
    session, detector = Session(rules), TurnDetector(rules, CHUNK)
    probabilities = st.sampled_from([0.0, rules.threshold - 0.1, rules.threshold, 1.0])
    position = 0
    for step in draw(st.lists(probabilities | st.sampled_from(["commit", "clear"]), max_size=40)):
        if isinstance(step, float):
            if step >= rules.threshold:
                session.spoken.append(position)
            position += CHUNK
            session.events += detector.feed(step)
        session.frames = max(session.frames, position)
        if isinstance(step, str):
            session.frames = draw(st.integers(session.frames, max(session.frames, position + CHUNK - 1)))
            if step == "clear":
                session.cleared_until = session.frames
            session.events += (detector.commit if step == "commit" else detector.clear)(session.frames)
    session.frames = draw(st.integers(session.frames, max(session.frames, position + CHUNK - 1)))
    session.events += detector.finish(session.frames)
    return session


@given(sessions())
def test_turns_are_ordered_and_bounded_and_lie_within_the_audio(session: Session) -> None:
    for turn in session.turns:
        assert 0 < turn.end_frame - turn.start_frame <= session.rules.max_turn_frames
    borders = [border for turn in session.turns for border in (turn.start_frame, turn.end_frame)]
    assert borders == sorted(borders)
    assert not borders or (borders[0] >= 0 and borders[-1] <= session.frames)


@given(sessions())
def test_no_speech_is_lost(session: Session) -> None:
    held = {frame for turn in session.turns for frame in range(turn.start_frame, turn.end_frame)}
    for begin in session.spoken:
        assert set(range(max(begin, session.cleared_until), min(begin + CHUNK, session.frames))) <= held


@given(sessions())
def test_every_turn_that_began_ends_once_and_tells_where_speech_did(session: Session) -> None:
    open_turn: int | None = None
    for event, following in itertools.zip_longest(session.events, session.events[1:]):
        match event:
            case TurnBegan(start_frame):
                assert open_turn is None
                open_turn = start_frame
            case SpeechEnded(end_frame):
                assert isinstance(following, TurnEnded)
                assert following.start_frame <= end_frame <= following.end_frame
            case TurnEnded(start_frame) | TurnCleared(start_frame):
                assert open_turn == start_frame
                open_turn = None
    assert open_turn is None
