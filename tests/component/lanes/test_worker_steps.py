"""Batches and sessions in one worker: what goes first, what a pause holds, and that a batch's results stay the same."""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
from tests.component.lanes import stand_in_worker
from tests.component.lanes.lane_rig import contract, load_request, tone

from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.lane_protocol.messages import (
    BatchDone,
    BatchMessage,
    ClipMessage,
    InferringClips,
    Message,
    SessionLimits,
    VerdictMessage,
)
from voxfleet_agent.lane_protocol.session_messages import (
    BatchesPaused,
    CancelSession,
    CommitTurn,
    EndSession,
    HearAudio,
    OpenHearing,
    PauseBatches,
    ResumeBatches,
    SessionEnded,
    TurnDone,
)
from voxfleet_agent.mlx_audio_names import SAMPLE_RATE
from voxfleet_agent.worker import loop as worker_loop
from voxfleet_agent.worker.decode_thread import DecodeThreadFailed
from voxfleet_agent.worker.loop import Item, WorkerLoop

CLIPS = 4
SESSION_CLIP = 77
"""What the model says of a session's audio: `clip 77`."""
Inbox = queue.SimpleQueue[Item]


class Model(stand_in_worker.Model):
    """One clip at a time; calls the test before and within each."""

    batches = False

    def __init__(self, folder: Path, at: Callable[[int, str], None], *, tells_progress: bool) -> None:
        super().__init__({}, folder)
        self.tells_progress = tells_progress
        self._at = at
        self.heard: list[int] = []
        self.within = 0
        """How many of its passes stand in each other."""

    def transcribe(
        self,
        clips: Sequence[npt.NDArray[np.float32]],
        *,
        enlarged: bool = False,
        heard: Callable[[int], None] | None = None,
    ) -> list[Transcript]:
        number = round(float(clips[0][0]) * 100)
        self.heard.append(number)
        self.within += 1
        self._at(number, "begin")
        if self.tells_progress and heard is not None:
            heard(100)
            self._at(number, "middle")
        self.within -= 1
        return super().transcribe(clips, enlarged=enlarged)


class FloodedInbox:
    """Always has one more request, which is for nobody."""

    def __init__(self) -> None:
        self._items = Inbox()
        self._in_a_row = 0

    def put(self, item: Item) -> None:
        self._items.put(item)

    def get(self, timeout: float | None) -> Item:
        return self._items.get(timeout=timeout)

    def get_nowait(self) -> Item:
        self._in_a_row += 1
        assert self._in_a_row < 500_000, "no step ran in between"
        with suppress(queue.Empty):
            return self._items.get_nowait()
        return CommitTurn(session=9_999)

    def step_ran(self) -> None:
        self._in_a_row = 0


