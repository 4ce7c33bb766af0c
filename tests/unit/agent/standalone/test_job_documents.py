"""The YAML documents of a run, and the messages when they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxfleet_agent.standalone.job_documents import DocumentError, DocumentFile, read_job

EXAMPLES = Path(__file__).parents[4] / "examples"
JOB = (EXAMPLES / "job.yaml").read_text()
CONTRACT = (EXAMPLES / "contract.yaml").read_text()


def error_of(job: str = JOB, contract: str = CONTRACT) -> str:
    """Returns the message of the error that two files raise."""
    with pytest.raises(DocumentError) as refused:
        read_job([DocumentFile("job.yaml", job), DocumentFile("contract.yaml", contract)])
    return str(refused.value)


def test_the_examples_are_one_job_in_two_files_or_in_one() -> None:
    apart = read_job([DocumentFile("job.yaml", JOB), DocumentFile("contract.yaml", CONTRACT)])
    together = read_job(
        [DocumentFile("all.yaml", f"{(EXAMPLES / 'namespace.yaml').read_text()}---\n{CONTRACT}---\n{JOB}")]
    )
    assert apart == together
    assert apart.job.metadata.name == "nightly" and apart.contract.metadata.name == "voice-commands"


def test_a_list_as_kubectl_prints_it_is_read() -> None:
    def item(text: str) -> str:
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return "- " + "\n  ".join(lines)

    documents = read_job(
        [DocumentFile("list.yaml", f"apiVersion: v1\nkind: List\nitems:\n{item(JOB)}\n{item(CONTRACT)}\n")]
    )
    assert documents.job.metadata.name == "nightly"


def test_without_a_namespace_both_are_in_default() -> None:
    job, contract = (text.replace("  namespace: speech\n", "") for text in (JOB, CONTRACT))
    documents = read_job([DocumentFile("job.yaml", job), DocumentFile("contract.yaml", contract)])
    assert documents.job.metadata.namespace == documents.contract.metadata.namespace == "default"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("parallelism: 2", "paralelism: 2", "spec.paralelism: unknown field; write parallelism"),
        ("parallelism: 2", 'parallelism: "2"', "spec.parallelism: "),
        ("parallelism: 2", "parallelism: 2\n  parallelism: 3", "the key parallelism stands twice"),
        ("parallelism: 2", "parallelism: 2.5", "spec.parallelism: YAML reads this as a float"),
        ("contractRef:", "contract_ref:", "spec.contract_ref: unknown field; write contractRef"),
        ("team-speech", "2026-11-20", "spec.billingKey: YAML reads this as a date; put it into quotes"),
        ("  contractRef: {name: voice-commands}\n", "", "spec.contractRef: is missing; write it (The VoiceContract"),
        ("task: Transcribe", "task: Synthesize", "spec.synthesis: task Synthesize needs synthesis"),
        ("task: Transcribe", "task: Translate", "spec.task: write Transcribe or Synthesize (What"),
        (
            'manifest: {uri: "file:///Volumes/audio/clips/manifest.jsonl"}',
            'prefix: {uri: "file:///Volumes/audio/clips/", include: ["*.mp3", "**/*.wav"]}',
            "spec.input.prefix.include: a pattern applies to a file's own name, in every folder; write *.wav instead",
        ),
        ("file:///Volumes/audio/results/", "s3://results/", "s3:// needs credentialsSecretRef"),
        ("file:///Volumes/audio/results/", "file:///Volumes/audio/results", "spec.output.uri: end it with /"),
        ("file:///Volumes/audio/results/", "/Volumes/results/", "spec.output.uri: write file:// before the path"),
        ("file:///Volumes/audio/results/", "results", "spec.output.uri: begin it with file:/// or s3://, such as"),
        ("builtin: {name: commands}", "path: models/mine", "spec.model.path: model.path is an absolute folder"),
        ("builtin: {name: commands}", "path: default", "spec.model.path: model.path is an absolute folder"),
        ("{name: commands}", "{name: whisper}", "spec.model.builtin.name: write commands ("),
        ("parallelism: 2", "parallelism: 0", "spec.parallelism: write 1 or more ("),
        ("parallelism: 2", "parallelism: many", "spec.parallelism: write a whole number ("),
        ("contractRef: {name: voice-commands}", "contractRef: calls", "spec.contractRef: write fields below it ("),
        ("  model: {builtin: {name: commands}}\n", "", "spec.model: is missing; write it (The model; `{builtin"),
        ("targetAudio: 15s", "targetAudio: 0s", "spec.sharding.targetAudio: write a duration from 1s to 10000h"),
        ("targetAudio: 15s", "targetAudio: 99999999h", "spec.sharding.targetAudio: write a duration from 1s to"),
        ("name: nightly", "name: ../nightly", "metadata.name: write at most 52 small letters"),
        ("name: nightly", f"name: {'n' * 53}", "metadata.name: write at most 52 small letters"),
        ("name: nightly", "name: nightly\n  uid: ../../etc", "metadata.uid: is no UID; leave it out"),
        ("namespace: speech", "namespace: a/b", "metadata.namespace: "),
        ("namespace: speech", "namspace: speech", "metadata.namspace: unknown field; write namespace"),
        ("namespace: speech", "namespace: other", "a job uses contracts of its own namespace"),
        ("voice-commands", "voice", "spec.contractRef.name: the VoiceContract voice is not among the documents"),
        ("kind: AudioBatchJob", "kind: AudioBatchJobs", "kind: is not known; write AudioBatchJob"),
        ("voxfleet.dev/v1alpha1", "voxfleet.dev/v1", "apiVersion: voxfleet.dev/v1 is not known here; write voxfleet."),
        ("kind: AudioBatchJob", "knd: AudioBatchJob", "document 1: kind: is missing"),
        ("spec:", "specs:", "specs: unknown field; write spec"),
        ("spec:", "spec: [", "document 1: not YAML: "),
    ],
)
def test_errors_of_a_job_name_file_document_and_field(old: str, new: str, expected: str) -> None:
    assert old in JOB
    message = error_of(job=JOB.replace(old, new))
    assert expected in message and ".yaml: document 1" in message


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("maxClip: 30s", "maxClip: 30 s", "spec.input.maxClip: write a duration such as 30s"),
        ("maxClip: 30s", "maxClip: 25h", "spec.input.maxClip: write a duration from 1ms to 24h"),
        ("maxClipBytes: 8Mi", "maxClipBytes: 0", "spec.input.maxClipBytes: write a number of bytes such as 200Mi"),
        ("maxClip: 30s", "maxClip: 1ms", "spec.input.minClip: minClip is longer than maxClip"),
        ("channels: [1, 2]", "channels: [1, 2, 1]", "spec.input.channels[2]: 1 stands already at [0]; write it once"),
        ("quality: soxr_vhq", "quality: default", "spec.conversions.resample.quality: write fastest, low, medium, "),
        ("channels: [1, 2]", "channels: 1", "spec.input.channels: write a list ("),
        ("channels: [1, 2]", "channels: []", "spec.input.channels: write a list of at least 1 ("),
        ("mode: Mean", "mode: EqualPower", "spec.conversions.downmix.mode: EqualPower does not work"),
    ],
)
def test_errors_of_the_contract_name_file_document_and_field(old: str, new: str, expected: str) -> None:
    assert old in CONTRACT
    message = error_of(contract=CONTRACT.replace(old, new))
    assert expected in message and "contract.yaml: document 1 (VoiceContract): " in message


def test_all_problems_are_reported_at_once() -> None:
    job = JOB.replace("parallelism: 2", "paralelism: 2").replace("task: Transcribe", "task: Translate")
    message = error_of(job=job)
    assert "paralelism" in message and "spec.task" in message


def test_clips_with_the_same_id_are_refused() -> None:
    clips = '[{id: a, uri: "file:///c/1.wav"}, {id: a, uri: "file:///c/2.wav"}]'
    job = JOB.replace('manifest: {uri: "file:///Volumes/audio/clips/manifest.jsonl"}', f"clips: {clips}")
    assert "spec.input.clips[1]: id a stands already at [0]; write it once" in error_of(job=job)


def test_exactly_one_job_is_required() -> None:
    assert "has no AudioBatchJob; a run takes exactly one" in error_of(job="")
    assert "2 AudioBatchJobs" in error_of(job=f"{JOB}---\n{JOB.replace('nightly', 'other')}")
    assert "stands already in contract.yaml: document 1" in error_of(contract=f"{CONTRACT}---\n{CONTRACT}")


def test_a_rerun_needs_a_cluster() -> None:
    lines = [line for line in JOB.splitlines() if not line.startswith(("  input:", "    manifest:"))]
    rerun = "\n".join([*lines, "  source: {jobRef: {name: night}, select: Failed}"])
    assert "spec.source: names a job of a cluster" in error_of(job=rerun) and "--retry-failed" in error_of(job=rerun)
