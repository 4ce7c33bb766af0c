"""Children that die, supervisors that die, and the lock between them. Everything here is a real process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from voxfleet_agent.config import PoolConfig
from voxfleet_agent.pools import lane as lane_module
from voxfleet_agent.pools.exits import EXIT_LANE_BUSY
from voxfleet_agent.pools.lane import Lane
from voxfleet_agent.pools.lane_lock import LOCK_NAME, LaneBusyError, reap_stale
from voxfleet_agent.pools.messages import LENGTH, Load, frame
from voxfleet_agent.pools.pools import Pools
from voxfleet_agent.stages.stage import ClipTask, ResolvedModel
from voxfleet_api.failures import RULES, FailureClass, Remedy, VoxFleetError
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

pytestmark = pytest.mark.asyncio(loop_scope="module")

Examples = dict[str, tuple[Path, str | None, str | None]]
MakeTask = Callable[[Path], ClipTask]
END_SECONDS = 30.0


@pytest_asyncio.fixture(loop_scope="module")
async def ready(lane: Lane, model: ResolvedModel) -> AsyncIterator[Lane]:
    """The module's lane with a living child, whatever the test before did to it."""
    await lane.load(model)
    yield lane


def pid_of(lane: Lane) -> int:
    assert lane.pid is not None
    return lane.pid


async def another_child(lane: Lane, pid: int) -> int:
    async with asyncio.timeout(END_SECONDS):
        while lane.pid in (None, pid):  # noqa: ASYNC110 - a lane announces its child to nobody
            await asyncio.sleep(0.01)
    return pid_of(lane)


async def in_flight(lane: Lane, task: ClipTask) -> asyncio.Task[object]:
    """A clip that the child has been sent and cannot answer, because it is stopped."""
    os.kill(pid_of(lane), signal.SIGSTOP)
    call: asyncio.Task[object] = asyncio.create_task(lane.transcribe(task))
    await asyncio.sleep(0)
    return call


async def test_a_child_that_dies_is_replaced_and_the_clip_done_once_more(
    ready: Lane, model: ResolvedModel, example_clips: Examples, task: MakeTask
) -> None:
    path, text, _ = example_clips["wav-16000-01"]
    first = pid_of(ready)
    call = await in_flight(ready, task(path))
    os.kill(first, signal.SIGKILL)
    verdict = await call
    assert getattr(verdict, "text", None) == text
    assert pid_of(ready) != first and ready.loaded_digest == model.digest
    assert not psutil.pid_exists(first)


async def test_a_second_death_is_the_clips_verdict_and_the_next_clip_goes_on(
    ready: Lane, example_clips: Examples, task: MakeTask
) -> None:
    path, text, _ = example_clips["wav-16000-01"]
    first = pid_of(ready)
    call = await in_flight(ready, task(path))
    os.kill(first, signal.SIGKILL)
    os.kill(await another_child(ready, first), signal.SIGKILL)
    verdict = await call
    assert getattr(verdict, "failure_class", None) is FailureClass.LANE_CRASHED
    assert "SIGKILL" in getattr(verdict, "reason", "")
    assert (await ready.transcribe(task(path))).text == text


async def test_a_child_that_hangs_is_replaced(
    ready: Lane,
    example_clips: Examples,
    make_contract: Callable[..., VoiceContractSpec],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lane_module, "ANSWER_TIMEOUT_SECONDS", 2.0)
    path, text, _ = example_clips["wav-16000-01"]
    first = pid_of(ready)
    verdict = await (await in_flight(ready, ClipTask(0, path, make_contract(max_clip="2s"))))
    assert getattr(verdict, "text", None) == text
    assert pid_of(ready) != first


async def test_kill_ends_the_clip_in_flight_and_starts_nothing(
    ready: Lane, model: ResolvedModel, example_clips: Examples, task: MakeTask
) -> None:
    path, text, _ = example_clips["wav-16000-01"]
    first = pid_of(ready)
    call = await in_flight(ready, task(path))
    await ready.kill()
    with pytest.raises(VoxFleetError, match="stopped"):
        await call
    assert (ready.pid, ready.loaded_digest) == (None, None)
    assert not psutil.pid_exists(first)
    await ready.kill()
    with pytest.raises(VoxFleetError, match="stopped"):
        await ready.transcribe(task(path))
    await ready.load(model)
    assert (await ready.transcribe(task(path))).text == text


async def test_a_cancelled_call_never_answers_the_next_one(
    ready: Lane, example_clips: Examples, task: MakeTask
) -> None:
    first = pid_of(ready)
    call = await in_flight(ready, task(example_clips["wav-16000-01"][0]))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    path, text, _ = example_clips["flac-16000-02"]
    assert (await ready.transcribe(task(path))).text == text
    assert pid_of(ready) != first


