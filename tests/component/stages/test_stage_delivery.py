"""DESIGN section 4, "Results commit": parts, base, commit."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Sequence

import pytest
from tests.component.stages.stage_reading import StoppedError, interrupted, part_names, read_base, read_commit, rows_of
from tests.component.stages.stage_rig import Job, commit_ref, planned
from tests.component.stages.stage_stubs import (
    FixedModel,
    MemoryJournal,
    StubLane,
    WatchedStorage,
)

from voxfleet_agent.journal.journal import Journal
from voxfleet_agent.journal.stage_journal import SqliteStageJournal
from voxfleet_agent.lanes.lane_types import ClipTask
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.digest import canonical_json, sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.ranges import decode
from voxfleet_api.results import Commit
from voxfleet_api.rows import ResultRow

# Parts


async def test_a_part_is_frozen_before_its_upload_and_named_by_its_sha256(job: Job) -> None:
    job.add_clips(5)
    plan = planned(await job.plan())
    journal = MemoryJournal(job.edges)
    await job.process(plan, journal=journal)
    names = part_names(job)
    assert len(names) >= 3
    for name in names:
        content = (job.attempt_files(1) / name).read_bytes()
        assert sha256_hex(content) in name
        assert content in journal.contents.values()
    passed = job.edges.passed
    for name in names:
        part = name[: len("part-000000")]
        frozen, put, marked = (f"after freeze {part}", f"before put {name}", f"before mark {part}")
        assert passed.index(frozen) < passed.index(put) < passed.index(marked)
    assert all(part.uploaded for part in journal.frozen.values())


@pytest.mark.parametrize("edge", ["after freeze part-", "after put part-"])
async def test_a_repeated_upload_is_harmless(job: Job, edge: str) -> None:
    """A part that was frozen but not uploaded, or uploaded but not marked, is uploaded under the same name."""
    job.add_clips(5)
    plan = planned(await job.plan())
    journal = await interrupted(job, plan, edge)
    not_uploaded = [part for part in journal.frozen.values() if not part.uploaded]
    assert not_uploaded
    result = await job.process(plan, journal=journal)
    assert all((job.folder / part.ref.path).read_bytes() == journal.contents[part.number] for part in not_uploaded)
    assert all(part.uploaded for part in journal.frozen.values())
    assert sorted(path.rpartition("/")[2] for path in (ref.path for ref in read_commit(job).parts)) == part_names(job)
    assert result.counts is not None and result.counts.succeeded == 5


async def test_a_row_is_durable_before_the_next_clip_is_done_and_never_repeated(job: Job) -> None:
    job.add_clips(4)
    plan = planned(await job.plan())
    journal = await interrupted(job, plan, "after record row")
    (done,) = journal.rows
    lane = StubLane(journal)
    await job.process(plan, journal=journal, lane=lane)
    assert sorted(lane.worked_on) == sorted({0, 1, 2, 3} - {done})


# Base


async def test_the_base_is_frozen_and_uploaded_before_the_first_clip(job: Job) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    await job.process(plan)
    passed = job.edges.passed
    assert (
        passed.index("after freeze base")
        < passed.index("before put base.json")
        < passed.index("after put base.json")
        < passed.index("before download 000.wav")
    )
    assert read_base(job, 1).parts == ()


async def test_an_attempt_inherits_the_latest_base_and_that_attempt_s_own_parts(job: Job) -> None:
    job.add_clips(7)
    plan = planned(await job.plan())
    await interrupted(job, plan, "after put part-000000")
    first = set(part_names(job, 1))
    assert len(first) == 1
    await interrupted(job, plan, "after put part-000000", attempt=2)
    second = set(part_names(job, 2))
    # Attempt 3 ended before it uploaded a base, so attempt 4 cannot inherit from it.
    await interrupted(job, plan, "after freeze base", attempt=3)
    lane = StubLane()
    result = await job.process(plan, attempt=4, lane=lane)
    assert {ref.path.rpartition("/")[2] for ref in read_base(job, 2).parts} == first
    assert [ref.path.rpartition("/")[2] for ref in read_base(job, 4).parts] == [*sorted(first), *sorted(second)]
    inherited = {index for ref in read_base(job, 4).parts for index in decode(ref.indexes)}
    assert sorted(lane.worked_on) == sorted(set(range(7)) - inherited)
    assert [row.index for row in rows_of(job, 4)] == list(range(7))
    assert {row.attempt for row in rows_of(job, 4)} == {1, 2, 4}
    assert result.counts is not None and result.counts.succeeded == 7


async def test_rows_of_another_model_are_not_inherited(job: Job) -> None:
    """As after a finished run whose model was replaced: whoever goes back to a model finds its rows again."""
    job.add_clips(5)
    plan = planned(await job.plan())
    await interrupted(job, plan, "after put part-000000")
    job.models, job.plan_attempt = FixedModel(f"sha256:{'9' * 64}"), 2
    other = planned(await job.plan(attempt=2))
    await interrupted(job, other, "after put part-000000", attempt=2)
    await job.process(other, attempt=3)
    assert {row.attempt for row in rows_of(job, 3)} == {2, 3}
    job.models, job.plan_attempt = FixedModel(plan.model_digest), 1
    await job.process(plan, attempt=4)
    assert {row.attempt for row in rows_of(job, 4)} == {1, 4}


def as_older_agents_wrote(base: bytes, *unknown: str) -> bytes:
    fields = json.loads(base)
    return canonical_json({name: value for name, value in fields.items() if name not in unknown})


@pytest.mark.parametrize(
    ("unknown", "plan_attempt", "inherited"),
    [
        (["modelDigest"], 1, True),
        (["modelDigest"], 2, False),
        (["modelDigest", "planAttempt"], 1, False),
    ],
)
async def test_a_base_without_a_model_has_the_one_of_its_plan(
    job: Job, unknown: list[str], plan_attempt: int, *, inherited: bool
) -> None:
    job.add_clips(5)
    await interrupted(job, planned(await job.plan()), "after put part-000000")
    base = job.attempt_files(1) / "base.json"
    base.write_bytes(as_older_agents_wrote(base.read_bytes(), *unknown))
    job.plan_attempt = plan_attempt
    await job.process(planned(await job.plan(attempt=plan_attempt)), attempt=2)
    assert {row.attempt for row in rows_of(job, 2)} == ({1, 2} if inherited else {2})


async def test_an_attempt_goes_on_with_a_base_that_an_older_agent_froze(job: Job) -> None:
    job.add_clips(5)
    plan = planned(await job.plan())
    await interrupted(job, plan, "after put part-000000")
    journal = await interrupted(job, plan, "after put part-000000", attempt=2)
    assert journal.base_content is not None
    journal.base_content = as_older_agents_wrote(journal.base_content, "modelDigest", "planAttempt")
    (job.attempt_files(2) / "base.json").write_bytes(journal.base_content)
    await job.process(plan, attempt=2, journal=journal)
    assert {row.attempt for row in rows_of(job, 2)} == {1, 2}


async def test_the_parts_are_listed_once_and_the_base_never_changes(job: Job) -> None:
    job.add_clips(5)
    plan = planned(await job.plan())
    late = await interrupted(job, plan, "after put part-000000")
    journal = await interrupted(job, plan, "before download", attempt=2)
    frozen = read_base(job, 2)
    # The lost Mac returns and delivers more parts after the base was frozen. They are not inherited.
    await job.process(plan, attempt=1, journal=late)
    assert len(part_names(job, 1)) > len(frozen.parts)
    job.edges.passed.clear()
    lane = StubLane()
    await job.process(plan, attempt=2, journal=journal, lane=lane)
    assert read_base(job, 2) == frozen
    assert not any("list" in name for name in job.edges.passed)
    inherited = {index for ref in frozen.parts for index in decode(ref.indexes)}
    assert sorted(lane.worked_on) == sorted(set(range(5)) - inherited)
    assert [row.index for row in rows_of(job, 2)] == list(range(5))


@pytest.mark.parametrize("hidden", ["part-", "base.json"])
async def test_a_stale_listing_repeats_work_and_never_changes_results(job: Job, hidden: str) -> None:
    job.add_clips(5)
    plan = planned(await job.plan())
    await interrupted(job, plan, "after put part-000001")

    class Stale(WatchedStorage):
        async def list_names(self, prefix: str, limit: int) -> list[str]:
            return [name for name in await super().list_names(prefix, limit) if hidden not in name]

    lane = StubLane()
    await job.process(plan, attempt=2, lane=lane, storage=Stale(job.allow, job.edges))
    assert sorted(lane.worked_on) == list(range(5))
    assert [row.index for row in rows_of(job, 2)] == list(range(5))


async def test_inherited_clips_are_matched_by_object_version(job: Job) -> None:
    job.add_clips(4)
    plan = planned(await job.plan())
    await interrupted(job, plan, "after put part-000001")
    old, kept = [job.attempt_files(1) / name for name in part_names(job, 1)]
    etag = job.manifest()[0].etag
    assert etag is not None
    content = old.read_bytes().replace(b'"etag":"', b'"etag":"0')
    old.unlink()
    (job.attempt_files(1) / f"part-000000-{sha256_hex(content)}.jsonl").write_bytes(content)
    await job.process(plan, attempt=2)
    assert [ref.path.rpartition("/")[2] for ref in read_base(job, 2).parts] == [kept.name]
    assert all(row.etag == clip.etag for row, clip in zip(rows_of(job, 2), job.manifest(), strict=True))


async def test_the_clips_of_a_damaged_part_run_again(job: Job) -> None:
    job.add_clips(4)
    plan = planned(await job.plan())
    await interrupted(job, plan, "after put part-000001")
    damaged, kept = [job.attempt_files(1) / name for name in part_names(job, 1)]
    damaged.write_bytes(damaged.read_bytes()[:-5])
    await job.process(plan, attempt=2)
    assert [ref.path.rpartition("/")[2] for ref in read_base(job, 2).parts] == [kept.name]
    assert [row.text for row in rows_of(job, 2)] == job.expected_texts()


async def test_an_attempt_whose_journal_was_lost_ends_and_the_next_one_inherits(job: Job) -> None:
    job.add_clips(4)
    plan = planned(await job.plan())
    await interrupted(job, plan, "after put part-000000")
    await interrupted(job, plan, "after put part-000000", attempt=2)
    shutil.rmtree(job.attempt_files(1))  # so that a new journal would freeze another base
    with pytest.raises(VoxFleetError, match="journal") as caught:
        await job.process(plan, attempt=2)
    assert caught.value.failure_class is FailureClass.MACHINE_LOST
    await job.process(plan, attempt=3)
    assert [row.index for row in rows_of(job, 3)] == list(range(4))


# Commit


async def test_commit_json_names_base_and_own_parts_with_sha256_ranges_and_counts(job: Job) -> None:
    job.add_clips(5)
    plan = planned(await job.plan())
    await interrupted(job, plan, "after put part-000000")
    result = await job.process(plan, attempt=2)
    content = (job.attempt_files(2) / "commit.json").read_bytes()
    commit = Commit.model_validate_json(content)
    assert result.commit_sha256 == sha256_hex(content)
    assert (commit.shard_uid, commit.attempt, commit.indexes) == ("shard-0", 2, "0-4")
    assert commit.parts[: len(read_base(job, 2).parts)] == read_base(job, 2).parts
    for ref in commit.parts:
        part = (job.folder / ref.path).read_bytes()
        assert sha256_hex(part) == ref.sha256
        assert [json.loads(line)["index"] for line in part.splitlines()] == decode(ref.indexes)
    assert commit.counts == result.counts
    assert commit.counts.succeeded == 5
    assert job.edges.passed[-1] == "after put commit.json"


async def test_a_second_run_of_a_finished_attempt_gives_the_same_commit(job: Job) -> None:
    job.add_clips(3)
    plan = planned(await job.plan())
    journal, lane = MemoryJournal(job.edges), StubLane()
    first = await job.process(plan, journal=journal)
    assert await job.process(plan, journal=journal, lane=lane) == first
    assert lane.worked_on == []


async def test_late_parts_of_a_superseded_attempt_change_nothing(job: Job) -> None:
    job.add_clips(4)
    plan = planned(await job.plan())
    late = await interrupted(job, plan, "after put part-000000")
    result = await job.process(plan, attempt=2)
    await job.finalize(plan, [commit_ref(result, attempt=2)])
    before = {name: (job.folder / name).read_bytes() for name in ("results.jsonl", "errors.jsonl", "index.json")}
    await job.process(plan, attempt=1, journal=late)
    assert (job.attempt_files(1) / "commit.json").exists()
    await job.finalize(plan, [commit_ref(result, attempt=2)], attempt=2)
    assert before == {name: (job.folder / name).read_bytes() for name in before}
    assert [row.index for row in job.results()] == list(range(4))


class Counting(SqliteStageJournal):
    """Sets `three` once three rows are durable."""

    def __init__(self, journal: Journal, key: AttemptKey) -> None:
        super().__init__(journal, key)
        self.count = 0
        self.three = asyncio.Event()

    async def record_rows(self, rows: Sequence[ResultRow]) -> None:
        await super().record_rows(rows)
        self.count += len(rows)
        if self.count >= 3:
            self.three.set()


async def test_a_real_journal_carries_an_attempt_over_an_interruption(job: Job) -> None:
    """Repeats the test with SQLite, to show that the real journal does what the one in memory does."""
    job.add_clips(5)
    plan = planned(await job.plan())
    journal = await Journal.open(job.root / "state", job.root / "state" / "journal.sqlite3")
    try:
        lane = StubLane()

        async def stop(task: ClipTask) -> None:
            if len(lane.worked_on) == 3:
                await attempt.three.wait()
                raise StoppedError

        lane.before = stop
        attempt = Counting(journal, AttemptKey("shard-0", 1))
        with pytest.raises(BaseExceptionGroup):
            await job.process(plan, journal=attempt, lane=lane)
        recorded = await attempt.recorded_indexes()
        assert len(recorded) == 3
        lane = StubLane()
        result = await job.process(plan, journal=attempt, lane=lane)
        assert set(lane.worked_on) == set(range(5)) - recorded
        await job.finalize(plan, [commit_ref(result)])
        assert [row.text for row in job.results()] == job.expected_texts()
    finally:
        await journal.close()
