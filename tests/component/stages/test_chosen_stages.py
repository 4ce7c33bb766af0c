"""A job of some clips of an input, and a rerun of some clips of an ended job, from Plan to the merged results."""

from __future__ import annotations

import pytest
from tests.component.stages.stage_rig import Job, commit_ref, planned, touch_later, write_wav

from voxfleet_api.attempt_spec import PlanSource
from voxfleet_api.digest import sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_input import ClipInput, JobInput
from voxfleet_api.kinds.job_source import SourceSelect
from voxfleet_api.results import ResultIndex
from voxfleet_api.rows import ClipStatus, ResultRow

AGAIN_UID = "1a1a1a1a-0000-4000-8000-000000000000"
NAMES = ("gone", "slow-rate", "good", "late", "good-too", "later")
"""slow-rate breaks the contract, gone does not exist, late and later did not run."""


def again(job: Job) -> Job:
    """A new job beside the other one."""
    return Job(job.root, uid=AGAIN_UID)


async def run_all(job: Job, **plan: object) -> list[ResultRow]:
    found = planned(await job.plan(**plan))  # type: ignore[arg-type] # the arguments of Job.plan
    commits = [
        commit_ref(await job.process(found, ordinal=ordinal), ordinal=ordinal)
        for ordinal in range(len(found.boundaries) - 1)
    ]
    await job.finalize(found, commits)
    return job.results()


async def ended(job: Job) -> list[ResultRow]:
    """A job with a clip of every kind."""
    for number, name in enumerate(NAMES):
        if name != "gone":
            write_wav(job.clips / f"{name}.wav", number, rate_hz=8000 if name == "slow-rate" else 16000)
    clips = tuple(ClipInput(id=name, uri=(job.clips / f"{name}.wav").as_uri()) for name in NAMES)
    plan = planned(await job.plan(job_input=JobInput(clips=clips), shard_audio_milliseconds=200))
    last = len(plan.boundaries) - 2
    commits = []
    for ordinal in range(last + 1):
        names = NAMES[plan.boundaries[ordinal] : plan.boundaries[ordinal + 1]]
        if not any(name.startswith("late") for name in names):
            commits.append(commit_ref(await job.process(plan, ordinal=ordinal), ordinal=ordinal))
    await job.finalize(plan, commits)
    return job.results()


def source_of(job: Job, select: SourceSelect, indexes: str | None = None, **changed: str) -> PlanSource:
    index = (job.folder / "index.json").read_bytes()
    fields: dict[str, str] = {"folder": job.folder.as_uri(), "index_sha256": sha256_hex(index), **changed}
    return PlanSource(
        folder=fields["folder"],
        index_sha256=fields["index_sha256"],
        plan_attempt=1,
        select=select,
        indexes=indexes,
    )


async def test_a_job_of_some_clips_has_these_rows_and_no_others(job: Job) -> None:
    job.add_clips(10)
    texts = job.expected_texts()
    rows = await run_all(job, only="3,7-9", shard_audio_milliseconds=400)
    assert [(row.index, row.source_index, row.custom_id) for row in rows] == [
        (0, 3, "003.wav"),
        (1, 7, "007.wav"),
        (2, 8, "008.wav"),
        (3, 9, "009.wav"),
    ]
    assert [row.text for row in rows] == [texts[number] for number in (3, 7, 8, 9)]
    index = ResultIndex.model_validate_json((job.folder / "index.json").read_bytes())
    assert index.total == index.counts.succeeded == 4 and index.counts.not_run == 0, (
        "the others are no clips of the job"
    )


async def test_what_was_not_chosen_is_counted(job: Job) -> None:
    job.add_clips(5)
    (job.clips / ".hidden").write_bytes(b"x")
    selection = planned(await job.plan(only="0,4")).selection
    assert selection is not None and selection.text == "6 listed, 2 taken, 1 Hidden, 3 NotChosen"


async def test_an_index_that_the_input_does_not_have_is_refused_with_the_number_of_clips(job: Job) -> None:
    job.add_clips(5)
    with pytest.raises(VoxFleetError, match=r"spec\.only names clip 5, but the input has 5 clips: 0 to 4"):
        await job.plan(only="1,5")


@pytest.mark.parametrize(
    ("select", "indexes", "expected"),
    [
        (SourceSelect.FAILED, None, ["gone"]),
        (SourceSelect.QUARANTINED, None, ["slow-rate"]),
        (SourceSelect.NOT_RUN, None, ["late", "later"]),
        (SourceSelect.NOT_RUN, "5", ["later"]),
        (SourceSelect.INDEXES, "0,2,5", ["gone", "good", "later"]),
    ],
)
async def test_a_rerun_takes_the_clips_that_it_selects(
    job: Job, select: SourceSelect, indexes: str | None, expected: list[str]
) -> None:
    before = await ended(job)
    rerun = again(job)
    await rerun.plan(source=source_of(job, select, indexes))
    rows = rerun.manifest()
    assert [row.custom_id for row in rows] == expected
    assert [row.source_index for row in rows] == [NAMES.index(name) for name in expected]
    by_id = {row.custom_id: row for row in before}
    assert [row.etag for row in rows] == [by_id[name].etag for name in expected]


