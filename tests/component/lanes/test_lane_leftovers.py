"""What a lane's processes leave: the lock between them, children whose supervisor died, and files in the lane's folder.

Everything here is a real process.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from tests.component.lanes.lane_rig import END_SECONDS, STAND_IN, MakeLane, load_request, transcribe_spec

from voxfleet_agent.lane_protocol.channel import LENGTH, frame
from voxfleet_agent.lane_protocol.lane_lock import LOCK_NAME, LaneBusyError, acquire, reap_stale
from voxfleet_agent.lane_protocol.messages import EXIT_LANE_BUSY
from voxfleet_agent.lanes.lane import ProcessLane
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.failures import RULES, Remedy, VoxFleetError

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_second_child_on_a_lane_is_refused(stand_in: MakeLane, stand_in_model: ResolvedModel) -> None:
    lane = stand_in()
    await lane.load(stand_in_model, transcribe_spec())
    command = [sys.executable, "-m", "voxfleet_agent.worker.main", "--lane-dir", str(lane.folder)]
    second = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    async with asyncio.timeout(END_SECONDS):
        await second.wait()
    assert second.returncode == EXIT_LANE_BUSY
    assert second.stderr is not None and LOCK_NAME in (await second.stderr.read()).decode()


@pytest.fixture
def leftover(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A child without a lane, as an earlier supervisor would leave it if its pipe stayed open."""
    command = [sys.executable, str(STAND_IN), "{}", "--lane-dir", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(frame(load_request(tmp_path)))
        process.stdin.flush()
        assert process.stdout.read(LENGTH.size)  # it answers, so it holds the lock
        yield process
        process.kill()


async def test_a_leftover_child_is_ended_once(tmp_path: Path, leftover: subprocess.Popen[bytes]) -> None:
    assert reap_stale(tmp_path) == leftover.pid
    assert not psutil.pid_exists(leftover.pid)
    assert reap_stale(tmp_path) is None


async def test_a_process_of_another_start_time_is_left_alone(
    tmp_path: Path, leftover: subprocess.Popen[bytes], stand_in_model: ResolvedModel
) -> None:
    lock = tmp_path / LOCK_NAME
    record = json.loads(lock.read_text())
    lock.write_text(json.dumps({**record, "started_at": record["started_at"] - 60}))
    with pytest.raises(LaneBusyError, match="does not name"):
        reap_stale(tmp_path)
    assert leftover.poll() is None
    with pytest.raises(VoxFleetError, match="another process holds the lane") as caught:
        await ProcessLane("offline-9", tmp_path).load(stand_in_model, transcribe_spec())
    assert RULES[caught.value.failure_class].remedy is Remedy.OTHER_MAC  # this Mac's trouble, not the job's


async def test_a_process_of_another_account_is_left_alone(tmp_path: Path, leftover: subprocess.Popen[bytes]) -> None:
    with pytest.raises(LaneBusyError, match="another account"):
        reap_stale(tmp_path, uid=os.getuid() + 1)
    assert leftover.poll() is None


async def test_a_lane_that_never_ran_has_nothing_to_reap(tmp_path: Path) -> None:
    assert reap_stale(tmp_path) is None


async def test_a_child_ends_when_its_pipe_closes(leftover: subprocess.Popen[bytes]) -> None:
    assert leftover.stdin is not None
    leftover.stdin.close()
    assert leftover.wait(END_SECONDS) == 0


SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from tests.component.lanes.lane_rig import STAND_IN, transcribe_spec
from voxfleet_agent.lanes.lane import ProcessLane
from voxfleet_agent.models.resolved_model import ResolvedModel

async def main() -> None:
    folder = Path(sys.argv[1])
    lane = ProcessLane("offline-0", folder, worker=(sys.executable, str(STAND_IN), "{}"))
    load = asyncio.create_task(lane.load(ResolvedModel(folder, "sha256:" + "1" * 64), transcribe_spec()))
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
        sys.executable,
        "-c",
        SUPERVISOR,
        str(tmp_path / "lane"),
        when,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
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


async def test_whatever_a_child_left_stops_no_other(
    tmp_path: Path, stand_in: MakeLane, stand_in_model: ResolvedModel
) -> None:
    """A hostile clip may have taken the child over, and the lane's folder outlives it."""
    lane = stand_in()
    for kind in ("decode-", "synthesized-"):
        (lane.folder / f"{kind}folder" / "inner").mkdir(parents=True)
        (lane.folder / f"{kind}file").touch()
        (lane.folder / f"{kind}link").symlink_to(tmp_path)
    (tmp_path / "kept").touch()
    await lane.load(stand_in_model, transcribe_spec())
    left = sorted(path.name for path in lane.folder.iterdir() if path.name.startswith(("decode-", "synthesized-")))
    assert left == [] and (tmp_path / "kept").exists()


@pytest.mark.parametrize("what", ["link", "folder"])
async def test_what_is_no_lock_is_removed_and_holds_no_lane(tmp_path: Path, what: str) -> None:
    kept = tmp_path / "kept"
    kept.write_text("content")

    def put_in_its_place(folder: Path) -> Path:
        if what == "link":
            folder.mkdir()
            (folder / LOCK_NAME).symlink_to(kept)
        else:
            (folder / LOCK_NAME / "inner").mkdir(parents=True)
        return folder

    assert reap_stale(put_in_its_place(tmp_path / "lane-0")) is None
    os.close(acquire(put_in_its_place(tmp_path / "lane-1")))
    assert (tmp_path / "lane-1" / LOCK_NAME).is_file() and not (tmp_path / "lane-1" / LOCK_NAME).is_symlink()
    assert kept.read_text() == "content"
