"""A lane from its load to its end: its child, its windows, kills and deaths, and the pools that lend it.

Everything here is a real process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest
from tests.component.lanes.lane_rig import END_SECONDS, MakeLane, contract, run, tone, transcribe, transcribe_spec
from tests.rig.fuse_mount import FuseMount, needs_fuse

from voxfleet_agent.config import PoolConfig
from voxfleet_agent.lane_protocol.lane_lock import reap_stale
from voxfleet_agent.lanes.lane import ProcessLane
from voxfleet_agent.lanes.lane_types import ClipTask
from voxfleet_agent.lanes.pools import LanePools
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Conversions, Windows
from voxfleet_api.pools import PoolKind

pytestmark = pytest.mark.asyncio(loop_scope="module")

HANGS = {"13": "once:marker:hang"}
"""Clip 13 gets no answer the first time. The marker lies in the lane's folder."""


def pid_of(lane: ProcessLane) -> int:
    assert lane.pid is not None
    return lane.pid


async def in_flight(lane: ProcessLane, folder: Path) -> asyncio.Task[object]:
    """A clip that a child works on and does not answer; the stand-in was created with HANGS."""
    call: asyncio.Task[object] = asyncio.create_task(transcribe(lane, tone(folder / "hangs", 13)))
    async with asyncio.timeout(END_SECONDS):
        while not (lane.folder / "marker").exists():  # noqa: ASYNC110 - the child announces it by a file
            await asyncio.sleep(0.01)
    return call


def loads(lane: ProcessLane) -> int:
    """How often the stand-in's children have loaded their model."""
    return len((lane.folder / "loads").read_text())