async def test_a_rerun_has_results_of_its_own_and_leaves_the_others_alone(job: Job) -> None:
    before = await ended(job)
    assert [row.status for row in before] == [
        ClipStatus.FAILED,
        ClipStatus.QUARANTINED,
        ClipStatus.SUCCEEDED,
        ClipStatus.NOT_RUN,
        ClipStatus.SUCCEEDED,
        ClipStatus.NOT_RUN,
    ]
    write_wav(job.clips / "gone.wav", 2)
    rerun = again(job)
    rows = await run_all(rerun, source=source_of(job, SourceSelect.FAILED))
    assert [(row.index, row.source_index, row.custom_id, row.status) for row in rows] == [
        (0, 0, "gone", ClipStatus.SUCCEEDED)
    ]
    assert job.results() == before


async def test_a_rerun_of_a_rerun_names_the_indexes_of_the_one_before(job: Job) -> None:
    await ended(job)
    first, second = again(job), Job(job.root, uid="2b2b2b2b-0000-4000-8000-000000000000")
    rows = await run_all(first, source=source_of(job, SourceSelect.INDEXES, "1,3"))
    assert [row.status for row in rows] == [ClipStatus.QUARANTINED, ClipStatus.SUCCEEDED]
    await second.plan(source=source_of(first, SourceSelect.INDEXES, "1"))
    assert [(row.custom_id, row.source_index) for row in second.manifest()] == [("late", 1)]


async def test_another_contract_may_take_what_was_refused(job: Job) -> None:
    await ended(job)
    rerun = again(job)
    wider = rerun.contract.input.model_copy(update={"sample_rates_hz": (8000, 16000)})
    rerun.contract = rerun.contract.model_copy(update={"input": wider})
    rows = await run_all(rerun, source=source_of(job, SourceSelect.QUARANTINED))
    assert [(row.custom_id, row.status) for row in rows] == [("slow-rate", ClipStatus.SUCCEEDED)]


async def test_a_clip_that_was_replaced_since_is_another_clip(job: Job) -> None:
    await ended(job)
    touch_later(job.clips / "late.wav")
    rerun = again(job)
    rows = await run_all(rerun, source=source_of(job, SourceSelect.NOT_RUN))
    assert [(row.custom_id, row.status) for row in rows] == [
        ("late", ClipStatus.QUARANTINED),
        ("later", ClipStatus.SUCCEEDED),
    ]
    assert rows[0].error is not None and rows[0].error.failure_class is FailureClass.INPUT_CHANGED


async def refusal(job: Job, source: PlanSource) -> VoxFleetError:
    with pytest.raises(VoxFleetError) as caught:
        await again(job).plan(source=source)
    return caught.value


async def test_results_that_are_gone_or_others_are_refused(job: Job) -> None:
    await ended(job)
    source = source_of(job, SourceSelect.FAILED)
    other = source_of(job, SourceSelect.FAILED, index_sha256="b" * 64)
    assert (await refusal(job, other)).failure_class is FailureClass.PLAN_MISMATCH
    for name in ("errors.jsonl", "plan/1/manifest.jsonl"):
        content = (job.folder / name).read_bytes()
        (job.folder / name).write_bytes(content.replace(b"gone", b"g0ne"))
        found = await refusal(job, source)
        assert found.failure_class is FailureClass.PLAN_MISMATCH and name.rpartition("/")[2] in found.message
        (job.folder / name).write_bytes(content)
    (job.folder / "index.json").unlink()
    gone = await refusal(job, source)
    assert gone.failure_class is FailureClass.INPUT_NOT_FOUND
    assert "no longer has the results that its status names, write input instead" in gone.message


async def test_a_rerun_of_nothing_is_refused(job: Job) -> None:
    job.add_clips(2)
    await run_all(job)
    nothing = await refusal(job, source_of(job, SourceSelect.FAILED))
    assert nothing.failure_class is FailureClass.INVALID_INPUT and "has none that failed" in nothing.message
    beyond = await refusal(job, source_of(job, SourceSelect.INDEXES, "2"))
    assert "names clip 2, but the job that spec.source names has 2 clips: 0 to 1" in beyond.message


async def test_a_clip_of_another_kind_is_not_released_by_mistake(job: Job) -> None:
    await ended(job)
    found = await refusal(job, source_of(job, SourceSelect.QUARANTINED, "0-1"))
    assert (
        found.failure_class is FailureClass.INVALID_INPUT and "are not such that are in quarantine: 0;" in found.message
    )
