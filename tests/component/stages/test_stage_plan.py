"""DESIGN section 4, "Plan is frozen before anything runs": the agent's part of it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import struct
from pathlib import Path

import pytest
from tests.component.stages.stage_reading import rows_of
from tests.component.stages.stage_rig import CONTRACT, Job, frozen, planned, touch_later, write_wav
from tests.component.stages.stage_stubs import MODEL_DIGEST, FixedModel, WatchedStorage

from voxfleet_agent.stages.plan.header_inspection import MAX_HEADER_RANGES
from voxfleet_agent.stages.plan.plan_stage import HEADERS_AT_A_TIME
from voxfleet_agent.storage import ObjectVersion, RangeReader
from voxfleet_api.digest import digest_of, sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import ContractOutput, OutputFormat, Timestamps
from voxfleet_api.kinds.job_input import ClipInput, JobInput, ManifestInput, PrefixInput
from voxfleet_api.results import PlanFile
from voxfleet_api.rows import ClipStatus


async def test_plan_writes_a_manifest_with_size_and_etag_of_every_clip(job: Job) -> None:
    job.add_clips(3)
    await job.plan()
    rows = job.manifest()
    assert [row.index for row in rows] == [0, 1, 2]
    assert [row.custom_id for row in rows] == ["000.wav", "001.wav", "002.wav"]
    assert [row.size_bytes for row in rows] == [path.stat().st_size for path in sorted(job.clips.iterdir())]
    assert len({row.etag for row in rows}) == 3
    assert [row.audio_milliseconds for row in rows] == [200, 200, 200]


async def test_plan_returns_what_the_job_status_freezes(job: Job) -> None:
    job.add_clips(4)
    result = await job.plan(shard_audio_milliseconds=400)
    plan, folder = planned(result), job.folder / "plan" / "1"
    assert result.commit_sha256 == sha256_hex((folder / "plan.json").read_bytes())
    assert plan.manifest_sha256 == sha256_hex((folder / "manifest.jsonl").read_bytes())
    assert plan.model_digest == MODEL_DIGEST
    assert plan.boundaries == (0, 2, 4)
    assert plan.audio_seconds == "0.800"
    file = PlanFile.model_validate_json((folder / "plan.json").read_bytes())
    assert plan.model_dump(exclude={"model_bytes"}) == file.model_dump(exclude={"contract_digest"})
    contract = json.loads((job.folder / "contract.json").read_bytes())
    assert digest_of(contract) == file.contract_digest


async def test_plan_says_how_large_the_model_is(job: Job, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x" * 77)
    job.models = FixedModel(path=tmp_path)
    job.add_clips(1)
    assert planned(await job.plan()).model_bytes == 77
    assert planned(await job.plan()).model_bytes is None, "the plan was frozen before, and does not say"


async def test_plan_json_is_written_last(job: Job) -> None:
    job.add_clips(1)
    await job.plan()
    assert [name for name in job.edges.passed if name.startswith("after put")] == [
        "after put nonce",
        "after put contract.json",
        "after put manifest.jsonl",
        "after put skipped.jsonl",
        "after put plan.json",
    ]


async def test_a_frozen_plan_does_not_change_when_its_attempt_runs_again(job: Job) -> None:
    job.add_clips(2)
    first = await job.plan()
    write_wav(job.clips / "late.wav", 9)
    touch_later(job.clips / "000.wav")
    job.models = FixedModel("sha256:" + "6" * 64)
    assert await job.plan() == frozen(first)
    assert len(job.manifest()) == 2


async def test_a_header_that_breaks_the_contract_is_a_refusal_in_the_manifest(job: Job) -> None:
    write_wav(job.clips / "a.wav", 1)
    write_wav(job.clips / "b.wav", 2, rate_hz=8000)
    (job.clips / "c.wav").write_bytes(b"not audio at all")
    (job.clips / "d.wav").write_bytes(b"")
    await job.plan()
    refusals = [row.refusal.failure_class if row.refusal else None for row in job.manifest()]
    assert refusals == [
        None,
        FailureClass.CONTRACT_VIOLATION,
        FailureClass.UNSUPPORTED_CONTAINER,
        FailureClass.DECODE_ERROR,
    ]


async def test_clips_keep_their_order_and_a_missing_one_is_a_refusal(job: Job) -> None:
    job.add_clips(1)
    uri = job.clips.as_uri()
    clips = (ClipInput(id="gone", uri=f"{uri}/gone.wav"), ClipInput(id="here", uri=f"{uri}/000.wav", sha256="a" * 64))
    await job.plan(job_input=JobInput(clips=clips))
    gone, here = job.manifest()
    assert (gone.custom_id, gone.refusal and gone.refusal.failure_class) == ("gone", FailureClass.INPUT_NOT_FOUND)
    assert (here.custom_id, here.refusal, here.sha256) == ("here", None, "a" * 64)


async def test_clips_outside_the_allow_list_are_refused_and_links_do_not_lead_out(
    job: Job, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.wav"
    write_wav(outside, 1)
    (job.clips / "link.wav").symlink_to(outside)
    os.mkfifo(job.clips / "pipe.wav")
    await job.plan()
    owed = [FailureClass.ACCESS_DENIED, FailureClass.INVALID_INPUT]
    assert [row.refusal and row.refusal.failure_class for row in job.manifest()] == owed


async def test_a_manifest_names_clips_relative_to_itself(job: Job) -> None:
    job.add_clips(2)
    content = (job.clips / "001.wav").read_bytes()
    lines = [{"id": "b", "uri": "001.wav", "sha256": hashlib.sha256(content).hexdigest()}]
    lines.append({"id": "a", "uri": f"{job.clips.as_uri()}/000.wav"})
    manifest = job.clips / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    await job.plan(job_input=JobInput(manifest=ManifestInput(uri=manifest.as_uri())))
    assert [(row.custom_id, (row.uri or "").rpartition("/")[2], row.refusal) for row in job.manifest()] == [
        ("b", "001.wav", None),
        ("a", "000.wav", None),
    ]


async def test_a_prefix_takes_what_its_patterns_name_and_not_the_job_s_own_output(job: Job) -> None:
    job.add_clips(1)
    (job.clips / "deep").mkdir()
    write_wav(job.clips / "deep" / "x y#1%20.wav", 2)
    (job.clips / ".DS_Store").write_bytes(b"x")
    (job.clips / "notes.txt").write_bytes(b"x")
    everything = JobInput(prefix=PrefixInput(uri=f"{job.root.as_uri()}/", include=("*.wav", "nonce")))
    await job.plan(job_input=everything)
    rows = job.manifest()
    assert [row.custom_id for row in rows] == ["clips/000.wav", "clips/deep/x y#1%20.wav"]
    assert [row.refusal for row in rows] == [None, None]


async def test_an_empty_input_fails_the_plan(job: Job) -> None:
    with pytest.raises(VoxFleetError, match="no clips") as caught:
        await job.plan()
    assert caught.value.failure_class is FailureClass.INVALID_INPUT


async def test_an_outage_is_not_frozen_as_a_refusal(job: Job) -> None:
    job.add_clips(2)

    class Broken(WatchedStorage):
        async def open_reader(self, uri: str) -> tuple[ObjectVersion, RangeReader]:
            raise VoxFleetError(FailureClass.TRANSPORT, "the storage cannot be reached")

        async def head(self, uri: str) -> ObjectVersion:
            if uri.endswith("/plan.json"):  # Plan reads it first; everything after fails
                return await super().head(uri)
            raise VoxFleetError(FailureClass.TRANSPORT, "the storage cannot be reached")

    with pytest.raises(BaseExceptionGroup) as caught:
        await job.plan(storage=Broken(job.allow, job.edges))
    assert caught.group_contains(VoxFleetError, match="cannot be reached")
    assert not (job.folder / "plan" / "1" / "plan.json").exists()


@pytest.mark.parametrize("failure_class", [FailureClass.TRANSPORT, FailureClass.THROTTLED])
async def test_a_clip_that_cannot_be_reached_fails_alone(job: Job, failure_class: FailureClass) -> None:
    job.add_clips(4)

    class OneDead(WatchedStorage):
        async def open_reader(self, uri: str) -> tuple[ObjectVersion, RangeReader]:
            if uri.endswith("002.wav"):
                raise VoxFleetError(failure_class, "the disk answers: Input/output error")
            return await super().open_reader(uri)

    plan = planned(await job.plan(storage=OneDead(job.allow, job.edges)))
    assert [row.refusal and row.refusal.failure_class for row in job.manifest()] == [None, None, failure_class, None]
    await job.process(plan)
    statuses = [row.status for row in rows_of(job)]
    assert statuses == [ClipStatus.SUCCEEDED, ClipStatus.SUCCEEDED, ClipStatus.FAILED, ClipStatus.SUCCEEDED]


async def test_a_failure_of_this_mac_is_not_frozen_as_a_refusal(job: Job) -> None:
    job.add_clips(2)

    class Failing(WatchedStorage):
        async def open_reader(self, uri: str) -> tuple[ObjectVersion, RangeReader]:
            raise VoxFleetError(FailureClass.RUNTIME_MISMATCH, "this Mac is not what it was")

    with pytest.raises(BaseExceptionGroup) as caught:
        await job.plan(storage=Failing(job.allow, job.edges))
    assert caught.group_contains(VoxFleetError, match="not what it was")


async def test_a_file_that_is_too_large_is_refused_before_it_is_parsed(job: Job) -> None:
    job.contract = CONTRACT.model_copy(update={"input": CONTRACT.input.model_copy(update={"max_clip_bytes": "1Ki"})})
    # The first bytes are a wav file's; the rest is damage that parsing the chunks would find.
    (job.clips / "a.wav").write_bytes(b"RIFF____WAVE" + b"no chunks at all" * 100)
    (job.clips / "b.wav").write_bytes(b"not audio at all" * 100)
    await job.plan()
    large, foreign = job.manifest()
    assert large.refusal is not None and large.refusal.failure_class is FailureClass.CONTRACT_VIOLATION
    assert large.refusal.reason == "has 1612 bytes; the contract accepts at most 1Ki"
    assert foreign.refusal is not None and foreign.refusal.failure_class is FailureClass.UNSUPPORTED_CONTAINER


async def test_a_header_without_end_is_a_decode_error(job: Job) -> None:
    box_bytes = 2**17
    with (job.clips / "a.wav").open("wb") as file:
        file.write(struct.pack(">I4s8s", 16, b"ftyp", b"M4A "))
        for number in range(MAX_HEADER_RANGES + 2):
            file.seek(16 + number * box_bytes)
            file.write(struct.pack(">I4s", box_bytes, b"free"))
        file.truncate(16 + (MAX_HEADER_RANGES + 2) * box_bytes)
    await job.plan()
    (row,) = job.manifest()
    assert row.refusal is not None and row.refusal.failure_class is FailureClass.DECODE_ERROR
    assert row.refusal.reason == f"its header is scattered over more than {MAX_HEADER_RANGES} places"


async def test_a_large_plan_has_as_many_tasks_as_headers_are_read_at_a_time(job: Job) -> None:
    job.add_clips(300)
    most = 0

    class Counting(WatchedStorage):
        async def open_reader(self, uri: str) -> tuple[ObjectVersion, RangeReader]:
            nonlocal most
            most = max(most, len(asyncio.all_tasks()))
            return await super().open_reader(uri)

    await job.plan(storage=Counting(job.allow, job.edges))
    assert len(job.manifest()) == 300
    assert most <= 2 * HEADERS_AT_A_TIME + 1, "and what each of them starts while it reads"


async def test_the_plan_refuses_formats_that_the_contract_does_not_list(job: Job) -> None:
    job.add_clips(1)
    job.formats = (OutputFormat.JSONL, OutputFormat.SRT)
    with pytest.raises(VoxFleetError, match="does not list srt") as caught:
        await job.plan()
    assert caught.value.failure_class is FailureClass.INVALID_INPUT
    assert not job.folder.exists()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('{"model_type": "sensevoice"}', "asks for output.timestamps: Segment and a sensevoice model gives None"),
        ('{"model_type": "whisper"}', None),
        ('{"model_type": "of another world"}', None),
        ("not json", None),
        ("[]", None),
        (None, None),
    ],
)
async def test_timestamps_that_the_model_cannot_give_fail_the_plan(
    job: Job, config: str | None, words: str | None
) -> None:
    job.contract = CONTRACT.model_copy(update={"output": ContractOutput(timestamps=Timestamps.SEGMENT)})
    job.add_clips(1)
    folder = job.root / "model"
    folder.mkdir()
    if config is not None:
        (folder / "config.json").write_text(config)
    job.models = FixedModel(path=folder)
    if words is None:
        assert planned(await job.plan()).boundaries == (0, 1)
        return
    with pytest.raises(VoxFleetError, match=words) as caught:
        await job.plan()
    assert caught.value.failure_class is FailureClass.INVALID_INPUT
