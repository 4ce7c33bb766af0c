"""Sessions from outside, over a WebSocket of a real agent; the children of its lanes count instead of hearing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

import aiohttp
import psutil
import pytest
import pytest_asyncio
from starlette.routing import Route
from tests.component.agent.agent_rig import CONTROL_PLANE, SESSION_TOKEN, TIMEOUT_SECONDS, TOKEN, Agent, running_agent
from tests.component.agent.endpoint_lane_rig import agent_with_lanes, delete, lane_request, path_of, put, until
from tests.rig.session_caller import SessionCaller, session_caller

from voxfleet_agent.server import session_conversation
from voxfleet_api.endpoint_lanes import LaneKey
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.job_task import Synthesis, Task
from voxfleet_api.protocol import CONTROL_PLANE_HEADER
from voxfleet_api.session_protocol import (
    SUBPROTOCOL,
    AudioHeard,
    ClearTurn,
    CommitTurn,
    EndAudio,
    Ended,
    LatencyKind,
    Opened,
    OpenHearing,
    OpenSpeaking,
    OpenUpload,
    TurnMeasured,
    sessions_path,
)

HEARS, SPEAKS = LaneKey("hears", 1), LaneKey("speaks", 1)
HEARING = OpenHearing(sample_rate_hz=16_000, max_turn_milliseconds=30_000)
LONG_SPEECH = OpenSpeaking(text="x" * 5_000, window_bytes=4_096)
"""It stays open: its window is for 2,048 samples."""
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "c2l4dGVlbiBsZXR0ZXJzIQ==",
    "Sec-WebSocket-Protocol": SUBPROTOCOL,
}
MEASURED = TurnMeasured(
    latency=LatencyKind.FIRST_AUDIO,
    total_milliseconds=9,
    gateway_milliseconds=1,
    tunnel_milliseconds=2,
    wait_milliseconds=3,
    infer_milliseconds=3,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def agent(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Agent]:
    """With a lane that hears, one that speaks, and one that is free; tests leave the first two as they are."""
    async with agent_with_lanes(tmp_path_factory.mktemp("agent"), lanes=3) as running:
        await put(running, lane_request(uid="hears"))
        await put(running, lane_request(uid="speaks", task=Task.SYNTHESIZE, synthesis=Synthesis(voice="serena")))
        for key in (HEARS, SPEAKS):
            await until(running, "Ready", f"/v1/lanes/{key.endpoint_uid}/{key.generation}")
        yield running


def url(agent: Agent) -> str:
    return str(agent.http.base_url).rstrip("/")


def called(agent: Agent, key: LaneKey = HEARS) -> AbstractAsyncContextManager[SessionCaller]:
    return session_caller(url(agent), key, SESSION_TOKEN)


async def refused(agent: Agent, key: LaneKey = HEARS, token: str | None = SESSION_TOKEN, **more: object) -> int:
    """The status of a refusal before the upgrade."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
        async with session_caller(url(agent), key, token, **more):  # type: ignore[arg-type] # by name
            pass
    return raised.value.status


