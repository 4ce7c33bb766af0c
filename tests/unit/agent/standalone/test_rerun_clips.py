"""Which clips run again, as what job, and what a bundle says of another machine."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from voxfleet_agent.finished_runs.comparison import RowPair
from voxfleet_agent.finished_runs.repro_check import (
    ModelNotNamed,
    RunSetup,
    changed_files,
    model_differences,
    model_of,
    model_source,
    nothing_to_run_again,
    version_differences,
)
from voxfleet_agent.stages.finalize.repro import BundleSetting, ReproBundle
from voxfleet_agent.standalone.cel_rules import violations
from voxfleet_agent.standalone.job_documents import DocumentFile, read_job
from voxfleet_agent.standalone.rerun_clips import (
    FOLDER_PREFIX,
    private_folder,
    rerun_contract,
    rerun_job,
    sample,
    usual_batch_size,
    worst,
)
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.audio_shard import JobRef
from voxfleet_api.kinds.contract_input import Container, ContractInput
from voxfleet_api.kinds.contract_limits import Batching, FailureBudget, Ladder, Quarantine
from voxfleet_api.kinds.job_input import ClipInput
from voxfleet_api.kinds.job_model import BuiltinModel, BuiltinName, HubModel, ModelSource
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.results import Counts, FileRef
from voxfleet_api.rows import ClipStatus, ManifestRow, ResultRow, Timings

CONTRACT = VoiceContractSpec(
    input=ContractInput(containers=(Container.WAV,), sample_rates_hz=(16000,), channels=(1,)),
    batching=Batching(ladder=Ladder(from_=1, to=8)),
    quarantine=Quarantine(halt_fan_out_percent=1, retain_for="1h"),
    failure_budget=FailureBudget(retries_per_hour=0),
)
SETTING = BundleSetting(
    chip="Apple M4",
    memory_bytes=2**34,
    os="Darwin 26.0",
    versions={"mlx": "0.32.4", "voxfleet": "0.1.0"},
    sample_rate_hz=16000,
    scratch_path="/scratch",
    environment={},
    blas="Accelerate",
    dtype="float16",
    seed=0,
)
BUNDLE = ReproBundle(
    namespace="speech",
    job=JobRef(name="nightly", uid="12345678"),
    task=Task.TRANSCRIBE,
    contract_digest=digest_of(CONTRACT),
    contract=CONTRACT,
    transcription=Transcription(),
    formats=(),
    plan_attempt=1,
    manifest_sha256="a" * 64,
    total=1,
    model_digest="sha256:" + "b" * 64,
    model_files={"config.json": "c" * 64, "model.safetensors": "d" * 64},
    settings=(SETTING,),
    runs=(),
    ladders=(),
    files=(FileRef(path="results.jsonl", sha256="e" * 64, size_bytes=1),),
)


def row(
    index: int, infer: int = 10, audio: int = 1000, wait: int = 0, batch: int = 1, status: ClipStatus | None = None
) -> ResultRow:
    return ResultRow(
        index=index,
        custom_id=f"a/clip {index}.wav",
        status=status or ClipStatus.SUCCEEDED,
        text="yes",
        audio_milliseconds=audio,
        sha256="f" * 64,
        timings=Timings(infer_milliseconds=infer, wait_milliseconds=wait),
        batch_size=batch,
    )


def clips_of(job: AudioBatchJob) -> tuple[ClipInput, ...]:
    assert job.spec.input is not None and job.spec.input.clips is not None
    return job.spec.input.clips


def test_the_worst_are_the_slowest_and_the_longest_in_turn() -> None:
    rows = [row(0, infer=5, audio=9000), row(1, infer=90), row(2, infer=50), row(3, infer=5, audio=8000), row(4)]
    assert [found.index for found in worst(rows, 4)] == [1, 0, 2, 3]
    assert [found.index for found in worst(rows, 20)] == [1, 0, 2, 3, 4]


def test_waiting_does_not_make_a_clip_slow_and_a_clip_that_never_ran_is_not_among_the_worst() -> None:
    rows = [row(0, wait=100_000), row(1, infer=11), row(2, infer=0, audio=99_000)]
    assert [found.index for found in worst(rows, 3)] == [1, 0]


def test_a_seed_always_chooses_the_same_clips_and_only_those_with_a_result() -> None:
    rows = [row(index, status=ClipStatus.QUARANTINED if index == 3 else None) for index in range(40)]
    chosen = sample(rows, 10, 7)
    assert chosen == sample(rows, 10, 7) != sample(rows, 10, 8)
    assert len(chosen) == 10 and 3 not in {found.index for found in sample(rows, 100, 0)}
    assert len(sample(rows, 100, 0)) == 39


def test_clips_run_again_as_a_job_that_the_api_would_accept() -> None:
    setup = RunSetup(
        CONTRACT,
        Task.TRANSCRIBE,
        ModelSource(builtin=BuiltinModel(name=BuiltinName.COMMANDS)),
        Transcription(max_tokens=99),
        None,
    )
    clip = ManifestRow(index=7, custom_id="a/clip 7.wav", uri="file:///clips/a/clip%207.wav")
    job = rerun_job(setup, [(row(7), clip)], "file:///tmp/out/")
    assert violations(job.spec, "spec") == []
    (listed,) = clips_of(job)
    assert listed.uri == clip.uri and listed.sha256 == "f" * 64 and job.spec.transcription.max_tokens == 99


def test_texts_are_synthesized_again_too() -> None:
    setup = RunSetup(
        CONTRACT,
        Task.SYNTHESIZE,
        ModelSource(builtin=BuiltinModel(name=BuiltinName.COMMANDS)),
        Transcription(),
        Synthesis(voice="serena"),
    )
    synthesized = ResultRow(index=0, custom_id="a", status=ClipStatus.SUCCEEDED)
    job = rerun_job(setup, [(synthesized, ManifestRow(index=0, custom_id="a", text="hello"))], "file:///tmp/out/")
    assert violations(job.spec, "spec") == []
    assert [clip.text for clip in clips_of(job)] == ["hello"]


def test_only_clauses_of_a_whole_job_are_left_out_of_the_contract() -> None:
    contract = rerun_contract(CONTRACT)
    assert contract.batching.ladder is None and contract.quarantine.halt_fan_out_percent is None
    assert contract.quarantine.retain_for is None and contract.failure_budget == FailureBudget()
    assert (contract.input, contract.conversions, contract.retries) == (
        CONTRACT.input,
        CONTRACT.conversions,
        CONTRACT.retries,
    )


def test_the_batch_size_is_the_usual_one() -> None:
    assert usual_batch_size([row(0, batch=4), row(1, batch=4), row(2, batch=1)]) == 4


def test_a_pair_is_the_same_when_its_outcome_is() -> None:
    assert RowPair(row(0, infer=1), row(0, infer=99)).same
    assert not RowPair(row(0), row(0, status=ClipStatus.FAILED)).same
    assert not RowPair(row(0), row(0).model_copy(update={"text": "no"})).same


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("commands", {"builtin": {"name": "commands"}}),
        ("/models/mine", {"path": "/models/mine"}),
        ("s3://models/mine", {"uri": "s3://models/mine/"}),
        ("mlx/parakeet", {"hub": {"id": "mlx/parakeet", "revision": "c0ffee"}}),
        ("mlx/parakeet@main", {"hub": {"id": "mlx/parakeet", "revision": "main"}}),
    ],
)
def test_a_model_is_named_by_builtin_name_path_address_or_hub_name(text: str, source: dict[str, object]) -> None:
    assert model_source(text, "c0ffee") == ModelSource.load(source)


@pytest.mark.parametrize(
    "text", ["", "default", "models/mine/here", "../mine", "mlx/parakeet", "s3://", "/" + "a" * 5000, f"a/b@{'c' * 99}"]
)
def test_text_that_names_no_model_is_refused(text: str) -> None:
    with pytest.raises(ModelNotNamed, match="--model"):
        model_source(text, None)


def test_without_a_named_model_the_job_s_model_is_used_at_the_commit_of_the_run() -> None:
    job_s = ModelSource(hub=HubModel(id="mlx/parakeet", revision="main"))
    ran = BUNDLE.model_copy(update={"model": job_s, "model_revision": "c0ffee"})
    assert model_of(ran, None) == ModelSource(hub=HubModel(id="mlx/parakeet", revision="c0ffee"))
    assert model_of(ran, "/models/mine") == ModelSource(path="/models/mine")
    mine = ModelSource(path="/models/mine")
    assert model_of(BUNDLE.model_copy(update={"model": mine}), None) == mine
    with pytest.raises(ModelNotNamed, match="nothing ran; name one with --model"):
        model_of(BUNDLE.model_copy(update={"model": None}), None)


def test_a_run_without_anything_to_repeat_says_so_and_why() -> None:
    assert nothing_to_run_again(BUNDLE, Counts(succeeded=1)) is None
    quarantined = nothing_to_run_again(BUNDLE, Counts(quarantined=1))
    assert quarantined is not None and "no clip of this run has a result" in quarantined
    never = nothing_to_run_again(BUNDLE.model_copy(update={"model_files": {}}), Counts(not_run=1))
    assert never is not None and "no model to compare" in never and "1 were not run of 1" in never


def test_a_bundle_s_differences_are_named() -> None:
    assert model_differences(BUNDLE, BUNDLE.model_files) == []
    other = {"config.json": "c" * 64, "model.safetensors": "0" * 64, "more.json": "1" * 64}
    assert [text.partition(":")[0] for text in model_differences(BUNDLE, other)] == ["model.safetensors", "more.json"]
    assert model_differences(BUNDLE, {"config.json": "c" * 64}) == ["model.safetensors: is missing here"]

    same = {**SETTING.versions, "chip": SETTING.chip, "os": SETTING.os, "blas": SETTING.blas}
    assert version_differences(BUNDLE, same) == []
    found = version_differences(BUNDLE, {**same, "mlx": "0.33.0", "chip": "Apple M2", "blas": "other"})
    assert [(item.name, item.there, item.here) for item in found] == [
        ("blas", ("Accelerate",), "other"),
        ("chip", ("Apple M4",), "Apple M2"),
        ("mlx", ("0.32.4",), "0.33.0"),
    ]

    assert version_differences(BUNDLE, same | {"dtype": "float16"}) == []
    assert [
        (item.name, item.there, item.here) for item in version_differences(BUNDLE, same | {"dtype": "float32"})
    ] == [("dtype", ("float16",), "float32")]
    older = BUNDLE.model_copy(update={"settings": (SETTING.model_copy(update={"dtype": None}),)})
    assert version_differences(older, same | {"dtype": "float32"}) == []

    assert changed_files(BUNDLE, {"results.jsonl": "e" * 64}) == []
    assert changed_files(BUNDLE, {"results.jsonl": "0" * 64}) == ["results.jsonl: was changed"]
    assert changed_files(BUNDLE, {"results.jsonl": None}) == ["results.jsonl: is missing"]


def test_every_rule_of_the_api_can_be_evaluated_here() -> None:
    """Documents of `run` must obey the rules of the CRDs."""
    documents = """