async def test_a_second_attempt_finds_the_model_loaded(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in()
    path = tone(tmp_path / "clip", 3)
    facts = await lane.load(stand_in_model, transcribe_spec())
    first = pid_of(lane)
    assert (facts.family, facts.sample_rate_hz, facts.batches, facts.parameters) == ("stand-in", 16_000, True, 7)
    assert facts.seed == 11
    assert facts.ring_bytes == (30 * 16_000 * 12 // 10 + 160) * 4
    assert (await transcribe(lane, path)).text == "clip 3"
    # Another contract with another ring, the same model.
    facts = await lane.load(stand_in_model, transcribe_spec(contract(max_clip="10s")))
    assert facts.ring_bytes == (10 * 16_000 * 12 // 10 + 160) * 4
    assert (await transcribe(lane, path)).text == "clip 3"
    assert (pid_of(lane), loads(lane)) == (first, 1)
    await lane.load(ResolvedModel(stand_in_model.path, "sha256:" + "2" * 64), transcribe_spec())
    assert (pid_of(lane), loads(lane)) == (first, 2)


async def test_unloading_ends_the_child_in_order(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in()
    await lane.load(stand_in_model, transcribe_spec())
    first = pid_of(lane)
    await lane.unload()
    assert lane.pid is None and not psutil.pid_exists(first)
    await lane.unload()
    await lane.load(stand_in_model, transcribe_spec())
    assert pid_of(lane) != first
    assert lane.readings().restarts == {}


async def test_the_child_sees_the_names_of_the_runbook(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in(batch_size=3, quarantine=tmp_path / "kept")
    facts = await lane.load(stand_in_model, transcribe_spec())
    expected = {
        "MLX_AUDIO_BATCH_SIZE": "3",
        "MLX_AUDIO_MAX_RETRIES": "3",
        "MLX_AUDIO_QUARANTINE_DIR": str(tmp_path / "kept"),
        "MLX_AUDIO_SAMPLE_RATE_HZ": "16000",
        "TMPDIR": str(lane.folder),
    }
    assert facts.environment == expected
    seen = psutil.Process(pid_of(lane)).environ()
    assert {name: seen.get(name) for name in expected} == expected


async def test_a_contract_whose_ring_does_not_fit_is_refused_with_the_arithmetic(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in(memory_cap_bytes=512 * 2**20)
    with pytest.raises(VoxFleetError) as caught:
        await lane.load(stand_in_model, transcribe_spec(contract(max_clip="2h")))
    assert caught.value.failure_class is FailureClass.CONTRACT_VIOLATION
    assert "the cap is 512.0 MiB" in caught.value.message
    assert "ring 527.3 MiB (input.maxClip 7200 s x 120 % x 16000 Hz x 4 B)" in caught.value.message
    # The same audio by windows fits, and the lane is as good as before.
    await lane.load(
        stand_in_model, transcribe_spec(contract(Conversions(windows=Windows(length="30s")), max_clip="2h"))
    )
    assert (await transcribe(lane, tone(tmp_path / "clip", 3))).text == "clip 3"


async def test_windows_of_a_clip_are_joined_and_a_damaged_one_drops_the_audio_before_it(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in()
    await lane.load(stand_in_model, transcribe_spec(contract(Conversions(windows=Windows(length="1s", seek="500ms")))))
    whole = tone(tmp_path / "whole", 3, 2500)
    verdict = await transcribe(lane, whole)
    assert verdict.text == "clip 3 clip 3 clip 3"
    assert verdict.segments is not None
    times = [(segment.start_milliseconds, segment.end_milliseconds) for segment in verdict.segments]
    assert times == [(0, 1000), (1000, 2000), (2000, 2500)]
    assert (verdict.audio_milliseconds, verdict.batch_size) == (2500, 1)
    damaged = tmp_path / "damaged"
    damaged.write_bytes(whole.read_bytes() + tone(tmp_path / "bad", -1, 500).read_bytes()[44:])
    # The damage starts with the third window, which follows whole ones.
    content = bytearray(damaged.read_bytes())
    content[44 + 2 * 64_000 :] = tone(tmp_path / "bad", -1, 500).read_bytes()[44:]
    damaged.write_bytes(content)
    verdict = await transcribe(lane, damaged)
    assert (verdict.failure_class, verdict.reason) == (FailureClass.DECODE_ERROR, "is damaged")
    assert lane.readings().ring_resets == {"DecodeError": 1}


async def test_at_most_four_batches_are_requested_and_big_ones_are_split(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in(HANGS, batch_size=2)
    await lane.load(stand_in_model, transcribe_spec())
    path = tone(tmp_path / "clip", 1)
    requested = 0

    async def feed() -> AsyncGenerator[Sequence[ClipTask], None]:
        nonlocal requested
        for number in range(6):
            requested += 1
            hangs = tone(tmp_path / "hangs", 13) if number == 0 else path
            yield [ClipTask(10 * number, hangs), ClipTask(10 * number + 1, path)]

    async with aclosing(feed()) as batches, aclosing(lane.work(batches)) as verdicts:
        first = asyncio.create_task(anext(verdicts))
        async with asyncio.timeout(END_SECONDS):
            while requested < 4 or not (lane.folder / "marker").exists():  # noqa: ASYNC110 - files and counts do not call
                await asyncio.sleep(0.01)
        for _ in range(100):  # turns of the loop in which a fifth batch could be asked for
            await asyncio.sleep(0)
        assert requested == 4 and not first.done()
        os.kill(pid_of(lane), signal.SIGKILL)
        found = [await first] + [verdict async for verdict in verdicts]
    assert requested == 6
    assert sorted(verdict.index for verdict in found) == [0, 1, 10, 11, 20, 21, 30, 31, 40, 41, 50, 51]
    lane.batch_size = 2
    split = await run(lane, [ClipTask(index, path) for index in range(5)])
    assert sorted(verdict.batch_size for verdict in split) == [1, 2, 2, 2, 2]


async def test_kill_ends_the_clip_in_flight_and_starts_nothing(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in(HANGS)
    await lane.load(stand_in_model, transcribe_spec())
    path = tone(tmp_path / "clip", 3)
    first = pid_of(lane)
    call = await in_flight(lane, tmp_path)
    await lane.kill()
    with pytest.raises(VoxFleetError, match="stopped"):
        await call
    assert (lane.pid, lane.loaded_digest) == (None, None)
    assert not psutil.pid_exists(first)
    await lane.kill()
    with pytest.raises(VoxFleetError, match="stopped"):
        await transcribe(lane, path)
    await lane.load(stand_in_model, transcribe_spec())
    assert (await transcribe(lane, path)).text == "clip 3"


async def test_kill_ends_a_child_that_is_being_started(stand_in: MakeLane, stand_in_model: ResolvedModel) -> None:
    lane = stand_in()
    load = asyncio.create_task(lane.load(stand_in_model, transcribe_spec()))
    while not lane.folder.exists():  # noqa: ASYNC110 - a start announces itself by the lane's folder
        await asyncio.sleep(0)
    await lane.kill()
    assert lane.pid is None
    with pytest.raises(VoxFleetError, match="stopped"):
        await load
    assert (lane.pid, reap_stale(lane.folder)) == (None, None)


async def test_a_cancelled_call_never_answers_the_next_one(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in(HANGS)
    await lane.load(stand_in_model, transcribe_spec())
    first = pid_of(lane)
    call = await in_flight(lane, tmp_path)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not psutil.pid_exists(first)
    assert (await transcribe(lane, tone(tmp_path / "other", 4))).text == "clip 4"


async def test_a_child_that_dies_between_attempts_is_replaced(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in()
    await lane.load(stand_in_model, transcribe_spec())
    first = psutil.Process(pid_of(lane))
    first.kill()
    await asyncio.to_thread(psutil.wait_procs, [first], END_SECONDS)
    assert (await transcribe(lane, tone(tmp_path / "clip", 4))).text == "clip 4"
    assert pid_of(lane) != first.pid


async def test_the_child_writes_no_core_dumps_and_has_its_own_session(
    stand_in: MakeLane, stand_in_model: ResolvedModel
) -> None:
    lane = stand_in()
    await lane.load(stand_in_model, transcribe_spec())
    child = psutil.Process(pid_of(lane))
    if sys.platform == "linux":
        assert child.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    assert os.getsid(child.pid) == child.pid


async def test_pools_lend_each_lane_once_and_prefer_the_one_with_the_model(
    tmp_path: Path, model: ResolvedModel
) -> None:
    pools = LanePools([PoolConfig(name="offline", lanes=2, batch_size=3)], tmp_path)
    try:
        first, second = pools.acquire("offline"), pools.acquire("offline")
        assert first is not None and second is not None and first is not second
        assert first.batch_size == 3
        assert pools.acquire("offline") is None
        assert [(fact.name, fact.lanes, fact.free_lanes) for fact in pools.facts()] == [("offline", 2, 0)]
        assert [fact.memory_cap_bytes for fact in pools.facts()] == [4 * 2**30]
        await first.load(model, transcribe_spec())
        assert pools.loaded_models() == (model.digest,)
        pools.release(first)
        pools.release(second)
        pools.release(second)
        assert [fact.free_lanes for fact in pools.facts()] == [2]
        assert pools.acquire("offline", "sha256:" + "2" * 64) is second, "another job's model stays loaded"
        pools.release(second)
        assert pools.acquire("offline", model.digest) is first
        child = psutil.Process(pid_of(first))
    finally:
        await pools.close()
    assert not child.is_running()
    assert pools.loaded_models() == ()


async def test_a_lane_without_work_gives_its_model_s_memory_back_after_the_written_time(
    tmp_path: Path, model: ResolvedModel
) -> None:
    now_seconds = 1000.0
    pools = LanePools([PoolConfig(name="offline", lanes=2)], tmp_path, now_seconds=lambda: now_seconds)
    try:
        busy, idle = pools.acquire("offline"), pools.acquire("offline")
        assert busy is not None and idle is not None
        await busy.load(model, transcribe_spec())
        await idle.load(model, transcribe_spec())
        pools.release(idle)
        now_seconds += 59
        assert (await pools.unload_idle(60), idle.loaded_digest) == (0, model.digest)
        now_seconds += 1
        child = psutil.Process(pid_of(idle))
        unloading = asyncio.create_task(pools.unload_idle(60))
        await asyncio.sleep(0)
        assert pools.acquire("offline") is None, "a lane that is being unloaded is not lent"
        assert await unloading == 1
        assert not child.is_running() and (busy.loaded_digest, idle.loaded_digest) == (model.digest, None)
        assert pools.acquire("offline") is idle
        assert (await idle.load(model, transcribe_spec())).sample_rate_hz > 0
    finally:
        await pools.close()


async def test_a_lane_of_an_interactive_pool_is_handed_out_for_sessions_alone(
    tmp_path: Path, model: ResolvedModel
) -> None:
    now_seconds = 1000.0
    configs = [PoolConfig(name="night"), PoolConfig(name="live", kind=PoolKind.INTERACTIVE, memory_cap="2Gi")]
    pools = LanePools(configs, tmp_path, now_seconds=lambda: now_seconds)
    try:
        batch = pools.acquire("night")
        assert batch is not None and pools.lanes == (batch,)
        with pytest.raises(KeyError):
            pools.acquire("live")
        assert pools.interactive.acquire(3 * 2**30) is None and not pools.interactive.has_free(3 * 2**30)
        live = pools.interactive.acquire(2**30)
        assert live is not None and live.name == "live-0" and pools.interactive.acquire(2**30) is None
        assert [(pool.name, pool.free_lanes) for pool in pools.facts()] == [("night", 0), ("live", 0)]
        assert set(pools.readings()) == {"night-0", "live-0"}
        await batch.load(model, transcribe_spec())
        pools.release(batch)
        pools.interactive.release(live)
        assert [pool.free_lanes for pool in pools.facts()] == [1, 1]
        now_seconds += 3600
        assert await pools.unload_idle(60) == 1 and batch.loaded_digest is None
    finally:
        await pools.close()


@needs_fuse
async def test_a_lane_asks_the_file_system_of_its_model_nothing(tmp_path: Path, stand_in: MakeLane) -> None:
    """The child does, which can be killed; a thread that hangs on a dead mount cannot."""
    (tmp_path / "mount").mkdir()
    lane = stand_in()
    with FuseMount(tmp_path / "mount", {"config.json": b"{}"}) as mount:
        mount.hang()
        async with asyncio.timeout(60):
            await lane.load(ResolvedModel(tmp_path / "mount", "sha256:" + "1" * 64), transcribe_spec())
