"""How a lane judges a child that sends nothing, in checks during which no answer can come."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest

from voxfleet_agent.lanes.child_process import ChildProcess
from voxfleet_agent.lanes.clip_queue import ClipQueue
from voxfleet_agent.lanes.hang_detection import HangTimeouts, endless_decode
from voxfleet_agent.lanes.lane_types import ClipTask
from voxfleet_agent.lanes.work_call import BatchFeed, WorkCall

SLEEPER = (sys.executable, "-c", "import sys; sys.stdin.read()")


async def no_batches() -> AsyncGenerator[Sequence[ClipTask], None]:
    return
    yield


@pytest.mark.parametrize(
    ("announced_milliseconds", "kilobytes", "endless"),
    [(1_000, 0, True), (1_000, 500, False), (8 * 3_600_000, 0, True)],
)
async def test_an_endless_decode_is_detected_in_one_check(
    tmp_path: Path, announced_milliseconds: int, kilobytes: int, endless: bool
) -> None:
    clip = ClipTask(7, tmp_path / "clip", audio_milliseconds=announced_milliseconds)
    clip.path.write_bytes(b"0" * 1000 * kilobytes)
    call = WorkCall(ClipQueue(), BatchFeed(no_batches()))
    call.queue.add([clip])
    call.queue.next_batch(1)
    child = await ChildProcess.start(SLEEPER, tmp_path / "lane", dict(os.environ), 2**30, None)
    try:
        child.decoding = clip.index
        # The child spent no processor time: 10 ms over the limit of an empty file, 40 ms under that of a large one.
        timeouts = HangTimeouts(decoding_cpu_seconds=-0.02)
        assert endless_decode(timeouts, call, child, 1_000) is (clip if endless else None)
    finally:
        await child.end()


async def test_inactivity_counts_from_the_last_message_or_batch(tmp_path: Path) -> None:
    call = WorkCall(ClipQueue(), BatchFeed(no_batches()))
    child = await ChildProcess.start(SLEEPER, tmp_path / "lane", dict(os.environ), 2**30, None)
    try:
        now = asyncio.get_running_loop().time()
        child.last_received_seconds = now - 100
        assert call.seconds_since_activity(child) >= 100
        child.last_received_seconds = now - 50
        assert 50 <= call.seconds_since_activity(child) < 100
        call.batch_sent()
        assert call.seconds_since_activity(child) < 50
    finally:
        await child.end()