apiVersion: voxfleet.dev/v1alpha1
kind: VoiceContract
metadata: {name: c}
spec: {input: {containers: [wav], sampleRatesHz: [16000], channels: [1]}, conversions: {downmix: {mode: Mean},
  windows: {length: 30s, seek: 1s}}, batching: {ladder: {from: 1, to: 2}}}
---
apiVersion: voxfleet.dev/v1alpha1
kind: AudioBatchJob
metadata: {name: j}
spec:
  contractRef: {name: c}
  model: {builtin: {name: commands}}
  task: Synthesize
  input: {clips: [{id: a, text: hello}]}
  output: {uri: "file:///out/"}
  synthesis: {mode: CustomVoice, reference: {uri: "file:///voice.wav", text: hello}}
  macSelector: {matchExpressions: [{key: a, operator: In, values: [b]}]}
"""
    assert read_job([DocumentFile("all.yaml", documents)]).job.spec.synthesis is not None


def test_the_folder_of_a_killed_replay_is_removed_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    left = tmp_path / f"{FOLDER_PREFIX}left"
    left.mkdir()
    (left / "speech.wav").write_bytes(b"speech")
    with private_folder(tmp_path) as living, private_folder(tmp_path) as other:
        assert not left.exists()
        assert living.is_dir() and other.is_dir()
        assert living.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []


def test_a_scratch_folder_that_is_a_symlink_is_used(tmp_path: Path) -> None:
    real, link = tmp_path / "private" / "tmp", tmp_path / "tmp"
    real.mkdir(parents=True)
    link.symlink_to(real)
    with private_folder(link) as folder:
        assert folder.parent == real.resolve()


def test_foreign_entries_of_a_shared_scratch_folder_are_left_alone(tmp_path: Path) -> None:
    foreign, plain, link = (tmp_path / f"{FOLDER_PREFIX}{name}" for name in ("foreign", "plain", "link"))
    foreign.mkdir()
    if os.geteuid() == 0:
        os.chown(foreign, 12345, 12345)
    else:
        foreign.chmod(0)
    plain.write_bytes(b"")
    link.symlink_to(tmp_path)
    lock = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with private_folder(tmp_path) as folder:
            assert folder.is_dir()
    finally:
        os.close(lock)
    assert set(tmp_path.iterdir()) == {foreign, plain, link}
    foreign.chmod(0o700)


def test_a_new_folder_that_another_run_removes_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, made = tempfile.mkdtemp, list[str]()

    def removed_once(**where: Any) -> str:
        made.append(make(**where))
        if len(made) == 1:
            Path(made[0]).rmdir()
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", removed_once)
    with private_folder(tmp_path) as folder:
        assert folder == Path(made[1])