class Rig:
    """A worker on this thread; `on` says what a test does when a message is sent."""

    def __init__(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        *,
        tells_progress: bool = False,
        inbox: Inbox | None = None,
        sessions: int | None = None,
    ) -> None:
        """`sessions`: how many the lane is loaded for; None: for batches."""
        monkeypatch.setenv(SAMPLE_RATE, "16000")  # the loop sets it for the whole process
        self.inbox = inbox or Inbox()
        self.sent: list[Message] = []
        self.on: Callable[[Message], None] = lambda message: None
        self.at: Callable[[int, str], None] = lambda number, where: None
        self.model = Model(folder, lambda number, where: self.at(number, where), tells_progress=tells_progress)
        backends = replace(stand_in_worker.backends({}), load_transcriber=lambda *_: self.model)
        self._loop = WorkerLoop(backends, self.inbox, self._send, lambda: None)
        limits = sessions and SessionLimits(most_sessions=sessions, max_turn_milliseconds=20_000)
        changes = {"contract": contract(max_clip="20s"), "sessions": limits or None, "memory_cap_bytes": 2**34}
        self.inbox.put(load_request(folder).model_copy(update=changes))

    def _send(self, message: Message) -> None:
        self.sent.append(message)
        self.on(message)

    def end(self) -> None:
        self.inbox.put(DecodeThreadFailed(EOFError()))

    def serve(self) -> None:
        with suppress(EOFError):
            self._loop.serve()

    def put_batch(self, folder: Path) -> None:
        clips = [ClipMessage(index=n, path=tone(folder / f"{n}.wav", n + 1, 1000)) for n in range(CLIPS)]
        self.inbox.put(BatchMessage(number=1, clips=tuple(clips), batch_size=1))

    def put_session(self, session: int, milliseconds: int = 500) -> None:
        opening = OpenHearing(
            session=session, sample_rate_hz=16_000, partial_milliseconds=10_000, max_turn_milliseconds=20_000
        )
        pcm = np.full(16 * milliseconds, SESSION_CLIP * 32_768 // 100, "<i2").tobytes()
        for request in (opening, HearAudio(session=session, pcm=pcm), EndSession(session=session)):
            self.inbox.put(request)

    def verdicts(self) -> list[tuple[object, ...]]:
        return [
            (verdict.index, verdict.text, verdict.segments, verdict.audio_milliseconds, verdict.retried_for)
            for verdict in self.sent
            if isinstance(verdict, VerdictMessage)
        ]


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """The verdicts of a batch that nobody interrupts."""
    rig = Rig(tmp_path, monkeypatch)
    rig.on = lambda message: rig.end() if isinstance(message, BatchDone) else None
    rig.put_batch(tmp_path)
    rig.serve()
    assert len(rig.verdicts()) == CLIPS
    return rig.verdicts()


@pytest.mark.parametrize("within", [False, True], ids=["between clips", "within a clip"])
def test_a_pause_holds_a_batch_while_a_session_is_served_and_changes_none_of_its_verdicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: list[tuple[object, ...]], within: bool
) -> None:
    rig = Rig(tmp_path, monkeypatch, tells_progress=within)
    model = rig.model

    def at(number: int, where: str) -> None:
        if (number, where) == (2, "begin"):
            rig.inbox.put(PauseBatches())

    def on(message: Message) -> None:
        match message:
            case BatchesPaused():
                rig.put_session(1)
            case SessionEnded():
                assert model.heard == [1, 2, SESSION_CLIP], "no clip began while the batch was paused"
                assert len(rig.verdicts()) <= 2
                rig.inbox.put(ResumeBatches())
            case BatchDone():
                rig.end()

    rig.at, rig.on = at, on
    rig.put_batch(tmp_path)
    rig.serve()
    assert rig.verdicts() == plain
    assert [message.text for message in rig.sent if isinstance(message, TurnDone)] == [f"clip {SESSION_CLIP}"]
    assert model.heard == [1, 2, SESSION_CLIP, 3, 4]


@pytest.mark.parametrize("within", [False, True], ids=["between clips", "within a clip"])
def test_a_session_waits_for_no_more_than_the_step_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: list[tuple[object, ...]], within: bool
) -> None:
    rig = Rig(tmp_path, monkeypatch, tells_progress=within)
    order: list[tuple[int, str]] = []

    def at(number: int, where: str) -> None:
        order.append((number, where))
        if (number, where) == (2, "begin"):
            rig.put_session(1)

    rig.at = at
    rig.on = lambda message: rig.end() if isinstance(message, BatchDone) else None
    rig.put_batch(tmp_path)
    rig.serve()
    assert rig.verdicts() == plain
    after = order.index((2, "begin")) + 1
    assert order[after] == (SESSION_CLIP, "begin")


def test_a_paused_batch_tells_that_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_loop, "LIFE_SECONDS", 0.001)
    rig = Rig(tmp_path, monkeypatch)
    paused: list[int] = []

    def on(message: Message) -> None:
        match message:
            case BatchesPaused():
                paused.append(len(rig.sent))
            case InferringClips(indexes=()) if paused and len(rig.sent) == paused[0] + 3:
                rig.inbox.put(ResumeBatches())
            case BatchDone():
                rig.end()

    rig.at = lambda number, where: rig.inbox.put(PauseBatches()) if number == 2 else None
    rig.on = on
    rig.put_batch(tmp_path)
    rig.serve()
    assert len(rig.verdicts()) == CLIPS


