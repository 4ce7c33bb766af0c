"""DESIGN section 4: what Process verifies, and what its rows contain."""

from __future__ import annotations

import os
import shutil
from collections import Counter

import pytest
from tests.component.stages.stage_reading import rows_of
from tests.component.stages.stage_rig import Job, planned, touch_later, write_wav
from tests.component.stages.stage_stubs import (
    CLIP_MILLISECONDS,
    FixedModel,
    StubLane,
    WatchedStorage,
    text_of,
)

from voxfleet_agent.stages.process.process_stage import run_process
from voxfleet_agent.storage import Listing, ObjectVersion
from voxfleet_agent.storage.listing import EnterFolder, every_folder
from voxfleet_api.digest import sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_input import ClipInput, JobInput
from voxfleet_api.rows import ClipStatus

# Process verifies manifest, contract and model


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"manifest_sha256": "0" * 64}, "another manifest"),
        ({"model_digest": "sha256:" + "0" * 64}, "names the model"),
        ({"boundaries_digest": "sha256:" + "0" * 64}, "other shard boundaries"),
        ({"ordinal": 2}, "no shard 2"),
        ({"ordinal": 1}, "holds the clips 2-3, not 0-1"),
        ({"indexes": "0-2"}, "holds the clips 0-1, not 0-2"),
    ],
)
async def test_process_refuses_what_the_job_did_not_freeze(job: Job, changes: dict[str, object], words: str) -> None:
    job.add_clips(4)
    plan = planned(await job.plan(shard_audio_milliseconds=400))
    lane, spec = StubLane(), job.process_spec(plan)
    assert spec.process is not None
    spec = spec.model_copy(update={"process": spec.process.model_copy(update=changes)})
    with pytest.raises(VoxFleetError, match=words) as caught:
        await run_process(job.context(spec, lane=lane))
    assert caught.value.failure_class is FailureClass.PLAN_MISMATCH
    assert lane.worked_on == []


async def test_process_refuses_a_manifest_whose_bytes_changed(job: Job) -> None:
    job.add_clips(1)
    plan = planned(await job.plan())
    manifest = job.folder / "plan" / "1" / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes().replace(b"000.wav", b"999.wav"))
    with pytest.raises(VoxFleetError, match=r"manifest\.jsonl has sha256") as caught:
        await job.process(plan)
    assert caught.value.failure_class is FailureClass.PLAN_MISMATCH


async def test_process_refuses_another_contract(job: Job) -> None:
    job.add_clips(1)
    plan = planned(await job.plan())
    spec = job.process_spec(plan).model_copy(update={"contract_digest": "sha256:" + "0" * 64})
    with pytest.raises(VoxFleetError, match="names the contract") as caught:
        await run_process(job.context(spec, lane=StubLane()))
    assert caught.value.failure_class is FailureClass.PLAN_MISMATCH


async def test_process_refuses_another_model_than_the_plan_s(job: Job) -> None:
    job.add_clips(1)
    plan = planned(await job.plan())
    job.models = FixedModel("sha256:" + "6" * 64)
    with pytest.raises(VoxFleetError, match="install the same files") as caught:
        await job.process(plan)
    assert caught.value.failure_class is FailureClass.MODEL_MISMATCH


# Process reads the version that Plan saw


@pytest.mark.parametrize("change", ["time", "size", "bytes under the same size"])
async def test_an_object_that_changed_since_plan_is_input_changed(job: Job, change: str) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    clip = job.clips / "001.wav"
    if change == "size":
        clip.write_bytes(clip.read_bytes() + b"x")
    elif change != "time":
        write_wav(clip, 77)
    touch_later(clip)
    lane = StubLane()
    await job.process(plan, lane=lane)
    good, changed = rows_of(job)
    assert good.status is ClipStatus.SUCCEEDED
    assert changed.status is ClipStatus.QUARANTINED
    assert changed.error is not None and changed.error.failure_class is FailureClass.INPUT_CHANGED
    assert lane.worked_on == [0]


