"""What a session tells of its turns, whatever the model makes of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.lane_protocol.messages import Message
from voxfleet_agent.lane_protocol.session_messages import (
    AudioTaken,
    ClearTurn,
    CommitTurn,
    EndSession,
    HearAudio,
    SessionMessage,
    TextDelta,
    TurnCommitted,
    TurnDone,
    WorkingOnAudio,
)
from voxfleet_agent.worker import long_step
from voxfleet_agent.worker.audio_backlog import MOST_WAITING_REQUESTS
from voxfleet_agent.worker.decode_thread import Mask, Samples
from voxfleet_agent.worker.hearing_session import (
    MOST_PARTIAL_MILLISECONDS,
    MOST_WAITING_TURNS,
    PARTIAL_REST_FACTOR,
    HearingSession,
)
from voxfleet_agent.worker.interrupted_pass import Attend, nobody_else
from voxfleet_agent.worker.session_audio import SAMPLE_BYTES, SessionAudio, open_soxr
from voxfleet_agent.worker.step_order import StepKind, next_step
from voxfleet_agent.worker.transcript_judge import TranscriptJudge
from voxfleet_agent.worker.turn_clock import LATE_MILLISECONDS, CommittedTurns, TurnClock
from voxfleet_agent.worker.turn_hearing import TurnHearing
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_limits import Completeness

RATE_HZ = 1_000
MAX_TURN_MILLISECONDS = 2_000
WORDS = st.sampled_from(["eins", "zwei", "drei", "vier"])
HYPOTHESES = st.lists(st.lists(WORDS, max_size=5).map(" ".join), min_size=1, max_size=8)


class Model:
    """Says of each pass what the test says, and notes what it heard."""

    sample_rate_hz = RATE_HZ
    family = "fake"
    batches = False
    parameters = 0
    dtype = "float32"
    tells_progress = False

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self._texts = list(texts)
        self.heard: list[list[int]] = []

    def transcribe(
        self, clips: Sequence[Samples], *, enlarged: bool = False, heard: Callable[[int], None] | None = None
    ) -> list[Transcript]:
        (clip,) = clips
        self.heard.append(np.rint(clip * 32_768).astype(int).tolist())
        if heard is not None:
            heard(MAX_TURN_MILLISECONDS // 2)
        text = self._texts.pop(0) if self._texts else ""
        if text == "cut":
            return [Transcript("half a", token_limit_reached=True)]
        return [Transcript(text)]

    def warm_up(self) -> None: ...


def silent(samples: Samples, rate_hz: int) -> Mask:
    return np.zeros(len(samples), np.bool_)


def cut_short(transcript: Transcript, speech: Mask, min_coverage_percent: int) -> str | None:
    return "the model stopped at its token limit" if transcript.token_limit_reached else None


def session_of(
    model: Model,
    sent: list[Message],
    partial_milliseconds: int | None = 100,
    number: int = 1,
    *,
    now_ns: Callable[[], int] = lambda: 0,
    max_turn_milliseconds: int = MAX_TURN_MILLISECONDS,
    turns: TurnClock | None = None,
    clear_cache: Callable[[], None] = lambda: None,
    attend: Attend = nobody_else,
) -> HearingSession:
    judge = TranscriptJudge(cut_short, silent, Completeness(), RATE_HZ)
    return HearingSession(
        number,
        TurnHearing(model, judge, silent, clear_cache),
        SessionAudio(RATE_HZ, RATE_HZ, None, open_soxr),
        turns or CommittedTurns(max_turn_milliseconds * RATE_HZ // 1000),
        sample_rate_hz=RATE_HZ,
        partial_milliseconds=partial_milliseconds,
        max_turn_milliseconds=max_turn_milliseconds,
        detects=False,
        send=sent.append,
        attend=attend,
        now_ns=now_ns,
    )


def pcm(numbers: Sequence[int]) -> bytes:
    return np.array(numbers, "<i2").tobytes()


def refusal(session: HearingSession, request: SessionMessage) -> FailureClass | None:
    """The class with which the session ends; None: it goes on."""
    try:
        session.request(request)
    except VoxFleetError as error:
        return error.failure_class
    return None


def run_all(session: HearingSession) -> None:
    while session.waiting_step() is not None:
        session.run_step()


@given(HYPOTHESES)
def test_deltas_only_grow_and_are_the_text_of_the_turn(texts: list[str]) -> None:
    sent: list[Message] = []
    session = session_of(Model(texts), sent)
    for _ in range(len(texts) - 1):
        session.request(HearAudio(session=1, pcm=pcm([1] * 100)))
        run_all(session)
    session.request(EndSession(session=1))
    run_all(session)
    assert session.ended
    deltas = [message.text for message in sent if isinstance(message, TextDelta)]
    done = [message for message in sent if isinstance(message, TurnDone)]
    assert all(deltas) and [turn.text for turn in done] == (["".join(deltas)] if len(texts) > 1 else [])
    if done and done[0].revisions == 0:
        assert done[0].text == texts[-1]


def test_a_pass_over_an_open_turn_leaves_no_buffers_of_its_length_for_the_next() -> None:
    model = Model()
    passes_before_clear: list[int] = []
    session = session_of(model, [], clear_cache=lambda: passes_before_clear.append(len(model.heard)))
    for _ in range(2):
        session.request(HearAudio(session=1, pcm=pcm([1] * 100)))
        run_all(session)
    session.request(EndSession(session=1))
    run_all(session)
    assert len(model.heard) == 3 and passes_before_clear == [1, 2]


@pytest.mark.parametrize("clears", [False, True], ids=["it goes on", "it is cleared meanwhile"])
def test_a_pass_over_an_open_turn_is_left_alone_between_its_windows(clears: bool) -> None:
    sent: list[Message] = []
    attended: list[int] = []

    def attend(number: int, latest: StepKind) -> int:
        attended.append(number)
        if clears:
            session.request(ClearTurn(session=number))
        return 5

    session = session_of(Model(["one two three", "one two three four"]), sent, attend=attend)
    for _ in range(2):
        session.request(HearAudio(session=1, pcm=pcm([1] * 600)))
        run_all(session)
    told = [message.text for message in sent if isinstance(message, TextDelta)]
    assert attended == [1] and bool(told) is not clears


REQUESTS = st.lists(
    st.one_of(
        st.lists(st.integers(-32_768, 32_767), max_size=900).map(
            lambda numbers: HearAudio(session=1, pcm=pcm(numbers))
        ),
        st.just(CommitTurn(session=1)),
        st.just(ClearTurn(session=1)),
    ),
    max_size=12,
)


@given(REQUESTS, st.booleans())
def test_each_sample_is_heard_in_exactly_one_turn_unless_it_was_cleared(
    requests: list[SessionMessage], at_once: bool
) -> None:
    """However slowly the model hears: `at_once` it is only asked when all requests have come."""
    sent: list[Message] = []
    model = Model()
    session = session_of(model, sent, partial_milliseconds=10**6)
    expected: list[list[int]] = []
    turn: list[int] = []
    for request in [*requests, EndSession(session=1)]:
        match request:
            case HearAudio():
                for number in np.frombuffer(request.pcm, "<i2").tolist():
                    turn.append(number)
                    if len(turn) == MAX_TURN_MILLISECONDS:
                        expected.append(turn)
                        turn = []
            case ClearTurn():
                turn = []
            case _ if turn:
                expected.append(turn)
                turn = []
        failure_class = refusal(session, request)
        if failure_class is not None:
            assert failure_class is FailureClass.THROTTLED and at_once
            return
        if not at_once:
            run_all(session)
    run_all(session)
    assert session.ended and model.heard == expected
    assert [message.turn for message in sent if isinstance(message, TurnCommitted)] == sorted(
        message.turn for message in sent if isinstance(message, TurnDone)
    )


def test_a_turn_that_is_cut_short_is_heard_again_and_then_fails_alone() -> None:
    sent: list[Message] = []
    session = session_of(Model(["cut", "whole", "cut", "cut", "next"]), sent)
    for _ in range(3):
        session.request(HearAudio(session=1, pcm=pcm([5] * 10)))
        session.request(CommitTurn(session=1))
    run_all(session)
    done = [(turn.text, turn.failure_class) for turn in sent if isinstance(turn, TurnDone)]
    assert done == [("whole", None), ("", FailureClass.TRUNCATED_OUTPUT), ("next", None)]


AUDIO = HearAudio(session=1, pcm=pcm([1] * 1000))


def test_a_client_that_sends_beyond_its_window_loses_its_session() -> None:
    """The model is never asked: what does not fit in the ring stays in the backlog."""
    session = session_of(Model(), [])
    taken = [refusal(session, AUDIO) for _ in range(100)].index(FailureClass.THROTTLED)
    assert 0 <= len(AUDIO.pcm) * taken - session.window_bytes <= 3 * MAX_TURN_MILLISECONDS * SAMPLE_BYTES


@given(st.lists(st.integers(1, 30_000), min_size=1, max_size=20), st.data())
def test_a_client_that_keeps_to_its_window_never_loses_its_session(sizes: list[int], data: st.DataObject) -> None:
    """However fast it sends, however many turns wait, and however seldom the model works."""
    sent: list[Message] = []
    clock = Clock()
    session = session_of(Model(), sent, partial_milliseconds=10**6, now_ns=clock)
    sent_bytes = 0
    for size in sizes:
        clock.now_ns += 1_000_000
        size_bytes = SAMPLE_BYTES * size
        while sent_bytes + size_bytes - told_bytes(sent) > session.window_bytes:
            assert session.waiting_step() is not None, "it would wait for ever"
            session.run_step()
        session.request(HearAudio(session=1, pcm=bytes(size_bytes)))
        sent_bytes += size_bytes
        if data.draw(st.booleans()):
            session.request(CommitTurn(session=1))
    session.request(EndSession(session=1))
    run_all(session)
    assert session.ended and told_bytes(sent) == sent_bytes


def told_bytes(sent: Sequence[Message]) -> int:
    totals = [message.total_bytes for message in sent if isinstance(message, AudioTaken)]
    assert totals == sorted(set(totals))
    return totals[-1] if totals else 0


def test_an_ended_turn_is_due_before_what_is_spoken_meanwhile() -> None:
    session = session_of(Model(), [])
    session.request(HearAudio(session=1, pcm=pcm([1] * 500)))
    step = session.waiting_step()
    assert step is not None and step.kind is StepKind.PARTIAL
    session.request(CommitTurn(session=1))
    session.request(HearAudio(session=1, pcm=pcm([1] * 500)))
    step = session.waiting_step()
    assert step is not None and step.kind is StepKind.FINAL


def test_one_who_ends_many_turns_waits_beside_the_others() -> None:
    clock = itertools.count().__next__
    busy, neighbour = (session_of(Model(), [], number=number, now_ns=clock) for number in (1, 2))
    for _ in range(MOST_WAITING_TURNS):
        busy.request(HearAudio(session=1, pcm=pcm([1] * 10)))
        busy.request(CommitTurn(session=1))
    neighbour.request(HearAudio(session=2, pcm=pcm([1] * 10)))
    neighbour.request(CommitTurn(session=2))
    sessions, order = {1: busy, 2: neighbour}, []
    while steps := [step for session in sessions.values() if (step := session.waiting_step()) is not None]:
        step = next_step(steps, batch_waits=False, batches_paused=False)
        assert step is not None and step.session is not None and step.kind is StepKind.FINAL
        order.append(step.session)
        sessions[step.session].run_step()
    assert order == [1, 2] + [1] * (MOST_WAITING_TURNS - 1)


def test_the_parent_is_told_how_much_audio_each_pass_works_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_step, "LONG_MILLISECONDS", 1_500)
    sent: list[Message] = []
    session = session_of(Model(["a", "cut", "b"]), sent)
    session.request(HearAudio(session=1, pcm=pcm([1] * 1_600)))
    run_all(session)
    session.request(EndSession(session=1))
    run_all(session)
    told = [message.audio_milliseconds for message in sent if isinstance(message, WorkingOnAudio)]
    assert told == [1_600, 600, 0, 1_600, 600, 1_600, 600, 0]
    short: list[Message] = []
    session = session_of(Model(), short)
    session.request(HearAudio(session=1, pcm=pcm([1] * 1_400)))
    session.request(EndSession(session=1))
    run_all(session)
    assert not [message for message in short if isinstance(message, WorkingOnAudio)]


def test_a_turn_tells_how_often_a_pass_contradicted_what_was_sent() -> None:
    sent: list[Message] = []
    session = session_of(Model(["eins zwei", "eins zwei", "drei", "eins zwei"]), sent)
    for _ in range(3):
        session.request(HearAudio(session=1, pcm=pcm([1] * 100)))
        run_all(session)
    session.request(EndSession(session=1))
    run_all(session)
    (turn,) = [message for message in sent if isinstance(message, TurnDone)]
    assert (turn.text, turn.revisions) == ("eins zwei", 1)


def test_without_partials_a_turn_is_heard_at_its_end_alone() -> None:
    model = Model(["whole"])
    session = session_of(model, [], partial_milliseconds=None)
    for _ in range(5):
        session.request(HearAudio(session=1, pcm=pcm([1] * 100)))
        assert session.waiting_step() is None and session.due_ns() is None
    session.request(EndSession(session=1))
    run_all(session)
    assert len(model.heard) == 1 and session.ended


class Clock:
    now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


class SlowModel(Model):
    """Takes a tenth of the audio's length for each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 0

    def transcribe(
        self, clips: Sequence[Samples], *, enlarged: bool = False, heard: Callable[[int], None] | None = None
    ) -> list[Transcript]:
        self.now_ns += len(clips[0]) * 1_000_000 // 10
        return super().transcribe(clips, enlarged=enlarged, heard=heard)


