"""What is said between a lane and its child, and when it is heard."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
from tests.component.lanes.lane_rig import MakeLane, load_request, order, tone

from voxfleet_agent.pools.child import Child, ChildEndedError
from voxfleet_agent.pools.messages import BatchDone, frame
from voxfleet_agent.pools.patience import Patience
from voxfleet_agent.stages.stage import ClipTask, ResolvedModel

DAMAGED, WAITED_ON = -1, -2


async def test_what_a_child_said_before_it_went_is_heard_before_its_end(tmp_path: Path) -> None:
    said = [frame(BatchDone(number=number, footprint_bytes=0)) for number in (1, 2)]
    program = f"import os; os.close(0); [os.write(1, words) for words in {said!r}]; raise SystemExit(7)"
    child = await Child.start((sys.executable, "-c", program), tmp_path / "lane", dict(os.environ), 2**30, None)
    try:
        heard = [await child.hear()]
        for _ in range(3):  # to nobody: its end of the pipe is closed
            await child.send(load_request(tmp_path))
        heard.append(await child.hear())
        assert [answer.number for answer in heard if isinstance(answer, BatchDone)] == [1, 2]
        with pytest.raises(ChildEndedError, match="7"):
            await child.hear()
    finally:
        await child.end()


async def test_a_verdict_does_not_wait_for_what_the_decoder_meets_next(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in(patience=Patience(decoding_seconds=1.0, decoding_cpu_seconds=0))
    await lane.load(stand_in_model, order())
    numbers = (DAMAGED, WAITED_ON)
    clips = [
        ClipTask(index, tone(tmp_path / f"{index}.wav", number), None, 300) for index, number in enumerate(numbers)
    ]

    async def feed() -> AsyncIterator[Sequence[ClipTask]]:
        yield clips

    async with aclosing(lane.work(feed())) as verdicts:
        first = await anext(verdicts)
        assert first.index == 0 and lane.readings().restarts == {}, "it came while the child was still waiting"
        second = await anext(verdicts)
        assert second.index == 1 and lane.readings().restarts != {}
