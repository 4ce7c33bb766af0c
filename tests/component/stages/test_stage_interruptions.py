"""No clip is lost or counted twice, wherever a Process attempt is interrupted."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.component.stages.stage_rig import Job, commit_ref, planned
from tests.component.stages.stage_stubs import Edges, MemoryJournal, StubLane

from voxfleet_agent.stages.process.pipeline import UNRECORDED_BATCHES
from voxfleet_api.protocol import ShardResult
from voxfleet_api.ranges import decode
from voxfleet_api.results import AttemptBase, Commit, PlanResult
from voxfleet_api.rows import ClipStatus


class Kind(Enum):
    KILL = "nothing after this edge happens"
    CANCEL = "the attempt's task is cancelled at this edge"


class Then(Enum):
    RESUME = "the same attempt goes on from its journal"
    TAKE_OVER = "the next attempt starts with a journal of its own, and the old one may still go on"


@dataclass(frozen=True)
class Interruption:
    edge: int
    kind: Kind
    then: Then


class KilledError(BaseException):
    """Simulates a killed process: every later edge raises it, so nothing durable happens any more."""


class Breaker(Edges):
    """Interrupts once, at the edge with the given number."""

    def __init__(self) -> None:
        super().__init__(self._watch)
        self._countdown = 0
        self._kind = Kind.KILL
        self._dead = False

    def arm(self, interruption: Interruption | None) -> None:
        self._countdown = interruption.edge if interruption else 0
        self._kind = interruption.kind if interruption else Kind.KILL
        self._dead = False
        self._task = asyncio.current_task()

    def _watch(self, name: str) -> None:
        if self._dead:
            raise KilledError
        if self._countdown:
            self._countdown -= 1
            if self._countdown == 0:
                if self._kind is Kind.KILL:
                    self._dead = True
                    raise KilledError
                assert self._task is not None
                self._task.cancel()


@dataclass
class Attempt:
    number: int
    journal: MemoryJournal
    lane: StubLane


def new_attempt(job: Job, number: int, batch_size: int = 1) -> Attempt:
    journal = MemoryJournal(job.edges)
    return Attempt(number, journal, StubLane(journal, batch_size))


async def run(job: Job, plan: PlanResult, attempt: Attempt, interruption: Interruption | None) -> ShardResult | None:
    """Runs an attempt; returns None when it was interrupted."""
    assert isinstance(job.edges, Breaker)

    async def armed() -> ShardResult:
        assert isinstance(job.edges, Breaker)
        job.edges.arm(interruption)
        return await job.process(plan, attempt=attempt.number, journal=attempt.journal, lane=attempt.lane)

    try:
        return await asyncio.create_task(armed())
    except asyncio.CancelledError:
        assert job.scratch_files() == [], "a cancelled attempt gives its scratch back"
        return None
    except KilledError:
        return None
    except BaseExceptionGroup as group:
        if group.split(KilledError)[1] is not None:
            raise  # nothing but the interruption may end an attempt
        return None
    finally:
        job.edges.arm(None)
        for file in job.scratch_files():
            file.unlink()


async def run_with(root: Path, clips: int, interruptions: list[Interruption], batch_size: int = 1) -> None:
    job = Job(root, edges=Breaker())
    job.add_clips(clips)
    plan = planned(await job.plan())
    attempts = [new_attempt(job, 1, batch_size)]
    result = None
    for interruption in [*interruptions, None]:
        result = await run(job, plan, attempts[-1], interruption)
        if result is not None:
            break
        assert interruption is not None
        if interruption.then is Then.TAKE_OVER:
            attempts.append(new_attempt(job, attempts[-1].number + 1, batch_size))
    assert result is not None
    winner = attempts[-1]

    # Macs that were lost return and finish their attempts.
    for late in attempts[:-1]:
        assert await run(job, plan, late, None) is not None
    final = await job.finalize(plan, [commit_ref(result, winner.number)])

    rows = job.results()
    assert [row.index for row in rows] == list(range(clips))
    assert [row.text for row in rows] == job.expected_texts()
    assert all(row.status is ClipStatus.SUCCEEDED for row in rows)
    assert final.counts is not None and final.counts.succeeded == clips
    commit = Commit.model_validate_json((job.attempt_files(winner.number) / "commit.json").read_bytes())
    assert final.counts == commit.counts
    for attempt in attempts:
        # The journal refuses a second row. Only clips that were in flight at an interruption may run twice.
        repeated = sum(count - 1 for count in Counter(attempt.lane.worked_on).values())
        assert repeated <= len(interruptions) * UNRECORDED_BATCHES * batch_size
        frozen = AttemptBase.model_validate_json((job.attempt_files(attempt.number) / "base.json").read_bytes())
        inherited = {index for part in frozen.parts for index in decode(part.indexes)}
        assert inherited.isdisjoint(attempt.lane.worked_on), "an inherited clip is not worked on again"


INTERRUPTIONS = st.builds(Interruption, st.integers(1, 80), st.sampled_from(Kind), st.sampled_from(Then))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(clips=st.integers(1, 7), interruptions=st.lists(INTERRUPTIONS, max_size=5), batch_size=st.integers(1, 3))
@example(
    clips=5,
    interruptions=[Interruption(30, Kind.KILL, Then.TAKE_OVER), Interruption(9, Kind.KILL, Then.RESUME)],
    batch_size=2,
)
def test_every_clip_has_one_row_whatever_interrupts(
    clips: int, interruptions: list[Interruption], batch_size: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run_with(Path(folder).resolve(), clips, interruptions, batch_size))


@pytest.mark.parametrize("then", Then)
@pytest.mark.parametrize("kind", Kind)
def test_an_interruption_at_any_single_edge_loses_nothing(tmp_path: Path, kind: Kind, then: Then) -> None:
    """Interrupts at every edge that a run of three clips passes, which are two parts, instead of at a sample."""
    job = Job(tmp_path / "count", edges=Breaker())
    job.add_clips(3)

    async def count() -> int:
        plan = planned(await job.plan())
        job.edges.passed.clear()
        assert await run(job, plan, new_attempt(job, 1), None) is not None
        return len(job.edges.passed)

    edges = asyncio.run(count())
    assert edges > 30
    for edge in range(1, edges + 1):
        asyncio.run(run_with(tmp_path / str(edge), 3, [Interruption(edge, kind, then)]))