def test_an_open_turn_takes_a_fifth_of_the_lane_and_less_as_it_grows_long() -> None:
    model = SlowModel()
    session = session_of(model, [], now_ns=lambda: model.now_ns, max_turn_milliseconds=10 * MOST_PARTIAL_MILLISECONDS)
    busy_ns, longest_ns, sent_milliseconds = 0, 0, 0
    while sent_milliseconds < 3 * MOST_PARTIAL_MILLISECONDS:
        step = session.waiting_step()
        if step is None:
            model.now_ns += 20_000_000
        else:
            before_ns = model.now_ns
            session.run_step()
            busy_ns += model.now_ns - before_ns
            longest_ns = max(longest_ns, model.now_ns - before_ns)
        while sent_milliseconds * 1_000_000 < model.now_ns:
            session.request(HearAudio(session=1, pcm=pcm([1] * 20)))
            sent_milliseconds += 20
        assert busy_ns <= model.now_ns / (1 + PARTIAL_REST_FACTOR) + longest_ns
        if sent_milliseconds == MOST_PARTIAL_MILLISECONDS // 2:
            assert busy_ns >= model.now_ns / (2 + PARTIAL_REST_FACTOR) - 2 * longest_ns, "it is heard meanwhile"
    assert MOST_PARTIAL_MILLISECONDS // 2 < max(map(len, model.heard)) <= MOST_PARTIAL_MILLISECONDS


