"""The evidence of a quarantined clip, which is safe before its row."""

from __future__ import annotations

from tests.component.stages.stage_reading import interrupted, rows_of
from tests.component.stages.stage_rig import Job, planned, write_wav
from tests.component.stages.stage_stubs import StubLane, StubQuarantine

from voxfleet_api.digest import sha256_hex
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.job_input import ClipInput, JobInput
from voxfleet_api.rows import ClipStatus, Evidence


def read_evidence(job: Job, index: int) -> Evidence:
    return Evidence.model_validate_json((job.folder / "quarantine" / f"{index:06d}.json").read_bytes())


async def test_each_quarantined_clip_leaves_evidence_before_its_row(job: Job) -> None:
    job.add_clips(4)
    write_wav(job.clips / "000.wav", 0, rate_hz=8000)  # refused by Plan
    uri = job.clips.as_uri()
    clips = tuple(
        ClipInput(id=f"c{number}", uri=f"{uri}/{number:03d}.wav", sha256="0" * 64 if number == 1 else None)
        for number in range(4)
    )
    plan = planned(await job.plan(job_input=JobInput(clips=clips)))
    lane = StubLane()
    lane.failures[2] = (FailureClass.DECODE_ERROR, "ends early")
    job.quarantine = kept = StubQuarantine(job.edges)
    job.edges.passed.clear()
    await job.process(plan, lane=lane)

    contents = {number: (job.clips / f"{number:03d}.wav").read_bytes() for number in range(4)}
    refused, wrong, broken = (read_evidence(job, index) for index in range(3))
    assert (refused.failure_class, refused.head, refused.sha256) == (FailureClass.CONTRACT_VIOLATION, "", None)
    assert wrong.failure_class is FailureClass.CHECKSUM_MISMATCH and wrong.sha256 == sha256_hex(contents[1])
    assert (broken.custom_id, broken.reason, broken.head) == ("c2", "ends early", contents[2][:64].hex())
    assert (broken.size_bytes, broken.etag) == (len(contents[2]), job.manifest()[2].etag)
    assert not (job.folder / "quarantine" / "000003.json").exists()
    assert sorted((evidence.index, clip) for evidence, clip in kept.kept) == [
        (0, None),
        (1, contents[1]),
        (2, contents[2]),
    ]
    passed = job.edges.passed
    for index in range(3):
        put = passed.index(f"after put {index:06d}.json")
        assert put < passed.index(f"keep {index}")


async def test_a_row_is_not_recorded_before_its_evidence_is_safe(job: Job) -> None:
    job.add_clips(1)
    plan = planned(await job.plan())
    bad = StubLane()
    bad.failures[0] = (FailureClass.DECODE_ERROR, "ends early")
    for edge in ("before put 000000.json", "keep 0"):
        journal = await interrupted(job, plan, edge, lane=bad)
        assert journal.rows == {}
    before = (job.folder / "quarantine" / "000000.json").read_bytes()
    await job.process(plan, journal=journal, lane=bad)
    assert (job.folder / "quarantine" / "000000.json").read_bytes() == before
    assert [row.status for row in rows_of(job)] == [ClipStatus.QUARANTINED]


async def test_a_failed_clip_leaves_no_evidence(job: Job) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    (job.clips / "000.wav").unlink()
    await job.process(plan)
    assert rows_of(job)[0].status is ClipStatus.FAILED
    assert not (job.folder / "quarantine").exists()