async def test_a_copy_with_the_same_time_and_bytes_is_the_same_version(job: Job) -> None:
    """The copy has another inode, as another Mac may report for the same shared file."""
    job.add_clips(1)
    plan = planned(await job.plan())
    shutil.copy2(job.clips / "000.wav", job.root / "copy.wav")
    (job.root / "copy.wav").replace(job.clips / "000.wav")
    await job.process(plan)
    assert [row.status for row in rows_of(job)] == [ClipStatus.SUCCEEDED]


# A Mac that cannot see the folders


async def test_a_mac_without_the_output_folder_is_asked_to_share_it(job: Job) -> None:
    job.add_clips(1)
    plan = planned(await job.plan())
    (job.folder / "plan" / "1" / "nonce").unlink()
    with pytest.raises(VoxFleetError, match="s3://") as caught:
        await job.process(plan)
    assert caught.value.failure_class is FailureClass.OUTPUT_NOT_SHARED


async def test_a_mac_without_the_input_folder_is_asked_to_share_it(job: Job) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    shutil.rmtree(job.clips)
    with pytest.raises(VoxFleetError, match="s3://") as caught:
        await job.process(plan)
    assert caught.value.failure_class is FailureClass.INPUT_NOT_SHARED


async def test_one_machine_is_not_told_to_share_its_folders(job: Job) -> None:
    job.add_clips(2)
    job.one_machine = True
    plan = planned(await job.plan())
    job.clips.rename(job.root / "unmounted")
    with pytest.raises(VoxFleetError, match="mount the volume again or put the clips back") as lost_input:
        await job.process(plan)
    (job.root / "unmounted").rename(job.clips)
    (job.folder / "plan" / "1" / "nonce").unlink()
    with pytest.raises(VoxFleetError, match="gone from the output") as lost_output:
        await job.process(plan)
    assert lost_input.value.failure_class is FailureClass.INPUT_NOT_FOUND
    assert lost_output.value.failure_class is FailureClass.PLAN_MISMATCH
    for error in (lost_input.value, lost_output.value):
        assert not any(word in error.message for word in ("s3://", "macSelector", "another one", "every Mac"))


async def test_a_clip_that_was_deleted_since_plan_fails_alone(job: Job) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    (job.clips / "000.wav").unlink()
    await job.process(plan)
    gone, good = rows_of(job)
    assert gone.status is ClipStatus.FAILED
    assert gone.error is not None and gone.error.failure_class is FailureClass.INPUT_NOT_FOUND
    assert good.status is ClipStatus.SUCCEEDED


async def test_a_first_clip_that_cannot_be_read_any_more_fails_alone(job: Job) -> None:
    job.add_clips(3)
    plan = planned(await job.plan())
    (job.clips / "000.wav").unlink()
    os.mkfifo(job.clips / "000.wav")
    await job.process(plan)
    assert [row.status for row in rows_of(job)] == [ClipStatus.FAILED, ClipStatus.SUCCEEDED, ClipStatus.SUCCEEDED]
    assert (error := rows_of(job)[0].error) is not None and error.failure_class is FailureClass.INVALID_INPUT


async def test_clips_that_all_became_unreadable_fail_one_by_one(job: Job) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    for clip in sorted(job.clips.iterdir()):
        clip.unlink()
        os.mkfifo(clip)
    (job.clips / "other.wav").write_bytes(b"")
    await job.process(plan)
    assert [row.status for row in rows_of(job)] == [ClipStatus.FAILED, ClipStatus.FAILED]


@pytest.mark.parametrize("verb", ["head", "list"])
async def test_the_check_of_the_input_folder_is_retried(job: Job, verb: str) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    failures = ["head 001.wav"] if verb == "head" else ["list "]
    calls: Counter[str] = Counter()
    if verb == "list":
        (job.clips / "other.wav").write_bytes(b"")
        for number in range(2):
            (job.clips / f"00{number}.wav").unlink()

    class Faulted(WatchedStorage):
        def fault(self, name: str) -> None:
            calls[name] += 1
            if name in failures:
                failures.remove(name)
                raise VoxFleetError(FailureClass.TRANSPORT, "told to fail")

        async def head(self, uri: str) -> ObjectVersion:
            self.fault(f"head {uri.rpartition('/')[2]}")
            return await super().head(uri)

        async def list_objects(self, prefix: str, limit: int, enter: EnterFolder = every_folder) -> Listing:
            if prefix == f"{job.clips.as_uri()}/":
                self.fault("list ")
            return await super().list_objects(prefix, limit, enter)

    if verb == "head":
        (job.clips / "000.wav").unlink()
    await job.process(plan, storage=Faulted(job.allow, job.edges))
    assert failures == []
    assert calls["head 001.wav" if verb == "head" else "list "] == 2
    assert len(rows_of(job)) == 2


