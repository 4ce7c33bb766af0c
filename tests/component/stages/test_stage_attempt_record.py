"""What is recorded about an attempt, and what ends it: its rows, retries, failure budget and run.json."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.component.stages.stage_reading import interrupted, read_commit, read_run, rows_of
from tests.component.stages.stage_rig import CONTRACT, Job, planned
from tests.component.stages.stage_stubs import MODEL_DIGEST, MemoryJournal, StubLane, WatchedStorage

from voxfleet_agent.lanes.lane_types import ClipTask, ClipVerdict
from voxfleet_agent.storage import ObjectVersion
from voxfleet_api.digest import sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_limits import FailureBudget
from voxfleet_api.kinds.contract_output import ContractOutput, Timestamps
from voxfleet_api.kinds.job_model import BuiltinModel, BuiltinName, ModelSource
from voxfleet_api.results import SpentBudget
from voxfleet_api.rows import ClipStatus, ResultRow, TimedText

SEGMENTS = (TimedText(start_milliseconds=0, end_milliseconds=150, text="one"),)


async def test_rows_that_come_while_the_journal_syncs_share_its_next_sync(job: Job) -> None:
    job.add_clips(8)
    plan = planned(await job.plan())

    class SlowToSync(MemoryJournal):
        async def record_rows(self, rows: Sequence[ResultRow]) -> None:
            await asyncio.gather(*(asyncio.sleep(0) for _ in range(50)))
            await super().record_rows(rows)

    journal = SlowToSync(job.edges)
    await job.process(plan, journal=journal, lane=StubLane(journal, batch_size=8))
    assert sum(journal.transaction_sizes) == 8 and max(journal.transaction_sizes) > 1
    assert len(rows_of(job)) == 8


async def test_a_journal_that_fails_ends_the_attempt(job: Job) -> None:
    job.add_clips(4)
    plan = planned(await job.plan())

    class Broken(MemoryJournal):
        async def record_rows(self, rows: Sequence[ResultRow]) -> None:
            await asyncio.sleep(0)
            raise OSError("the journal's disk is gone")

    journal = Broken(job.edges)
    with pytest.raises(BaseExceptionGroup) as caught:
        await job.process(plan, journal=journal, lane=StubLane(batch_size=4))
    assert caught.group_contains(OSError, match="disk is gone") and journal.rows == {}


@pytest.mark.parametrize(
    ("timestamps", "segments", "words"),
    [(Timestamps.NONE, None, None), (Timestamps.SEGMENT, SEGMENTS, None), (Timestamps.WORD, SEGMENTS, SEGMENTS)],
)
async def test_rows_carry_the_times_that_the_contract_asks_for(
    job: Job,
    timestamps: Timestamps,
    segments: tuple[TimedText, ...] | None,
    words: tuple[TimedText, ...] | None,
) -> None:
    job.contract = CONTRACT.model_copy(update={"output": ContractOutput(timestamps=timestamps)})
    job.add_clips(1)
    plan = planned(await job.plan())
    lane = StubLane()
    lane.segments = SEGMENTS
    await job.process(plan, lane=lane)
    (row,) = rows_of(job)
    assert (row.segments, row.words, row.language) == (segments, words, "en")
    assert row.attestation is not None and row.attestation.sha256 == row.sha256


# Retries and budgets


async def test_a_row_counts_its_own_retries_and_run_json_all_of_them(job: Job) -> None:
    job.contract = CONTRACT.model_copy(update={"failure_budget": FailureBudget(retries_per_hour=50)})
    job.add_clips(4)
    plan = planned(await job.plan())

    class Flaky(WatchedStorage):
        failed = 0

        async def download(self, uri: str, target: Path, version: ObjectVersion) -> str:
            if uri.endswith("001.wav") and self.failed < 2:
                self.failed += 1
                raise VoxFleetError(FailureClass.TRANSPORT, "told to fail")
            return await super().download(uri, target, version)

    lane = StubLane()
    lane.retried_for = {
        2: (FailureClass.TRUNCATED_OUTPUT,),
        3: (FailureClass.LANE_CRASHED, FailureClass.TRUNCATED_OUTPUT),
    }
    result = await job.process(plan, lane=lane, storage=Flaky(job.allow, job.edges))
    assert result.spent_budget == SpentBudget(retries_in_an_hour=5)
    assert [row.retries for row in rows_of(job)] == [0, 2, 1, 2]
    assert read_run(job).retries == {"LaneCrashed": 1, "Transport": 2, "TruncatedOutput": 2}


async def test_a_spent_budget_ends_the_attempt(job: Job) -> None:
    job.contract = CONTRACT.model_copy(update={"failure_budget": FailureBudget(retries_per_hour=1)})
    job.add_clips(2)
    plan = planned(await job.plan())

    class Failing(WatchedStorage):
        async def download(self, uri: str, target: Path, version: ObjectVersion) -> str:
            raise VoxFleetError(FailureClass.TRANSPORT, "told to fail")

    journal = MemoryJournal(job.edges)
    with pytest.raises(BaseExceptionGroup) as caught:
        await job.process(plan, journal=journal, storage=Failing(job.allow, job.edges))
    assert caught.group_contains(VoxFleetError, match=r"FailureBudgetExhausted: .*retriesPerHour")
    assert journal.rows == {}


async def test_quarantined_audio_beyond_the_budget_ends_the_attempt_with_its_rows(job: Job) -> None:
    job.contract = CONTRACT.model_copy(update={"failure_budget": FailureBudget(quarantined_minutes=0)})
    job.add_clips(2)
    plan = planned(await job.plan())
    lane, journal = StubLane(), MemoryJournal(job.edges)
    lane.failures[0] = (FailureClass.DECODE_ERROR, "ends early")
    with pytest.raises(BaseExceptionGroup) as caught:
        await job.process(plan, lane=lane, journal=journal)
    assert caught.group_contains(VoxFleetError, match="quarantinedMinutes is 0")
    assert journal.rows[0].status is ClipStatus.QUARANTINED


# run.json


async def test_run_json_records_where_and_how_and_the_commit_names_it(job: Job) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    await job.process(plan, lane=StubLane(batch_size=2))
    run, (ref,) = read_run(job), read_commit(job).runs
    content = (job.attempt_files(1) / "run.json").read_bytes()
    assert (ref.path, ref.sha256, ref.size_bytes) == (
        "parts/shard-0/1/run.json",
        sha256_hex(content),
        len(content),
    )
    assert (run.shard_uid, run.attempt, run.chip, run.memory_bytes, run.os) == ("shard-0", 1, "M4", 2**34, "macOS 26")
    assert run.model == ModelSource(builtin=BuiltinModel(name=BuiltinName.COMMANDS))
    assert (run.model_digest, run.model_files) == (MODEL_DIGEST, {"model.safetensors": "5" * 64})
    assert (run.sample_rate_hz, run.seed, run.environment) == (16000, 7, {"MLX_AUDIO_BATCH_SIZE": "2"})
    assert run.scratch_path == str(job.root / "scratch-1" / "attempts") and run.readings.ring_bytes == 64
    puts = [name for name in job.edges.passed if name.startswith("after put")]
    assert puts[-2:] == ["after put run.json", "after put commit.json"]


async def test_an_attempt_that_inherits_everything_names_the_runs_it_inherits(job: Job) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    await interrupted(job, plan, "before put commit.json")
    lane = StubLane()
    await job.process(plan, attempt=2, lane=lane)
    assert ([ref.path for ref in read_commit(job, 2).runs], lane.loaded) == (["parts/shard-0/1/run.json"], [])
    assert not (job.attempt_files(2) / "run.json").exists()


@pytest.mark.parametrize("edge", ["before put run.json", "after put run.json", "after put commit.json"])
async def test_a_crash_around_run_json_changes_no_commit(job: Job, edge: str) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    journal = await interrupted(job, plan, edge)
    lane = StubLane(journal, batch_size=3)  # its readings differ from those of the first run
    first = await job.process(plan, journal=journal, lane=lane)
    assert lane.worked_on == []
    assert bool(lane.loaded) is (edge == "before put run.json"), "only a record that is missing needs the model"
    assert await job.process(plan, journal=journal, lane=lane) == first


async def test_a_part_s_bytes_are_read_back_once_at_the_end(job: Job) -> None:
    """Reading in each round would read the parts of 100,000 clips thousands of times."""
    job.add_clips(9)
    plan = planned(await job.plan())
    journal = MemoryJournal(job.edges)
    await job.process(plan, journal=journal)
    assert journal.contents_read == list(range(len(journal.frozen))) and len(journal.frozen) >= 5


async def test_a_lane_that_forgets_a_clip_ends_the_attempt(job: Job) -> None:
    job.add_clips(3)
    plan = planned(await job.plan())

    class Forgetful(StubLane):
        async def verdict(self, task: ClipTask, batch_size: int) -> ClipVerdict:
            return await super().verdict(ClipTask(99, task.path) if task.index == 1 else task, batch_size)

    with pytest.raises(BaseExceptionGroup) as caught:
        await job.process(plan, lane=Forgetful())
    assert caught.group_contains(RuntimeError, match="clip 99, which it did not have")
    assert not (job.attempt_files(1) / "commit.json").exists()
