"""Synthesize through all three stages, with a lane that writes known bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.component.stages.stage_reading import interrupted, rows_of
from tests.component.stages.stage_rig import CONTRACT, Job, commit_ref, planned, write_wav
from tests.component.stages.stage_stubs import StubLane, synthesized_bytes

from voxfleet_agent.lanes.lane_types import ClipTask
from voxfleet_agent.scratch import Scratch
from voxfleet_agent.stages.synthesis_files import worst_case_bytes
from voxfleet_api.digest import sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import ContractInput
from voxfleet_api.kinds.contract_limits import Batching, Ladder, ScratchLimit
from voxfleet_api.kinds.contract_output import OutputFormat
from voxfleet_api.kinds.job_input import ClipInput, JobInput, ManifestInput
from voxfleet_api.kinds.job_task import Synthesis, SynthesisMode, Task, VoiceReference
from voxfleet_api.protocol import ShardResult
from voxfleet_api.rows import ClipStatus

TEXTS = ["one two", "three", "four five six"]


@pytest.fixture
def synthesis_job(job: Job) -> Job:
    job.task, job.synthesis = Task.SYNTHESIZE, Synthesis(voice="serena")
    short = ContractInput(**{**CONTRACT.input.model_dump(), "max_clip": "2s"})
    job.contract = CONTRACT.model_copy(update={"input": short})
    return job


def texts(*found: str) -> JobInput:
    return JobInput(clips=tuple(ClipInput(id=f"t{number}", text=text) for number, text in enumerate(found)))


async def planned_texts(job: Job, *found: str) -> ShardResult:
    return await job.plan(job_input=texts(*(found or TEXTS)))


async def test_texts_become_files_named_by_their_sha256(synthesis_job: Job) -> None:
    plan = planned(await planned_texts(synthesis_job))
    assert [(row.text, row.uri, row.audio_milliseconds) for row in synthesis_job.manifest()] == [
        (text, None, 60 * len(text)) for text in TEXTS
    ]
    lane, scratch = StubLane(), synthesis_job.open_scratch()
    result = await synthesis_job.process(plan, lane=lane, scratch=scratch)
    for row, text in zip(rows_of(synthesis_job), TEXTS, strict=True):
        content = synthesized_bytes(text)
        assert row.audio is not None
        assert row.audio.path == f"parts/shard-0/1/audio/{row.index:06d}-{sha256_hex(content)}.wav"
        assert (synthesis_job.folder / row.audio.path).read_bytes() == content
        assert (row.audio.sha256, row.audio.size_bytes) == (sha256_hex(content), len(content))
        assert (row.audio.container, row.audio.encoding, row.audio.sample_rate_hz) == ("wav", "pcm16", 24_000)
        assert (row.audio.chunks, row.audio.interval_milliseconds) == (3, 480)
        assert (row.status, row.text, row.sha256) == (ClipStatus.SUCCEEDED, None, None)
    assert (synthesis_job.scratch_files(), scratch.reserved_bytes) == ([], 0)
    final = await synthesis_job.finalize(plan, [commit_ref(result)])
    assert final.counts is not None and final.counts.succeeded == 3
    assert [row.audio is not None for row in synthesis_job.results()] == [True] * 3


async def test_room_for_the_longest_file_is_reserved_and_nothing_is_fetched(synthesis_job: Job) -> None:
    plan = planned(await planned_texts(synthesis_job))
    lane, scratch = StubLane(), synthesis_job.open_scratch()
    needed = worst_case_bytes(synthesis_job.contract)

    async def check(task: ClipTask) -> None:
        assert task.text == TEXTS[task.index] and not task.path.exists() and task.path.suffix == ".wav"
        assert task.max_bytes == needed, "the lane is told what it may write"
        assert scratch.reserved_bytes % needed == 0 and scratch.reserved_bytes > 0

    lane.before = check
    await synthesis_job.process(plan, lane=lane, scratch=scratch)
    assert not any("download" in name for name in synthesis_job.edges.passed)
    assert [row.audio_milliseconds for row in rows_of(synthesis_job)] == [200] * 3, "what was spoken, not the estimate"


async def test_a_file_is_uploaded_before_its_row_and_again_without_harm(synthesis_job: Job) -> None:
    plan = planned(await planned_texts(synthesis_job))
    journal = await interrupted(synthesis_job, plan, "before record row")
    uploaded = sorted(path.name for path in (synthesis_job.attempt_files(1) / "audio").iterdir())
    assert uploaded and journal.rows == {}
    lane = StubLane(journal)
    await synthesis_job.process(plan, journal=journal, lane=lane)
    assert sorted(lane.worked_on) == [0, 1, 2]
    assert set(uploaded) <= {path.name for path in (synthesis_job.attempt_files(1) / "audio").iterdir()}
    assert len(rows_of(synthesis_job)) == 3


async def test_a_text_that_cannot_be_spoken_leaves_evidence_without_its_words(synthesis_job: Job) -> None:
    plan = planned(await planned_texts(synthesis_job, "private words", "fine"))
    lane = StubLane()
    lane.failures[0] = (FailureClass.TRUNCATED_OUTPUT, "the token budget was spent")
    await synthesis_job.process(plan, lane=lane)
    bad, good = rows_of(synthesis_job)
    assert (bad.status, bad.audio, good.status) == (ClipStatus.QUARANTINED, None, ClipStatus.SUCCEEDED)
    evidence = (synthesis_job.folder / "quarantine" / "000000.json").read_text()
    assert "private" not in evidence and b"private".hex() not in evidence


async def test_a_manifest_of_texts_may_hold_one_that_is_too_long(synthesis_job: Job) -> None:
    lines = [{"id": "a", "text": "one"}, {"id": "b", "text": "x" * 5001}]
    manifest = synthesis_job.clips / "m.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    plan = planned(await synthesis_job.plan(job_input=JobInput(manifest=ManifestInput(uri=manifest.as_uri()))))
    await synthesis_job.process(plan)
    assert [row.status for row in rows_of(synthesis_job)] == [ClipStatus.SUCCEEDED, ClipStatus.QUARANTINED]


async def test_one_text_at_a_time_has_no_ladder(synthesis_job: Job) -> None:
    synthesis_job.contract = synthesis_job.contract.model_copy(update={"batching": Batching(ladder=Ladder())})
    plan = planned(await planned_texts(synthesis_job))
    await synthesis_job.process(plan)
    assert synthesis_job.ladders.measured == []


# The reference recording of the voice


def with_reference(job: Job, path: Path) -> None:
    reference = VoiceReference(uri=path.as_uri(), text="hello")
    job.synthesis = Synthesis(mode=SynthesisMode.CUSTOM_VOICE, reference=reference)


async def test_the_reference_recording_is_fetched_once_and_is_in_the_lane_spec(synthesis_job: Job) -> None:
    voice = synthesis_job.root / "voice.wav"
    write_wav(voice, 9)
    with_reference(synthesis_job, voice)
    plan = planned(await planned_texts(synthesis_job))
    lane = StubLane()

    async def check(task: ClipTask) -> None:
        reference = lane.loaded[0].reference
        assert reference is not None and reference.read_bytes() == voice.read_bytes()

    lane.before = check
    await synthesis_job.process(plan, lane=lane)
    assert synthesis_job.edges.passed.count("after download voice.wav") == 1
    assert len(rows_of(synthesis_job)) == 3


@pytest.mark.parametrize("missing_bytes", [0, 1], ids=["just enough", "one byte too few"])
async def test_a_reference_leaves_room_for_what_is_spoken_or_ends_the_attempt(
    synthesis_job: Job, missing_bytes: int
) -> None:
    voice = synthesis_job.root / "voice.wav"
    write_wav(voice, 9)
    with_reference(synthesis_job, voice)
    plan = planned(await planned_texts(synthesis_job))
    voice_bytes, spoken_bytes = voice.stat().st_size, worst_case_bytes(synthesis_job.contract)
    quota_bytes = voice_bytes + spoken_bytes - missing_bytes
    scratch = Scratch(synthesis_job.root / "scratch", quota_bytes=quota_bytes, min_free_bytes=0)
    if missing_bytes:
        with pytest.raises(
            VoxFleetError, match=rf"{voice_bytes} bytes .* {spoken_bytes} beside .* {quota_bytes}"
        ) as caught:
            await synthesis_job.process(plan, scratch=scratch)
        assert caught.value.failure_class is FailureClass.SCRATCH_EXHAUSTED
    else:
        await synthesis_job.process(plan, scratch=scratch)
        assert len(rows_of(synthesis_job)) == 3


async def test_a_contract_without_scratch_for_the_reference_fails_the_plan(synthesis_job: Job) -> None:
    voice = synthesis_job.root / "voice.wav"
    write_wav(voice, 9)
    with_reference(synthesis_job, voice)
    limit_bytes = voice.stat().st_size + worst_case_bytes(synthesis_job.contract) - 1
    limit = ScratchLimit(max_bytes=str(limit_bytes))
    synthesis_job.contract = synthesis_job.contract.model_copy(update={"scratch": limit})
    with pytest.raises(
        VoxFleetError, match=rf"spec\.synthesis\.reference .* scratch\.maxBytes is {limit_bytes}"
    ) as caught:
        await planned_texts(synthesis_job)
    assert caught.value.failure_class is FailureClass.INVALID_INPUT


async def test_a_reference_that_the_contract_refuses_fails_the_plan(synthesis_job: Job) -> None:
    voice = synthesis_job.root / "voice.wav"
    write_wav(voice, 9, rate_hz=8000)
    with_reference(synthesis_job, voice)
    with pytest.raises(VoxFleetError, match=r"spec\.synthesis\.reference: is at 8000 Hz") as caught:
        await planned_texts(synthesis_job)
    assert caught.value.failure_class is FailureClass.INVALID_INPUT


async def test_a_missing_reference_fails_the_attempt_by_name(synthesis_job: Job) -> None:
    voice = synthesis_job.root / "voice.wav"
    write_wav(voice, 9)
    with_reference(synthesis_job, voice)
    plan = planned(await planned_texts(synthesis_job))
    voice.unlink()
    with pytest.raises(VoxFleetError, match=r"spec\.synthesis\.reference") as caught:
        await synthesis_job.process(plan)
    assert caught.value.failure_class is FailureClass.INPUT_NOT_FOUND


async def test_transcript_formats_are_refused_before_anything_runs(synthesis_job: Job) -> None:
    synthesis_job.formats = (OutputFormat.JSONL, OutputFormat.TXT)
    with pytest.raises(VoxFleetError, match=r"spec\.output\.formats") as caught:
        await planned_texts(synthesis_job)
    assert caught.value.failure_class is FailureClass.INVALID_INPUT
    assert not synthesis_job.folder.exists()