async def test_calls_that_meet_queue_up(ready: Lane, example_clips: Examples, task: MakeTask) -> None:
    names = ["wav-16000-01", "flac-16000-02", "mp3-16000-03"]
    verdicts = await asyncio.gather(*(ready.transcribe(task(example_clips[name][0])) for name in names))
    assert [verdict.text for verdict in verdicts] == [example_clips[name][1] for name in names]


async def test_a_second_child_on_a_lane_is_refused(ready: Lane) -> None:
    command = [sys.executable, "-m", "voxfleet_agent.pools.worker", "--lane-dir", str(ready.folder)]
    second = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    async with asyncio.timeout(END_SECONDS):
        await second.wait()
    assert second.returncode == EXIT_LANE_BUSY
    assert second.stderr is not None and LOCK_NAME in (await second.stderr.read()).decode()


async def test_the_child_writes_no_core_dumps_and_has_its_own_session(ready: Lane) -> None:
    child = psutil.Process(pid_of(ready))
    if sys.platform == "linux":
        assert child.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    assert os.getsid(child.pid) == child.pid


@pytest.fixture
def leftover(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A child without a lane, as an earlier supervisor would leave it if its pipe stayed open."""
    command = [sys.executable, "-m", "voxfleet_agent.pools.worker", "--lane-dir", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(frame(Load(folder=tmp_path / "no-model", digest="")))
        process.stdin.flush()
        assert process.stdout.read(LENGTH.size)  # it answers, so it holds the lock
        yield process
        process.kill()


async def test_a_leftover_child_is_ended_once(tmp_path: Path, leftover: subprocess.Popen[bytes]) -> None:
    assert reap_stale(tmp_path) == leftover.pid
    assert not psutil.pid_exists(leftover.pid)
    assert reap_stale(tmp_path) is None


async def test_a_process_of_another_start_time_is_left_alone(
    tmp_path: Path, leftover: subprocess.Popen[bytes], model: ResolvedModel
) -> None:
    lock = tmp_path / LOCK_NAME
    record = json.loads(lock.read_text())
    lock.write_text(json.dumps({**record, "started_at": record["started_at"] - 60}))
    with pytest.raises(LaneBusyError, match="does not name"):
        reap_stale(tmp_path)
    assert leftover.poll() is None
    with pytest.raises(VoxFleetError, match="another process holds the lane") as caught:
        await Lane("offline-9", tmp_path).load(model)
    assert RULES[caught.value.failure_class].remedy is Remedy.OTHER_MAC  # this Mac's trouble, not the job's


async def test_a_lane_that_never_ran_has_nothing_to_reap(tmp_path: Path) -> None:
    assert reap_stale(tmp_path) is None


async def test_a_child_ends_when_its_pipe_closes(leftover: subprocess.Popen[bytes]) -> None:
    assert leftover.stdin is not None
    leftover.stdin.close()
    assert leftover.wait(END_SECONDS) == 0


SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from voxfleet_agent.engine.models import LocalModels
from voxfleet_agent.pools.lane import Lane
from voxfleet_api.kinds.audio_batch_job import ModelSource

async def main() -> None:
    lane = Lane("offline-0", Path(sys.argv[1]))
    load = asyncio.create_task(lane.load(await LocalModels().resolve(ModelSource(path="default"))))
    if sys.argv[2] == "loaded":
        await load
    while lane.pid is None:
        await asyncio.sleep(0.01)
    print(lane.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("when", ["starting", "loaded"])
async def test_a_child_ends_when_its_supervisor_is_killed(tmp_path: Path, when: str) -> None:
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SUPERVISOR, str(tmp_path / "lane"), when, stdout=subprocess.PIPE
    )
    assert supervisor.stdout is not None
    try:
        async with asyncio.timeout(END_SECONDS):
            # The log comes first on stdout.
            while not (line := await supervisor.stdout.readline()).strip().isdigit():
                assert line
        child = psutil.Process(int(line))
        assert child.is_running()
    finally:
        supervisor.kill()
        await supervisor.wait()
    with suppress(psutil.NoSuchProcess):
        await asyncio.to_thread(child.wait, END_SECONDS)
    assert reap_stale(tmp_path / "lane") is None


async def test_pools_lend_each_lane_once_and_prefer_the_one_with_the_model(
    tmp_path: Path, model: ResolvedModel
) -> None:
    pools = Pools([PoolConfig(name="offline", lanes=2)], tmp_path)
    try:
        first, second = pools.acquire("offline"), pools.acquire("offline")
        assert first is not None and second is not None and first is not second
        assert pools.acquire("offline") is None
        assert [(fact.name, fact.lanes, fact.free_lanes) for fact in pools.facts()] == [("offline", 2, 0)]
        await second.load(model)
        assert pools.loaded_models() == (model.digest,)
        pools.release(first)
        pools.release(second)
        pools.release(second)
        assert [fact.free_lanes for fact in pools.facts()] == [2]
        assert pools.acquire("offline", model.digest) is second
        child = psutil.Process(pid_of(second))
    finally:
        await pools.close()
    assert not child.is_running()
    assert pools.loaded_models() == ()
