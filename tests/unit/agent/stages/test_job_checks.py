"""What a job requests, against what its contract allows."""

from __future__ import annotations

import pytest
from tests.rig.attempt_spec import SPEECH, attempt_spec

from voxfleet_agent.stages.plan.input_manifest import InputManifest
from voxfleet_agent.stages.plan.job_checks import require_contract_allows
from voxfleet_agent.stages.plan.sharding import text_row
from voxfleet_agent.stages.synthesis_files import worst_case_bytes
from voxfleet_api.attempt_spec import AttemptSpec
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.contract_limits import ScratchLimit
from voxfleet_api.kinds.contract_output import AudioContainer, AudioEncoding, AudioOutput, ContractOutput, OutputFormat
from voxfleet_api.kinds.contract_output import Timestamps as Times
from voxfleet_api.kinds.job_task import MAX_TEXT_CHARACTERS, Synthesis, Task
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

EVERYTHING = ContractOutput(formats=tuple(OutputFormat), timestamps=Times.SEGMENT)


def spec(
    contract: VoiceContractSpec,
    *formats: OutputFormat,
    task: Task = Task.TRANSCRIBE,
    synthesis: Synthesis | None = None,
) -> AttemptSpec:
    formats = formats or (OutputFormat.JSONL,)
    return attempt_spec(Stage.PLAN, "plan", contract, task=task, synthesis=synthesis, formats=formats)


def contract(output: ContractOutput, scratch: str = "20Gi") -> VoiceContractSpec:
    return VoiceContractSpec(input=SPEECH, output=output, scratch=ScratchLimit(max_bytes=scratch))


VOICE = Synthesis(voice="serena")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (spec(contract(ContractOutput()), OutputFormat.SRT), "does not list srt; it lists jsonl"),
        (
            spec(contract(ContractOutput(formats=(OutputFormat.VTT,))), OutputFormat.VTT),
            "vtt needs times; write output.timestamps: Segment",
        ),
        (spec(contract(EVERYTHING), task=Task.SYNTHESIZE), "needs spec.synthesis"),
        (spec(contract(EVERYTHING), OutputFormat.TXT, task=Task.SYNTHESIZE, synthesis=VOICE), "txt is a form of"),
        (spec(contract(EVERYTHING, "1Mi"), task=Task.SYNTHESIZE, synthesis=VOICE), "maxBytes is 1048576"),
    ],
)
def test_an_impossible_request_is_refused_before_anything_runs(wrong: AttemptSpec, words: str) -> None:
    with pytest.raises(VoxFleetError, match=words) as caught:
        require_contract_allows(wrong)
    assert caught.value.failure_class is FailureClass.INVALID_INPUT


@pytest.mark.parametrize(
    "right",
    [
        spec(contract(EVERYTHING), *OutputFormat),
        # results.jsonl is always written, whatever the contract lists.
        spec(contract(ContractOutput(formats=(OutputFormat.TXT,))), OutputFormat.JSONL, OutputFormat.TXT),
        spec(contract(EVERYTHING), task=Task.SYNTHESIZE, synthesis=VOICE),
    ],
)
def test_what_the_contract_allows_passes(right: AttemptSpec) -> None:
    require_contract_allows(right)


@pytest.mark.parametrize(
    ("container", "encoding", "sample_bytes"),
    [
        (AudioContainer.WAV, AudioEncoding.PCM16, 2),
        (AudioContainer.WAV, AudioEncoding.PCM24, 3),
        (AudioContainer.WAV, AudioEncoding.FLOAT32, 4),
        (AudioContainer.FLAC, AudioEncoding.PCM24, 3),
        (AudioContainer.M4A, AudioEncoding.AAC, 2),
    ],
)
def test_the_reserved_size_of_a_synthesized_file_is_its_worst_case(
    container: AudioContainer, encoding: AudioEncoding, sample_bytes: int
) -> None:
    audio = AudioOutput(container=container, encoding=encoding, sample_rate_hz=24_000)
    samples = 600 * 24_000 * sample_bytes
    assert samples < worst_case_bytes(contract(ContractOutput(audio=audio))) < samples * 1.03 + 2**17


@pytest.mark.parametrize(
    ("text", "words"), [("", "empty"), (" \n", "empty"), ("x" * (MAX_TEXT_CHARACTERS + 1), "at most 5000 are spoken")]
)
def test_a_text_that_cannot_be_synthesized_is_refused_alone(text: str, words: str) -> None:
    row = text_row(3, "c", text)
    assert row.refusal is not None and words in row.refusal.reason
    assert row.refusal.failure_class is FailureClass.CONTRACT_VIOLATION
    assert text_row(3, "c", "x" * MAX_TEXT_CHARACTERS).refusal is None


def test_a_text_s_length_is_estimated_from_its_characters() -> None:
    assert text_row(0, "c", "ten digits").audio_milliseconds == 600


def test_a_manifest_of_texts() -> None:
    first, second = InputManifest(
        "s3://in/m.jsonl", b'{"id":"a","text":"one"}\n{"id":"b","text":"two"}', Task.SYNTHESIZE
    )
    assert [(item.custom_id, item.text, item.uri) for item in (first, second)] == [
        ("a", "one", None),
        ("b", "two", None),
    ]
    for line, words in (
        (b'{"id":"b","uri":"b.wav"}', "a recording, but task Synthesize needs texts"),
        (b'{"id":"b"}', "not both"),
    ):
        with pytest.raises(VoxFleetError, match=words):
            InputManifest("s3://in/m.jsonl", line, Task.SYNTHESIZE)
