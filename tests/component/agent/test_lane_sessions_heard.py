"""Sessions from outside that a model hears: the texts of a batch, in frames and as files, beside a child that dies."""

from __future__ import annotations

import asyncio
import os
import signal
import wave
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.component.agent.agent_rig import SESSION_TOKEN, TIMEOUT_SECONDS, Agent, running_agent
from tests.component.agent.endpoint_lane_rig import lane_request, put, until
from tests.component.lanes.lane_rig import contract, examples
from tests.rig.session_caller import session_caller

from voxfleet_agent.config import PoolConfig
from voxfleet_agent.lanes.interactive_pools import InteractivePools
from voxfleet_agent.models.store import ModelStore
from voxfleet_api.digest import digest_of
from voxfleet_api.endpoint_lanes import LaneKey
from voxfleet_api.failures import FailureClass
from voxfleet_api.pools import PoolKind
from voxfleet_api.session_protocol import EndAudio, Opened, OpenHearing, OpenUpload

ONE, OTHER = LaneKey("one", 1), LaneKey("other", 1)
HEARING = OpenHearing(sample_rate_hz=16_000, max_turn_milliseconds=30_000)
CONTRACT = contract()
CLIPS = {path: text for path, text, failure_class in examples().values() if text and failure_class is None}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def agent(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Agent]:
    """With two lanes that hear."""
    folder = tmp_path_factory.mktemp("agent")
    pool = PoolConfig(name="live", lanes=2, memory_cap="3Gi", kind=PoolKind.INTERACTIVE)
    pools = InteractivePools((pool,), folder / "lanes")
    async with running_agent(folder, interactive_lanes=pools, models=ModelStore(folder / "models", 2**30)) as running:
        for key in (ONE, OTHER):
            await put(
                running,
                lane_request(
                    uid=key.endpoint_uid, contract=CONTRACT, contract_digest=digest_of(CONTRACT), memory_cap="2Gi"
                ),
            )
        for key in (ONE, OTHER):
            await until(running, "Ready", f"/v1/lanes/{key.endpoint_uid}/{key.generation}")
        yield running
    await pools.close()


def url(agent: Agent) -> str:
    return str(agent.http.base_url).rstrip("/")


def clip() -> tuple[bytes, str]:
    """A recording that needs no conversion, as PCM16, and its text."""
    for path, text in CLIPS.items():
        if path.suffix == ".wav":
            with wave.open(str(path)) as opened:
                if (opened.getframerate(), opened.getnchannels(), opened.getsampwidth()) == (16_000, 1, 2):
                    return opened.readframes(opened.getnframes()), text
    raise AssertionError("no example is 16 kHz, mono and PCM16")


async def heard(agent: Agent, frame_bytes: int) -> None:
    """A session on the first lane has the text of a batch."""
    pcm, text = clip()
    async with session_caller(url(agent), ONE, SESSION_TOKEN) as caller:
        opened = await caller.open(HEARING)
        assert isinstance(opened, Opened) and opened.window_bytes >= 2**18
        await caller.send_audio(pcm, frame_bytes)
        await caller.send(EndAudio())
        assert (await caller.end()).failure_class is None
        assert ("".join(caller.texts), caller.deltas, caller.taken_bytes) == (text, text, len(pcm))


@pytest.mark.parametrize("frame_bytes", [2, 640, 65_536])
async def test_a_clip_in_frames_has_the_text_of_a_batch_also_beside_another(agent: Agent, frame_bytes: int) -> None:
    await asyncio.gather(heard(agent, frame_bytes), heard(agent, 3_200))


async def test_files_have_the_texts_of_a_batch(agent: Agent) -> None:
    one_a_container = {path.suffix: path for path in CLIPS}
    assert len(one_a_container) > 1
    for suffix, path in one_a_container.items():
        async with session_caller(url(agent), ONE, SESSION_TOKEN) as caller:
            await caller.open(OpenUpload(max_bytes=2**24, extension=suffix[1:]))
            await caller.send_audio(path.read_bytes())
            await caller.send(EndAudio())
            assert (await caller.end()).failure_class is None
            assert caller.deltas == CLIPS[path]
    async with session_caller(url(agent), ONE, SESSION_TOKEN) as caller:
        await caller.open(OpenUpload(max_bytes=1_000))
        await caller.send_audio(bytes(5_000))
        assert (await caller.end()).failure_class == FailureClass.INVALID_INPUT


async def test_a_killed_child_ends_its_own_sessions_and_no_others(agent: Agent) -> None:
    pcm, text = clip()
    async with (
        session_caller(url(agent), ONE, SESSION_TOKEN) as caller,
        session_caller(url(agent), OTHER, SESSION_TOKEN) as neighbour,
    ):
        await caller.open(HEARING)
        await neighbour.open(HEARING)
        await caller.send_audio(pcm)
        await neighbour.send_audio(pcm)
        lane = agent.lanes.lane(ONE)
        assert lane is not None and lane.pid is not None
        os.kill(lane.pid, signal.SIGKILL)
        assert (await caller.end()).failure_class == FailureClass.GPU_ABORT_OUT_OF_MEMORY
        await neighbour.send(EndAudio())
        assert (await neighbour.end()).failure_class is None and "".join(neighbour.texts) == text
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not lane.warm:  # noqa: ASYNC110 -- it waits for a process
            await asyncio.sleep(0.01)
    await heard(agent, 3_200)


async def test_sessions_that_are_cancelled_leave_nothing_in_the_child(agent: Agent) -> None:
    pcm, _ = clip()
    live = agent.lanes._live[OTHER]
    for _ in range(20):
        async with session_caller(url(agent), OTHER, SESSION_TOKEN) as caller:
            await caller.open(HEARING)
            await caller.send_audio(pcm)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while live.open_sessions or live.sockets:  # noqa: ASYNC110 -- it waits for another process
                await asyncio.sleep(0.005)