async def until_true(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not holds():  # noqa: ASYNC110 -- it waits for other processes
            await asyncio.sleep(0.005)


@contextmanager
def stopped(agent: Agent, key: LaneKey) -> Iterator[None]:
    """The lane's child takes nothing meanwhile."""
    lane = agent.lanes.lane(key)
    assert lane is not None and lane.pid is not None
    os.kill(lane.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(lane.pid, signal.SIGCONT)


async def until_free(agent: Agent) -> None:
    """Waits until no session is open, and no connection of one."""
    lives = list(agent.lanes._live.values())
    await until_true(lambda: not any(live.open_sessions or live.sockets for live in lives))


async def test_audio_in_frames_of_any_size_becomes_the_text_of_turns(agent: Agent) -> None:
    async with called(agent) as caller:
        opened = await caller.open(HEARING)
        assert isinstance(opened, Opened) and (opened.sample_rate_hz, opened.window_bytes) == (16_000, 2**20)
        await caller.send_audio(bytes(3 * 2**20), 2**16)
        await caller.send(CommitTurn())
        await caller.send_audio(bytes(500), 2)
        await caller.send(ClearTurn())
        await caller.send_audio(bytes(2_000), 2)
        await caller.send(EndAudio())
        end = await caller.end()
        assert (end.failure_class, caller.texts) == (None, [str(3 * 2**19), "1000"])
        assert caller.taken_bytes == caller.sent_bytes, "what was taken is counted in all"


async def test_a_file_comes_as_its_bytes(agent: Agent) -> None:
    async with called(agent) as caller:
        await caller.open(OpenUpload(max_bytes=2**21, extension="wav"))
        await caller.send_audio(bytes(2**20 + 7), 2**16)
        await caller.send(EndAudio())
        assert (await caller.end()).failure_class is None and caller.texts == [str(2**20 + 7)]


async def test_speech_stays_within_the_window_and_is_measured_after_its_end(agent: Agent) -> None:
    live = agent.lanes._live[SPEAKS]
    async with called(agent, SPEAKS) as caller:
        await caller.open(LONG_SPEECH)
        while len(caller.audio) < 4_096:
            await caller.next_answer()
        await caller.send(AudioHeard(total_bytes=4_096))
        while len(caller.audio) < 8_192:
            await caller.next_answer()
        await caller.send(AudioHeard(total_bytes=8_192))
        end = await caller.end()
        assert (end.failure_class, len(caller.audio)) == (None, 10_000)
        await until_true(lambda: live.open_sessions == 0)
        async with called(agent, SPEAKS) as other, called(agent, SPEAKS) as third:
            for one in (other, third):  # the place of a session that has ended is free
                assert isinstance(await one.open(OpenSpeaking(text="x", window_bytes=4_096)), Opened)
        await caller.send(MEASURED)
        await until_true(
            lambda: [(one.latency, one.turns) for one in live.latencies.told().kinds] == [("FirstAudio", 1)]
        )


async def test_the_agent_closes_what_its_caller_leaves_open_after_the_end(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_conversation, "CLOSING_SECONDS", 0.01)
    async with called(agent) as caller:
        await caller.open(HEARING)
        await caller.send(EndAudio())
        await caller.end()
        assert await caller.next_answer() is None and caller.socket.close_code == 1000
    async with called(agent, SPEAKS) as caller:
        await caller.open(OpenSpeaking(text="x" * 10, window_bytes=4_096))
        await caller.end()
        await caller.send(AudioHeard(total_bytes=20))
        assert await caller.next_answer() is None and caller.socket.close_code == 1000


async def test_who_may_not_is_refused_before_the_upgrade(agent: Agent) -> None:
    await agent.http.post("/v1/renew", json={}, headers=agent.headers())
    assert [await refused(agent, token=token) for token in (None, "wrong", TOKEN)] == [401, 401, 401]
    assert await refused(agent, headers={CONTROL_PLANE_HEADER: "another"}) == 403
    assert await refused(agent, protocols=("voxfleet.session.v9",)) == 400
    assert await refused(agent, LaneKey("no_uid", 1)) == 400
    assert [await refused(agent, LaneKey("hears", 2)), await refused(agent, LaneKey("nobody", 1))] == [404, 404]
    async with session_caller(
        url(agent), HEARS, SESSION_TOKEN, headers={CONTROL_PLANE_HEADER: CONTROL_PLANE}
    ) as caller:
        assert isinstance(await caller.open(HEARING), Opened)
    answer = await agent.http.get(sessions_path(HEARS), headers={"Authorization": f"Bearer {SESSION_TOKEN}"})
    assert answer.status_code == 404, "without an upgrade there is nothing"


async def test_a_full_lane_and_one_that_is_not_warm_are_refused_before_the_upgrade(agent: Agent) -> None:
    await until_free(agent)
    async with called(agent) as caller, called(agent):  # the second has said nothing yet, and has its place
        assert isinstance(await caller.open(HEARING), Opened)
        full = await agent.http.get(
            sessions_path(HEARS),
            headers=UPGRADE | {"Authorization": f"Bearer {SESSION_TOKEN}"},
        )
        assert full.status_code == 429 and int(full.headers["Retry-After"]) > 0
        assert full.json() == {"message": "the lane serves 2 sessions"}
    lane = agent.lanes.lane(HEARS)
    assert lane is not None and lane.pid is not None
    before = lane.pid
    os.kill(before, signal.SIGKILL)
    await until_true(lambda: lane.pid != before)
    assert await refused(agent) == 503
    await until_true(lambda: lane.warm)
    async with called(agent) as caller:
        assert isinstance(await caller.open(HEARING), Opened)


async def test_a_stolen_session_token_opens_nothing_else(agent: Agent) -> None:
    open_to_all = {"/livez", "/readyz", "/metrics", "/v1/identity"}
    calls = [
        (method, route.path.format(shard_uid="shard-1", attempt=1, endpoint_uid="hears", generation=1))
        for route in agent.routes.table()
        if isinstance(route, Route) and route.path not in open_to_all
        for method in (route.methods or set()) - {"HEAD"}
    ]
    rooms = {"machine", "ladders", "attempts", "renew", "events", "ledger", "lanes"}
    assert {path.split("/")[2] for _, path in calls} == rooms
    stolen = agent.headers(token=SESSION_TOKEN)
    for method, path in calls:
        answer = await agent.http.request(method, path, headers=stolen, json={})
        assert (path, answer.status_code) == (path, 401)
        assert answer.json().keys() == {"message"}
    assert agent.lanes.lane(HEARS) is not None


async def test_an_agent_without_a_session_token_says_which_option_is_missing(tmp_path: Path) -> None:
    async with running_agent(tmp_path, session_token=None) as agent:
        assert await refused(agent) == 403 and await refused(agent, token=TOKEN) == 403
        async with aiohttp.ClientSession() as client:
            answer = await client.get(url(agent) + sessions_path(HEARS), headers=UPGRADE)
            assert "sessionTokenFile is missing" in (await answer.json())["message"]


async def test_what_opens_no_session_ends_with_a_class_and_never_quotes_its_caller(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening: list[tuple[str | bytes, str]] = [
        (b"\0\0", "the first message is audio"),
        ("secret words", "the whole message"),
        ('{"kind": "CommitTurn"}', "the whole message"),
        ('{"kind": "OpenUpload", "maxBytes": 1, "' + "x" * 10_000 + '": 1}', "xxx"),
        (HEARING.model_dump_json(by_alias=True, exclude_none=True)[:-1] + ', "surprise": "secret words"}', "surprise"),
        (
            OpenSpeaking(text="secret words", window_bytes=4096).model_dump_json(by_alias=True),
            "the endpoint transcribes",
        ),
    ]
    for message, says in opening:
        async with called(agent) as caller:
            await caller.send_raw(message)
            end = await caller.end()
            assert end.failure_class == FailureClass.INVALID_INPUT and says in end.reason
            assert "secret words" not in end.reason and len(end.reason) < 200
    async with called(agent, SPEAKS) as caller:
        other = await caller.open(HEARING)
        assert isinstance(other, Ended) and other.reason == "the endpoint speaks; open a session with a text"
    async with called(agent, SPEAKS) as caller:
        sad = await caller.open(OpenSpeaking(text="x", voice="ryan", instruction="sadly", window_bytes=4_096))
        assert isinstance(sad, Ended) and sad.failure_class == FailureClass.INVALID_INPUT
        assert sad.reason.startswith("instruction: ")
    monkeypatch.setattr(session_conversation, "FIRST_MESSAGE_SECONDS", 0.01)
    async with called(agent) as caller:
        assert "nothing opened a session" in (await caller.end()).reason
    await until_free(agent)


async def test_what_breaks_the_protocol_ends_that_session_alone(agent: Agent) -> None:
    await until_free(agent)

    async def broken(key: LaneKey, message: str | bytes) -> Ended:
        async with called(agent, key) as caller:
            await caller.open(HEARING if key == HEARS else LONG_SPEECH)
            await caller.send_raw(message)
            return await caller.end()

    async with called(agent) as neighbour:
        await neighbour.open(HEARING)
        for key, message, says in (
            (HEARS, b"123", "middle of a sample"),
            (HEARS, bytes(2**16 + 2), "at most 65536"),
            (HEARS, '{"kind": "AudioHeard", "totalBytes": 0}', "AudioHeard has no place in a session that listens"),
            (HEARS, HEARING.model_dump_json(by_alias=True), "OpenHearing has no place"),
            (HEARS, "[]", "has no meaning"),
            (SPEAKS, b"12", "takes no audio"),
            (SPEAKS, '{"kind": "AudioHeard", "totalBytes": 99999}', "totalBytes is 99999"),
        ):
            end = await broken(key, message)
            await until_true(lambda: agent.lanes.open_sessions() == 1)
            assert (end.failure_class, says in end.reason) == (FailureClass.INVALID_INPUT, True), end
        async with called(agent) as fast:
            await fast.open(HEARING)
            with stopped(agent, HEARS):  # or its child might keep up
                for _ in range(17):
                    await fast.send_raw(bytes(2**16))
                assert (await fast.end()).failure_class == FailureClass.THROTTLED
        await neighbour.send_audio(bytes(200))
        await neighbour.send(EndAudio())
        assert (await neighbour.end()).failure_class is None and neighbour.texts == ["100"]


async def test_sessions_that_are_left_leave_nothing_behind(agent: Agent) -> None:
    await until_free(agent)
    process = psutil.Process()
    fds, tasks = process.num_fds(), len(asyncio.all_tasks())
    for number in range(20):
        async with called(agent, SPEAKS if number % 2 else HEARS) as caller:
            await caller.open(LONG_SPEECH if number % 2 else HEARING)
            if number % 4 == 0:
                caller.die()
        await until_free(agent)
    await until_true(lambda: process.num_fds() <= fds and len(asyncio.all_tasks()) <= tasks)


async def test_a_child_that_is_killed_ends_only_its_own_sessions(agent: Agent) -> None:
    await until_free(agent)
    async with called(agent) as one, called(agent, SPEAKS) as other:
        await one.open(HEARING)
        await other.open(OpenSpeaking(text="x" * 4_096, window_bytes=4_096))
        lane = agent.lanes.lane(HEARS)
        assert lane is not None and lane.pid is not None
        os.kill(lane.pid, signal.SIGKILL)
        assert (await one.end()).failure_class == FailureClass.GPU_ABORT_OUT_OF_MEMORY
        while len(other.audio) < 4_096:
            await other.next_answer()
        await other.send(AudioHeard(total_bytes=4_096))
        assert (await other.end()).failure_class is None
        await until_true(lambda: lane.warm)


async def test_a_newer_generation_and_a_deletion_end_the_sessions_of_the_older(agent: Agent) -> None:
    first, second = lane_request(uid="moves"), lane_request(uid="moves", generation=2)
    await put(agent, first)
    await until(agent, "Ready", path_of(first))
    async with called(agent, LaneKey("moves", 1)) as caller, called(agent, LaneKey("moves", 1)) as silent:
        await caller.open(HEARING)
        await put(agent, second)
        assert (await caller.end()).failure_class == FailureClass.MACHINE_RETURNED
        await until(agent, "Ready", path_of(second))
        end = await silent.open(HEARING)  # its place was one of the older generation
        assert isinstance(end, Ended) and end.failure_class == FailureClass.MACHINE_RETURNED
    assert await refused(agent, LaneKey("moves", 1)) == 404
    async with called(agent, LaneKey("moves", 2)) as caller:
        await caller.open(HEARING)
        await delete(agent, path_of(second))
        assert (await caller.end()).failure_class == FailureClass.MACHINE_RETURNED
    await until(agent, None, path_of(second))


async def test_an_agent_that_stops_ends_its_sessions_with_a_class(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as client:
        async with agent_with_lanes(tmp_path) as agent:
            await put(agent, lane_request(uid="hears"))
            await until(agent, "Ready", "/v1/lanes/hears/1")
            socket = await client.ws_connect(
                url(agent) + sessions_path(HEARS),
                headers={"Authorization": f"Bearer {SESSION_TOKEN}"},
                protocols=(SUBPROTOCOL,),
            )
            caller = SessionCaller(socket)
            await caller.open(HEARING)
        assert (await caller.end()).failure_class == FailureClass.MACHINE_RETURNED
        assert await caller.next_answer() is None