def test_a_pass_that_is_due_wakes_the_lane_when_its_turn_has_rested() -> None:
    model = SlowModel()
    session = session_of(model, [], now_ns=lambda: model.now_ns)
    session.request(HearAudio(session=1, pcm=pcm([1] * 1_000)))
    assert session.due_ns() == 0
    session.run_step()
    assert session.due_ns() is None, "nothing new came"
    session.request(HearAudio(session=1, pcm=pcm([1] * 100)))
    due_ns = session.due_ns()
    assert due_ns == model.now_ns * (1 + PARTIAL_REST_FACTOR) and session.waiting_step() is None
    session.end_overdue_turn(due_ns)
    model.now_ns = due_ns
    step = session.waiting_step()
    assert step is not None and step.kind is StepKind.PARTIAL, "the turn is still open"


class DueTurns(CommittedTurns):
    """As if so much silence were missing that the turn ends."""

    def due_milliseconds(self) -> int | None:
        return 500


def test_a_turn_ends_by_the_clock_when_the_clients_next_frame_is_later_than_it_may_be() -> None:
    clock = Clock()
    sent: list[Message] = []
    session = session_of(Model(), sent, now_ns=clock, partial_milliseconds=10**6, turns=DueTurns(MAX_TURN_MILLISECONDS))
    session.request(HearAudio(session=1, pcm=pcm([1] * 300)))
    session.request(HearAudio(session=1, pcm=pcm([1] * 100)))
    due_ns = (500 + 300 + LATE_MILLISECONDS) * 1_000_000
    assert session.due_ns() == due_ns
    session.end_overdue_turn(due_ns - 1)
    assert session.waiting_step() is None
    session.end_overdue_turn(due_ns)
    step = session.waiting_step()
    assert step is not None and step.kind is StepKind.FINAL


def test_no_more_turns_wait_for_the_model_than_may() -> None:
    sent: list[Message] = []
    session = session_of(Model(), sent, partial_milliseconds=10**6)
    for _ in range(2 * MOST_WAITING_TURNS):
        session.request(HearAudio(session=1, pcm=pcm([1] * 10)))
        session.request(CommitTurn(session=1))
    committed = [message for message in sent if isinstance(message, TurnCommitted)]
    assert len(committed) == MOST_WAITING_TURNS
    run_all(session)
    assert len([message for message in sent if isinstance(message, TurnDone)]) == 2 * MOST_WAITING_TURNS


def test_a_client_that_ends_turns_without_an_end_loses_its_session() -> None:
    session = session_of(Model(), [], partial_milliseconds=10**6)
    requests = (HearAudio(session=1, pcm=pcm([1])), CommitTurn(session=1))
    answers = (refusal(session, request) for _ in range(10_000) for request in requests)
    assert next(filter(None, answers), None) is FailureClass.THROTTLED
    assert len(session._backlog) <= MOST_WAITING_REQUESTS + 1
