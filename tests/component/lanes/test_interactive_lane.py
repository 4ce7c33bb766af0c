"""Sessions in a lane, each in a real child process that a test may kill, stop, or let misbehave."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from tests.component.lanes.lane_rig import END_SECONDS, synthesize_spec, transcribe_spec

from voxfleet_agent.lane_protocol.messages import SessionLimits
from voxfleet_agent.lane_protocol.session_messages import (
    OpenHearing,
    OpenSpeaking,
    SessionEnded,
    SpokenAudio,
    TextDelta,
    TurnDone,
)
from voxfleet_agent.lanes.child_process import ChildProcess
from voxfleet_agent.lanes.child_start import ChildStart
from voxfleet_agent.lanes.interactive_lane import InteractiveLane
from voxfleet_agent.lanes.lane_session import HearingSession, LaneSession, SessionBounds, SpeakingSession
from voxfleet_agent.lanes.session_hangs import SessionTimeouts
from voxfleet_agent.lanes.session_queue import SessionEvent
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.failures import FailureClass, VoxFleetError

STAND_IN = Path(__file__).parent / "session_stand_in.py"
CAP_BYTES = 2**30
LIMITS = SessionLimits(most_sessions=2, max_turn_milliseconds=30_000)
SECOND = bytes(2 * 16_000)
OPEN_HEARING = OpenHearing(session=0, sample_rate_hz=16_000, partial_milliseconds=500, max_turn_milliseconds=30_000)
IMPATIENT = SessionTimeouts(answer_seconds=1.0, pace_factor=0)

MakeLane = Callable[..., InteractiveLane]


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def make_lane(tmp_path: Path) -> AsyncIterator[MakeLane]:
    """Makes lanes whose children behave as the arguments say; they end with the test."""
    lanes: list[InteractiveLane] = []

    def make(
        load: list[str] | None = None,
        hear: list[str] | None = None,
        timeouts: SessionTimeouts | None = None,
        bounds: SessionBounds | None = None,
    ) -> InteractiveLane:
        folder = tmp_path / f"interactive-{len(lanes)}"
        lanes.append(
            InteractiveLane(
                folder.name,
                folder,
                memory_cap_bytes=CAP_BYTES,
                worker=stand_in({"load": load or [""], "hear": hear or []}),
                timeouts=timeouts or SessionTimeouts(),
                bounds=bounds or SessionBounds(),
            )
        )
        return lanes[-1]

    yield make
    for lane in lanes:
        await lane.kill()


@pytest.fixture
def model(tmp_path: Path) -> ResolvedModel:
    return ResolvedModel(tmp_path, "sha256:" + "1" * 64)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InteractiveLane]:
    """A lane of which the tests leave a child that lives."""
    folder = tmp_path_factory.mktemp("lane")
    made = InteractiveLane("interactive-0", folder, memory_cap_bytes=CAP_BYTES, worker=stand_in({}))
    await made.load(ResolvedModel(folder, "sha256:" + "1" * 64), transcribe_spec(), limits=LIMITS)
    yield made
    await made.kill()


def stand_in(behaviours: dict[str, list[str]]) -> tuple[str, ...]:
    return (sys.executable, str(STAND_IN), json.dumps(behaviours))


def hear(lane: InteractiveLane) -> HearingSession:
    return lane.open_hearing(OPEN_HEARING)


def speak(lane: InteractiveLane, text: str, room_samples: int) -> SpeakingSession:
    return lane.open_speaking(OpenSpeaking(session=0, text=text, room_samples=room_samples))


async def told(session: LaneSession) -> list[SessionEvent]:
    """All that a session tells, to its end."""
    async with asyncio.timeout(END_SECONDS):
        return [event async for event in session.events()]


async def end_of(session: LaneSession) -> SessionEnded:
    last = (await told(session))[-1]
    assert isinstance(last, SessionEnded)
    return last


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(END_SECONDS):
        while not holds():  # noqa: ASYNC110 -- it waits for a process
            await asyncio.sleep(0.005)


async def warm_again(lane: InteractiveLane, before: int | None) -> None:
    """Waits until another child than `before` is ready."""
    await until(lambda: lane.warm and lane.pid != before)


def loads(lane: InteractiveLane) -> int:
    return len((lane.folder / "loads").read_text())


async def test_two_sessions_at_once_get_each_its_own(lane: InteractiveLane) -> None:
    one, other = hear(lane), hear(lane)
    for _ in range(3):
        one.send_audio(SECOND)
        other.send_audio(SECOND[:200])
    one.commit()
    other.commit()
    one.send_audio(SECOND[:2])
    one.end()
    other.end()
    texts = [[event.text for event in await told(session) if isinstance(event, TurnDone)] for session in (one, other)]
    assert texts == [["48000", "1"], ["300"]]
    assert lane.open_sessions == 0


async def test_a_cleared_turn_never_was(lane: InteractiveLane) -> None:
    session = hear(lane)
    session.send_audio(SECOND)
    session.clear()
    session.end()
    assert not [event for event in await told(session) if isinstance(event, TurnDone)]


async def test_speech_comes_within_the_room_that_the_listener_has(lane: InteractiveLane) -> None:
    session = speak(lane, "x" * 1000, 250)
    heard = 0
    async with asyncio.timeout(END_SECONDS):
        async for event in session.events():
            if isinstance(event, SpokenAudio):
                heard += len(event.pcm) // 2
                if heard == 250:  # all that there was room for
                    session.grant(1000)
    assert heard == 1000


async def test_a_session_that_fails_ends_alone(lane: InteractiveLane) -> None:
    neighbour = speak(lane, "x" * 300, 100)
    refused = speak(lane, "refuse", 100)
    end = await end_of(refused)
    assert (end.failure_class, end.reason) == (FailureClass.CONTRACT_VIOLATION, "no such voice")
    neighbour.grant(1000)
    assert (await end_of(neighbour)).failure_class is None


async def test_a_killed_child_ends_its_sessions_and_the_lane_is_warm_again(
    lane: InteractiveLane, make_lane: MakeLane, model: ResolvedModel
) -> None:
    neighbour, beside = lane, hear(lane)
    lane = make_lane()
    await lane.load(model, transcribe_spec())
    beside.send_audio(SECOND)
    sessions, before = [hear(lane), hear(lane)], lane.pid
    assert before is not None
    sessions[0].send_audio(SECOND)
    sessions[0].commit()
    async with asyncio.timeout(END_SECONDS):
        async for event in sessions[0].events():
            if isinstance(event, TurnDone):
                break
    os.kill(before, signal.SIGKILL)
    ends = [await end_of(session) for session in sessions]
    assert {end.failure_class for end in ends} == {FailureClass.GPU_ABORT_OUT_OF_MEMORY}
    await warm_again(lane, before)
    again = hear(lane)
    again.send_audio(SECOND)
    again.end()
    assert (await end_of(again)).failure_class is None
    assert loads(lane) == 2 and lane.loaded_digest == model.digest and lane.trouble is None
    readings = lane.readings()
    assert readings.restarts == {"GpuAbortOutOfMemory": 1} and readings.ring_resets == {"Restart": 2}
    assert readings.peak_rss_bytes > 0
    beside.end()
    assert (await end_of(beside)).failure_class is None and loads(neighbour) == 1


async def test_a_dead_lane_refuses_sessions_until_it_is_warm(make_lane: MakeLane, model: ResolvedModel) -> None:
    lane = make_lane(load=["", "hang"])
    await lane.load(model, transcribe_spec())
    session, pid = hear(lane), lane.pid
    assert pid is not None
    os.kill(pid, signal.SIGSEGV)
    assert (await end_of(session)).failure_class is FailureClass.LANE_CRASHED
    await until(lambda: lane.trouble is not None)
    with pytest.raises(VoxFleetError, match="not warm: the lane's process was ended by SIGSEGV") as raised:
        hear(lane)
    assert raised.value.failure_class is FailureClass.THROTTLED and raised.value.retry_after_seconds
    await lane.kill()
    assert lane.loaded_digest is None and lane.trouble is None


async def test_a_child_over_its_memory_cap_ends_alone_and_is_replaced(
    lane: InteractiveLane, make_lane: MakeLane, model: ResolvedModel
) -> None:
    neighbour, beside, lane = lane, lane.pid, make_lane()
    await lane.load(model, synthesize_spec(), memory_cap_bytes=200 * 2**20)
    before = lane.pid
    end = await end_of(speak(lane, "grow:300", 100))
    assert end.failure_class is FailureClass.MEMORY_EXCEEDED and "its memory cap is 200 MiB" in end.reason
    await warm_again(lane, before)
    assert neighbour.warm and neighbour.pid == beside


async def test_a_reader_that_takes_nothing_loses_its_session_and_holds_up_nobody(
    make_lane: MakeLane, model: ResolvedModel
) -> None:
    lane = make_lane(bounds=SessionBounds(told_bytes=10_000))
    await lane.load(model, synthesize_spec())
    unread = speak(lane, "flood:100000", 100)
    neighbour = speak(lane, "x" * 50, 100)
    assert (await end_of(neighbour)).failure_class is None
    (only,) = await told(unread)
    assert isinstance(only, SessionEnded) and only.failure_class is FailureClass.TRANSPORT
    assert unread._queue.held_bytes == 0
    await until(lambda: lane.open_sessions == 0)


async def test_audio_for_a_child_that_takes_none_is_bounded_until_the_child_is_replaced(
    make_lane: MakeLane, model: ResolvedModel
) -> None:
    lane = make_lane(hear=["deaf"], bounds=SessionBounds(window_bytes=300_000), timeouts=IMPATIENT)
    await lane.load(model, synthesize_spec())
    one, other = hear(lane), hear(lane)
    async with asyncio.timeout(END_SECONDS):
        await anext(other.events())  # both are open
    assert lane._serving is not None
    child = lane._serving.child
    for _ in range(9):
        one.send_audio(SECOND)
    await until(lambda: child.sent_bytes > child.taken_bytes)
    assert not one.ended, "it is within its window"
    one.send_audio(SECOND)
    assert (await end_of(one)).failure_class is FailureClass.THROTTLED
    assert not other.ended
    assert child.sent_bytes - child.taken_bytes < 100_000, "the rest waits where it can be given up"
    assert (await end_of(other)).failure_class is FailureClass.LANE_CRASHED


async def test_a_child_that_never_answers_is_replaced(make_lane: MakeLane, model: ResolvedModel) -> None:
    lane = make_lane(timeouts=IMPATIENT)
    await lane.load(model, transcribe_spec())
    before = lane.pid
    idle = hear(lane)
    session = speak(lane, "mute", 100)
    ends = [await end_of(session), await end_of(idle)]
    assert {end.failure_class for end in ends} == {FailureClass.LANE_CRASHED}
    assert "gave no sign of life" in ends[0].reason
    await warm_again(lane, before)


async def test_what_a_session_that_nobody_has_tells_is_dropped(lane: InteractiveLane) -> None:
    events = await told(speak(lane, "foreign", 100))
    assert not [event for event in events if isinstance(event, TextDelta)]
    assert lane.warm and loads(lane) == 1


async def test_an_answer_that_nobody_asked_for_ends_the_child(make_lane: MakeLane, model: ResolvedModel) -> None:
    lane = make_lane()
    await lane.load(model, synthesize_spec())
    end = await end_of(speak(lane, "strange", 100))
    assert end.reason == "the lane's process sent a BatchDone that nobody asked for"


async def test_a_full_lane_refuses_until_a_session_has_ended_in_its_child(lane: InteractiveLane) -> None:
    first, second = hear(lane), hear(lane)
    with pytest.raises(VoxFleetError, match="serves 2 sessions already") as raised:
        hear(lane)
    assert raised.value.failure_class is FailureClass.THROTTLED
    first.cancel()
    assert (await told(first))[-1].model_dump()["failure_class"] is None
    with pytest.raises(VoxFleetError):  # its place in the child is not free yet
        hear(lane)
    await until(lambda: lane.open_sessions == 1)
    for session in (second, hear(lane)):
        session.end()
        assert (await end_of(session)).failure_class is None


async def test_a_second_load_replaces_the_first(make_lane: MakeLane, model: ResolvedModel, tmp_path: Path) -> None:
    lane = make_lane()
    await lane.load(model, transcribe_spec())
    session, before = hear(lane), lane.pid
    other = ResolvedModel(tmp_path, "sha256:" + "2" * 64)
    await lane.load(other, transcribe_spec())
    end = await end_of(session)
    assert end.failure_class is FailureClass.MACHINE_RETURNED
    assert lane.loaded_digest == other.digest and lane.pid != before
    session, pid = hear(lane), lane.pid
    await lane.unload()
    assert (await end_of(session)).failure_class is FailureClass.MACHINE_RETURNED
    assert pid is not None and not psutil.pid_exists(pid)
    with pytest.raises(VoxFleetError, match="is not warm"):
        hear(lane)


async def test_killing_a_lane_that_loads_leaves_no_child(make_lane: MakeLane, model: ResolvedModel) -> None:
    lane = make_lane(load=["hang"])
    loading = asyncio.create_task(lane.load(model, transcribe_spec()))
    await until((lane.folder / "loads").exists)
    loading.cancel()
    await asyncio.wait({loading})
    assert loading.cancelled() and not lane.warm
    await lane.kill()
    assert not [each for each in psutil.process_iter(["cmdline"]) if str(lane.folder) in (each.info["cmdline"] or [])]


async def test_a_refusal_and_two_ends_while_loading_have_their_class(make_lane: MakeLane, model: ResolvedModel) -> None:
    with pytest.raises(VoxFleetError, match="no such weights") as refused:
        await make_lane(load=["refuse"]).load(model, transcribe_spec())
    assert refused.value.failure_class is FailureClass.MODEL_UNAVAILABLE
    lane = make_lane(load=["abort", "abort", "abort", ""])
    with pytest.raises(VoxFleetError, match="ended twice as it loaded") as ended:
        await lane.load(model, transcribe_spec())
    assert ended.value.failure_class is FailureClass.RUNTIME_MISMATCH and lane.loaded_digest is None
    await lane.load(model, transcribe_spec())
    assert lane.warm and lane.readings().restarts == {"LaneCrashed": 1}


async def test_half_a_sample_is_refused(lane: InteractiveLane) -> None:
    session = hear(lane)
    with pytest.raises(ValueError, match="middle of a sample"):
        session.send_audio(b"123")
    session.end()
    session.send_audio(SECOND)  # too late: dropped
    assert (await end_of(session)).failure_class is None


async def test_a_text_that_is_too_long_is_refused(lane: InteractiveLane) -> None:
    with pytest.raises(VoxFleetError, match="100000 characters") as raised:
        speak(lane, "x" * 100_000, 1)
    assert raised.value.failure_class is FailureClass.INVALID_INPUT


async def test_a_kill_that_comes_while_the_process_is_asked_for_ends_it_before_it_loads(
    make_lane: MakeLane, model: ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[ChildProcess] = []
    told, go_on = asyncio.Event(), asyncio.Event()
    start = ChildStart.start

    async def slow_start(starts: ChildStart, *facts: object) -> ChildProcess:
        begun.append(await start(starts, *facts))  # type: ignore[arg-type] # as they came
        told.set()
        await go_on.wait()
        return begun[-1]

    monkeypatch.setattr(ChildStart, "start", slow_start)
    lane = make_lane()
    loading = asyncio.create_task(lane.load(model, transcribe_spec()))
    await told.wait()
    killing = asyncio.create_task(lane.kill())
    await asyncio.sleep(0)
    go_on.set()
    async with asyncio.timeout(END_SECONDS):
        with pytest.raises(VoxFleetError, match="the agent stopped lane"):
            await loading
        await killing
    assert len(begun) == 1 and not begun[0].alive and not psutil.pid_exists(begun[0].pid)
    assert not (lane.folder / "loads").exists()
