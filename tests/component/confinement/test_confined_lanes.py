"""Lanes within all guards that the system offers: they work, crash and restart as others do, and reach nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from tests.component.lanes.lane_rig import (
    STAND_IN,
    examples,
    run,
    synthesize_spec,
    tasks,
    tone,
    transcribe_spec,
)

from voxfleet_agent.confinement.confinement import Confinement
from voxfleet_agent.confinement.guards import preferred
from voxfleet_agent.confinement.launch import EXIT_NOT_CONFINED
from voxfleet_agent.lanes.child_environment import child_environment
from voxfleet_agent.lanes.child_start import WORKER
from voxfleet_agent.lanes.lane import ProcessLane
from voxfleet_agent.lanes.lane_types import ClipTask
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.models.store import builtin_model_folder
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_model import BuiltinName

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Landlock and seccomp are Linux's")

MakeLane = Callable[..., ProcessLane]


@pytest.fixture
def confinement(tmp_path: Path) -> Confinement:
    (tmp_path / "clips").mkdir()
    return Confinement(preferred("linux"), tmp_path / "clips")


@pytest.fixture
def model(tmp_path: Path) -> ResolvedModel:
    return _model(tmp_path / "model-1", 1)


def _status(pid: int) -> set[str]:
    return {*Path(f"/proc/{pid}/status").read_text().splitlines()}


def _model(folder: Path, number: int) -> ResolvedModel:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return ResolvedModel(folder, f"sha256:{number}" + "1" * 63)


@pytest_asyncio.fixture
async def make(tmp_path: Path, confinement: Confinement) -> AsyncIterator[MakeLane]:
    lanes: list[ProcessLane] = []

    def made(behaviours: dict[str, str] | None = None, worker: tuple[str, ...] = ()) -> ProcessLane:
        command = worker or (sys.executable, str(STAND_IN), json.dumps(behaviours or {}))
        lanes.append(ProcessLane("offline-0", tmp_path / f"lane-{len(lanes)}", worker=command, confinement=confinement))
        return lanes[-1]

    yield made
    for lane in lanes:
        await lane.kill()


async def test_secrets_of_the_lanes_own_account_cannot_be_read(
    tmp_path: Path, make: MakeLane, model: ResolvedModel
) -> None:
    key = tmp_path / "ledger.pem"
    key.write_text("secret")
    other_lane = tmp_path / "lane-9"
    other_lane.mkdir()
    (other_lane / "kept").write_text("speech")
    lane = make({"1": f"read:{key}", "2": f"read:{other_lane / 'kept'}", "3": f"read:/proc/{os.getpid()}/environ"})
    await lane.load(model, transcribe_spec())
    verdicts = {v.index: v.text for v in await run(lane, tasks(tmp_path / "clips", [1, 2, 3, 4]))}
    assert verdicts == {0: "denied", 1: "denied", 2: "denied", 3: "clip 4"}
    assert lane.pid is not None and {"Seccomp:\t2", "NoNewPrivs:\t1"} <= _status(lane.pid)


async def test_a_lane_reads_no_model_but_its_own(tmp_path: Path, make: MakeLane, model: ResolvedModel) -> None:
    other = _model(tmp_path / "model-2", 2)
    lane = make({"1": f"read:{model.path}/config.json", "2": f"read:{other.path}/config.json"})
    clips = tasks(tmp_path / "clips", [1, 2])
    texts = {}
    pids = set()
    for chosen in (model, other, other):
        await lane.load(chosen, transcribe_spec())
        texts[chosen.path.name] = [v.text for v in sorted(await run(lane, clips), key=lambda v: v.index)]
        pids.add(lane.pid)
    assert texts == {"model-1": ["read", "denied"], "model-2": ["denied", "read"]}
    assert len(pids) == 2, "another model is another child, the same one is not"


async def test_a_crash_in_confinement_costs_its_clip_alone(
    tmp_path: Path, make: MakeLane, model: ResolvedModel
) -> None:
    lane = make({"13": "abort", "5": "kill"} | {"7": f"once:{tmp_path / 'lane-0' / 'marker'}:segv"})
    await lane.load(model, transcribe_spec())
    verdicts = {v.index: v for v in await run(lane, tasks(tmp_path / "clips", [1, 13, 7, 2]))}
    assert verdicts[1].failure_class is FailureClass.LANE_CRASHED
    assert [verdicts[index].text for index in (0, 2, 3)] == ["clip 1", "clip 7", "clip 2"]


async def test_synthesized_audio_leaves_the_lane_as_the_agents_copy(
    tmp_path: Path, make: MakeLane, model: ResolvedModel
) -> None:
    lane = make()
    await lane.load(model, synthesize_spec())
    spoken = tmp_path / "clips" / "spoken.wav"
    (verdict,) = await run(lane, [ClipTask(5, spoken, text="hello")])
    assert verdict.synthesized is not None and spoken.stat().st_size == verdict.synthesized.size_bytes
    assert list(lane.folder.glob("synthesized-*")) == []


async def test_the_real_worker_decodes_and_infers_in_confinement(tmp_path: Path, make: MakeLane) -> None:
    lane = make(worker=WORKER)
    await lane.load(ResolvedModel(builtin_model_folder(BuiltinName.COMMANDS), "sha256:" + "1" * 64), transcribe_spec())
    shown = examples()
    chosen = ("wav-44100-09", "flac-16000-02", "mp3-22050-07", "m4a-48000-16")
    clips = [
        ClipTask(index, Path(shutil.copy(shown[name][0], tmp_path / "clips"))) for index, name in enumerate(chosen)
    ]
    verdicts = {v.index: v.text for v in await run(lane, clips)}
    assert verdicts == {index: shown[name][1] for index, name in enumerate(chosen)}


async def test_a_guard_that_is_gone_since_the_start_ends_the_load_with_its_name(
    tmp_path: Path, make: MakeLane, model: ResolvedModel
) -> None:
    ended = f"import sys; print('landlock: Operation not permitted', file=sys.stderr); sys.exit({EXIT_NOT_CONFINED})"
    lane = make(worker=(sys.executable, "-c", ended))
    with pytest.raises(VoxFleetError, match=r"no longer confines.*landlock: Operation not permitted") as caught:
        await lane.load(model, transcribe_spec())
    assert caught.value.failure_class is FailureClass.RUNTIME_MISMATCH


def test_a_confined_process_resets_the_peak_of_its_memory(tmp_path: Path, confinement: Confinement) -> None:
    program = (
        "from voxfleet_agent import process_memory as memory\n"
        "taken = bytearray(200 << 20); del taken; before = memory.peak_bytes(); memory.reset_peak()\n"
        "print(before - memory.peak_bytes() > 100 << 20)"
    )
    command = confinement.command((sys.executable, "-c", program), tmp_path, None)
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert ran.stdout.strip() == "True"


def test_credentials_of_the_environment_stay_with_the_agent(tmp_path: Path) -> None:
    inherited = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "S", "HF_TOKEN": "T", "HTTPS_PROXY": "u:p@h"}
    child = child_environment({**inherited, "PATH": os.defpath}, tmp_path)
    assert not child.keys() & inherited.keys() and not {*child.values()} & {*inherited.values()}


def test_a_clip_beside_the_lanes_is_the_only_writable_place(tmp_path: Path, confinement: Confinement) -> None:
    lane = tmp_path / "lane"
    lane.mkdir()
    clip = tone(tmp_path / "clips" / "clip", 1)
    program = f"""
import pathlib
tries = {{
    "lane": lambda: pathlib.Path({str(lane)!r}, "new").write_text("x"),
    "clip": lambda: pathlib.Path({str(clip)!r}).open("r+b"),
    "beside the clip": lambda: pathlib.Path({str(clip)!r}).with_name("new").write_text("x"),
    "removal": lambda: pathlib.Path({str(clip)!r}).unlink(),
    "temporary": lambda: pathlib.Path("/tmp/new").write_text("x"),
    "shared memory": lambda: pathlib.Path("/dev/shm/new").write_text("x"),
    "kernel": lambda: pathlib.Path("/proc/sys/kernel/core_pattern").open("r+b"),
}}
for name, attempt in tries.items():
    try: attempt(); print(name)
    except OSError: pass
"""
    ran = subprocess.run(
        confinement.command((sys.executable, "-c", program), lane, None), capture_output=True, text=True, check=True
    )
    assert ran.stdout.split("\n")[:-1] == ["lane"]