def test_a_cancelled_session_costs_no_step_after_the_one_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, monkeypatch)
    opening = OpenHearing(session=1, sample_rate_hz=16_000, partial_milliseconds=50, max_turn_milliseconds=20_000)
    audio = HearAudio(session=1, pcm=np.full(16_000, SESSION_CLIP * 32_768 // 100, "<i2").tobytes())

    def at(number: int, where: str) -> None:
        for request in (audio, EndSession(session=1), CancelSession(session=1), audio):
            rig.inbox.put(request)

    rig.at = at
    rig.on = lambda message: rig.end() if isinstance(message, SessionEnded) else None
    rig.inbox.put(opening)
    rig.inbox.put(audio)
    rig.serve()
    assert rig.model.heard == [SESSION_CLIP]
    assert [message for message in rig.sent if isinstance(message, TurnDone | SessionEnded)] == [
        SessionEnded(session=1)
    ]


def test_other_sessions_go_on_between_two_windows_of_a_long_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them gets a step, and then the long turn its next window."""
    rig = Rig(tmp_path, monkeypatch, tells_progress=True)
    waiting = [2, 3]

    def at(number: int, where: str) -> None:
        if where == "begin" and waiting:
            rig.put_session(waiting.pop(0))

    def on(message: Message) -> None:
        if len([message for message in rig.sent if isinstance(message, SessionEnded)]) == 3:
            rig.end()

    rig.at, rig.on = at, on
    rig.put_session(1)
    rig.serve()
    turns = [message for message in rig.sent if isinstance(message, TurnDone)]
    assert [turn.session for turn in turns] == [3, 2, 1]
    assert {turn.text for turn in turns} == {f"clip {SESSION_CLIP}"}


def test_a_long_turn_waits_for_one_step_of_another_session_and_not_for_all_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, monkeypatch, tells_progress=True)
    rig.on = lambda message: rig.end() if isinstance(message, SessionEnded) and message.session == 2 else None

    def at(number: int, where: str) -> None:
        rig.at = lambda number, where: None
        opening = OpenHearing(session=2, sample_rate_hz=16_000, max_turn_milliseconds=20_000)
        audio = HearAudio(session=2, pcm=np.full(8_000, SESSION_CLIP * 32_768 // 100, "<i2").tobytes())
        for request in (opening, audio, CommitTurn(session=2), audio, EndSession(session=2)):
            rig.inbox.put(request)

    rig.at = at
    rig.put_session(1)
    rig.serve()
    assert [message.session for message in rig.sent if isinstance(message, TurnDone)] == [2, 1, 2]


def test_a_full_lane_of_long_turns_is_heard_however_many_end_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each turn comes in the middle of the one before it; the interpreter's stack is not as deep as a lane is full."""
    sessions = 64
    rig = Rig(tmp_path, monkeypatch, tells_progress=True, sessions=sessions)
    waiting = list(range(2, sessions + 1))
    deepest = 0

    def at(number: int, where: str) -> None:
        nonlocal deepest
        deepest = max(deepest, rig.model.within)
        if where == "begin" and waiting:
            rig.put_session(waiting.pop(0))

    def on(message: Message) -> None:
        if len([message for message in rig.sent if isinstance(message, SessionEnded)]) == sessions:
            rig.end()

    rig.at, rig.on = at, on
    rig.put_session(1)
    rig.serve()
    turns = [message for message in rig.sent if isinstance(message, TurnDone)]
    assert {turn.text for turn in turns} == {f"clip {SESSION_CLIP}"} and len(turns) == sessions
    assert deepest == worker_loop.MOST_STEPS_WITHIN


def test_a_pass_ends_at_its_next_window_when_its_session_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, monkeypatch, tells_progress=True)
    places: list[str] = []

    def at(number: int, where: str) -> None:
        places.append(where)
        if where == "begin" and len(places) == 1:
            rig.inbox.put(CancelSession(session=1))
            rig.put_session(2)

    def on(message: Message) -> None:
        if isinstance(message, SessionEnded) and message.session == 2:
            rig.end()

    rig.at, rig.on = at, on
    rig.put_session(1)
    rig.serve()
    assert [m for m in rig.sent if isinstance(m, TurnDone | SessionEnded) and m.session == 1] == [
        SessionEnded(session=1)
    ]
    assert [message.session for message in rig.sent if isinstance(message, TurnDone)] == [2]
    assert places == ["begin", "begin", "middle"], "the cancelled pass came to no second window"


def test_requests_that_come_without_an_end_hold_up_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flood = FloodedInbox()
    rig = Rig(tmp_path, monkeypatch, inbox=cast(Inbox, flood))
    rig.at = lambda number, where: flood.step_ran()
    rig.on = lambda message: rig.end() if isinstance(message, SessionEnded) else None
    rig.put_session(1)
    rig.serve()
    assert rig.model.heard == [SESSION_CLIP]
