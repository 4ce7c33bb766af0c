"""Lanes under an account of their own: what a compromised lane could read and write. Needs root."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from tests.component.lanes.lane_rig import STAND_IN, run, synthesize_spec, tone, transcribe_spec
from tests.rig.lane_account import ACCOUNT, ENTRY, needs_root

from voxfleet_agent.lanes.child_environment import child_environment
from voxfleet_agent.lanes.child_start import WORKER
from voxfleet_agent.lanes.lane import ProcessLane
from voxfleet_agent.lanes.lane_types import ClipTask
from voxfleet_agent.lanes.lane_user import LaneUser, LaneUserError, make_reachable
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.failures import FailureClass, VoxFleetError

ROOT = Path(__file__).parents[3]
MODEL = ResolvedModel(ROOT, "sha256:" + "1" * 64)


@pytest.fixture
def ledger_key(open_folder: Path) -> Path:
    state = open_folder / "state"
    state.mkdir(mode=0o700)
    key = state / "ledger.pem"
    key.write_text("secret")
    key.chmod(0o600)
    return key


@pytest_asyncio.fixture
async def lane(open_folder: Path, account_python: Path, ledger_key: Path) -> AsyncIterator[ProcessLane]:
    behaviours = {"1": f"read:{ledger_key}", "2": f"link:{ledger_key}"}
    lane = ProcessLane(
        "offline-0",
        open_folder / "scratch" / "lanes" / "offline-0",
        worker=(str(account_python), str(STAND_IN), json.dumps(behaviours)),
        lane_user=LaneUser.from_name(ACCOUNT),
    )
    make_reachable(lane.folder.parent, below=open_folder)
    yield lane
    await lane.kill()


def groups(pid: int) -> str:
    """Supplementary groups, where the system shows them."""
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("Groups:")), "")


def attempt_folder(open_folder: Path) -> Path:
    folder = open_folder / "scratch" / "attempts" / "one"
    folder.mkdir(mode=0o700, parents=True)
    make_reachable(folder.parent, below=open_folder)
    folder.chmod(0o700)
    return folder


@needs_root
async def test_a_lane_cannot_read_the_ledger_key(open_folder: Path, lane: ProcessLane, ledger_key: Path) -> None:
    folder = attempt_folder(open_folder)
    clip, other = tone(folder / "clip-1", 1), tone(folder / "clip-3", 3)
    clip.chmod(0o600)
    other.chmod(0o600)
    await lane.load(MODEL, transcribe_spec())
    assert lane.pid is not None
    child = psutil.Process(lane.pid)
    assert set(child.uids()) == {ENTRY.pw_uid} and set(child.gids()) == {ENTRY.pw_gid}
    assert groups(lane.pid) == ""
    verdicts = {v.index: v.text for v in await run(lane, [ClipTask(1, clip), ClipTask(3, other)])}
    assert verdicts == {1: "denied", 3: "clip 3"}
    # It can read clips, and can neither list nor change their folder.
    facts = folder.stat()
    assert (facts.st_uid, stat.S_IMODE(facts.st_mode)) == (0, 0o710)
    assert (clip.stat().st_uid, stat.S_IMODE(clip.stat().st_mode)) == (0, 0o640)


@needs_root
async def test_synthesized_audio_becomes_the_agents_file(open_folder: Path, lane: ProcessLane) -> None:
    folder = attempt_folder(open_folder)
    await lane.load(MODEL, synthesize_spec())
    (verdict,) = await run(lane, [ClipTask(5, folder / "spoken.wav", text="hello")])
    assert verdict.failure_class is None and verdict.synthesized is not None
    facts = (folder / "spoken.wav").stat()
    assert (facts.st_uid, stat.S_IMODE(facts.st_mode), facts.st_size) == (0, 0o600, verdict.synthesized.size_bytes)
    assert list(lane.folder.glob("synthesized-*")) == []


@needs_root
async def test_a_link_in_place_of_the_audio_is_not_followed(open_folder: Path, lane: ProcessLane) -> None:
    folder = attempt_folder(open_folder)
    await lane.load(MODEL, synthesize_spec())
    with pytest.raises(VoxFleetError, match="something else") as caught:
        await run(lane, [ClipTask(5, folder / "spoken.wav", text="2")])
    assert caught.value.failure_class is FailureClass.LANE_CRASHED
    assert not (folder / "spoken.wav").exists()


@needs_root
def test_useless_accounts_are_refused() -> None:
    with pytest.raises(LaneUserError, match="create it"):
        LaneUser.from_name("no-such-account-here")
    with pytest.raises(LaneUserError, match="name an account without rights"):
        LaneUser.from_name("root")


def test_what_a_taken_over_lane_left_in_its_folder_is_not_the_code_of_the_next(tmp_path: Path) -> None:
    """`python -m` would look for modules in the working directory first, and in $HOME for those of the user."""
    (tmp_path / "queue.py").write_text("import sys; sys.exit(77)\n")
    user_site = tmp_path / ".local" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    user_site.mkdir(parents=True)
    (user_site / "usercustomize.py").write_text("import os; os._exit(78)\n")
    environment = child_environment(os.environ, tmp_path)
    ended = subprocess.run(
        [*WORKER, "--lane-dir", tmp_path], cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, check=False
    )
    assert ended.returncode == 0