# Rows


async def test_rows_carry_what_the_design_lists(job: Job) -> None:
    job.add_clips(1)
    plan = planned(await job.plan())
    result = await job.process(plan, attempt=3)
    (row,) = rows_of(job, 3)
    content = (job.clips / "000.wav").read_bytes()
    assert (row.custom_id, row.index, row.status, row.text) == ("000.wav", 0, ClipStatus.SUCCEEDED, text_of(content))
    assert (row.sha256, row.etag, row.batch_size, row.attempt) == (sha256_hex(content), job.manifest()[0].etag, 1, 3)
    assert (row.chip, row.versions, row.audio_milliseconds) == ("M4", {"mlx": "0.32.4"}, CLIP_MILLISECONDS)
    assert row.timings is not None and (row.timings.decode_milliseconds, row.timings.infer_milliseconds) == (1, 2)
    assert row.attestation is not None and row.attestation.decoder == "stub 1"
    assert (job.metered_milliseconds, job.metered_clips) == ([CLIP_MILLISECONDS], 1)
    assert job.progress[-1] == (1, 1)
    assert result.counts is not None and result.counts.succeeded == 1


async def test_a_wrong_checksum_is_quarantined_and_costs_no_sibling_anything(job: Job) -> None:
    job.add_clips(2)
    uri = job.clips.as_uri()
    clips = (ClipInput(id="a", uri=f"{uri}/000.wav", sha256="0" * 64), ClipInput(id="b", uri=f"{uri}/001.wav"))
    plan = planned(await job.plan(job_input=JobInput(clips=clips)))
    lane = StubLane()
    result = await job.process(plan, lane=lane)
    wrong, good = rows_of(job)
    assert wrong.error is not None and wrong.error.failure_class is FailureClass.CHECKSUM_MISMATCH
    actual = sha256_hex((job.clips / "000.wav").read_bytes())
    assert "000000000000…" in wrong.error.reason and actual[:12] in wrong.error.reason
    assert "wav" not in wrong.error.reason, "no file name reaches status"
    assert (wrong.sha256, good.status) == (actual, ClipStatus.SUCCEEDED)
    assert lane.worked_on == [1]
    assert [(clip.index, clip.id) for clip in result.quarantine] == [(0, "a")]


async def test_what_plan_refused_becomes_a_row_without_a_fetch(job: Job) -> None:
    write_wav(job.clips / "a.wav", 1, rate_hz=8000)
    plan = planned(await job.plan())
    lane = StubLane()
    result = await job.process(plan, lane=lane)
    (row,) = rows_of(job)
    assert row.status is ClipStatus.QUARANTINED
    assert row.error == job.manifest()[0].refusal
    assert (lane.loaded, lane.worked_on) == ([], [])
    assert not any("download" in name for name in job.edges.passed)
    assert result.quarantine[0].failure_class is FailureClass.CONTRACT_VIOLATION


@pytest.mark.parametrize(
    ("failure_class", "status"),
    [
        (FailureClass.DECODE_ERROR, ClipStatus.QUARANTINED),
        (FailureClass.LANE_CRASHED, ClipStatus.QUARANTINED),
        (FailureClass.GPU_ABORT_TIMEOUT, ClipStatus.FAILED),
    ],
)
async def test_a_verdict_s_class_decides_between_quarantined_and_failed(
    job: Job, failure_class: FailureClass, status: ClipStatus
) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    lane = StubLane()
    lane.failures[0] = (failure_class, "because " * 60)
    await job.process(plan, lane=lane)
    bad, good = rows_of(job)
    assert (bad.status, bad.text, good.status) == (status, None, ClipStatus.SUCCEEDED)
    assert bad.error is not None and len(bad.error.reason) == 256
