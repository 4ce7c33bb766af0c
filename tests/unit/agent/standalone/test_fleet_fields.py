"""What every field of a job and of its contract means to a run on one machine: none is passed over in silence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.agent.standalone.test_attempt_specs import CONTRACT, JOB, PLAN

from voxfleet_agent.aws_environment import CredentialsMissing, from_environment
from voxfleet_agent.standalone.attempt_specs import AttemptSpecs
from voxfleet_agent.standalone.fleet_fields import remarks
from voxfleet_agent.standalone.job_documents import DocumentError, DocumentFile, JobDocuments, read_job
from voxfleet_agent.standalone.run_limit import run_limit
from voxfleet_api.base import ApiModel
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds.audio_batch_job import AudioBatchJobSpec
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

GIB = 2**30
RUNS = Path(__file__).parents[3] / "component" / "standalone"
CHIP = "Apple M4"


def documents(job: dict[str, Any] | None = None, contract: dict[str, Any] | None = None) -> JobDocuments:
    """The examples with some fields of their specs replaced; None: left out."""
    files = []
    for name, text, changes in (("job.yaml", JOB, job or {}), ("contract.yaml", CONTRACT, contract or {})):
        body = yaml.safe_load(text)
        spec = body["spec"] | changes
        body["spec"] = {field: value for field, value in spec.items() if value is not None}
        files.append(DocumentFile(name, yaml.safe_dump(body)))
    return read_job(files)


def told(found: JobDocuments) -> dict[str, str]:
    """By the field that each sentence names first; of several fields, by each."""
    sentences = [sentence.partition(": ") for sentence in remarks(found.job.spec, CHIP, 16 * GIB)]
    return {field: text for fields, _, text in sentences for field in fields.split(", ")}


def passed_on(found: JobDocuments) -> set[str]:
    """The digests of the three stages' specs, without what names the run."""
    specs = AttemptSpecs.of(found.job, found.contract.spec)
    stages = (specs.plan(1), specs.process(PLAN, 0, 1), specs.finalize(PLAN, (), 1))
    names = {"shard_uid": "uid", "output_folder": "file:///out", "job": stages[0].job}
    return {digest_of(stage.model_copy(update=names)) for stage in stages}


@dataclass(frozen=True)
class Passed:
    """It stands in what an attempt is told, and so has the effect that it has on a fleet."""

    value: object


@dataclass(frozen=True)
class Refused:
    value: object
    advice: str
    without: str | None = None
    """A field that has to go for it."""


@dataclass(frozen=True)
class Told:
    value: object
    words: str


@dataclass(frozen=True)
class Elsewhere:
    """It has its effect in the run itself, which another test shows."""

    test: str
    file: Path = Path(__file__)


VOICE = {"mode": "Preset", "voice": "default"}
JOB_FIELDS: dict[str, Passed | Refused | Told | Elsewhere] = {
    "contractRef": Refused({"name": "another"}, "the VoiceContract another is not among the documents"),
    "task": Elsewhere("test_task_and_synthesis_are_passed_on"),
    "model": Passed({"path": "/models/mine"}),
    "input": Passed({"manifest": {"uri": "file:///other/manifest.jsonl"}}),
    "only": Passed("0-3"),
    "source": Refused({"jobRef": {"name": "night"}, "select": "Failed"}, "write input", without="input"),
    "output": Passed({"uri": "file:///Volumes/audio/results/", "formats": ["jsonl", "vtt"]}),
    "transcription": Passed({"language": "en"}),
    "synthesis": Elsewhere("test_task_and_synthesis_are_passed_on"),
    "credentialsSecretRef": Elsewhere("test_credentials_come_from_the_environment"),
    "parallelism": Elsewhere("test_a_run_takes_no_more_lanes_than_its_job_allows", RUNS / "test_run.py"),
    "priority": Told(5, "chooses among the Macs of a fleet"),
    "activeDeadlineSeconds": Elsewhere("test_limits_of_the_job_stop_the_run"),
    "maxMachineSeconds": Elsewhere("test_limits_of_the_job_stop_the_run"),
    "suspend": Refused(True, "nothing of it may run; write false"),
    "cancel": Refused(True, "nothing of it may run; leave it out"),
    "sharding": Passed({"targetAudio": "16s"}),
    "macSelector": Told({"matchLabels": {"site": "berlin"}}, "chooses among the Macs of a fleet"),
    "tolerations": Told([{"operator": "Exists"}], "chooses among the Macs of a fleet"),
    "requirements": Elsewhere("test_requirements_that_this_machine_does_not_meet_are_told"),
    "billingKey": Told("team-speech", "nobody is billed"),
}
CONTRACT_FIELDS: dict[str, Passed | Refused | Told | Elsewhere] = {
    "input": Passed({"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1]}),
    "conversions": Passed({"resample": {"toHz": 16000, "quality": "soxr_hq"}}),
    "output": Passed({"formats": ["jsonl", "srt"], "timestamps": "Segment", "audio": {"container": "flac"}}),
    "buffer": Passed({"headroomPercent": 50}),
    "batching": Passed({"ladder": {"from": 1, "to": 2}}),
    "retries": Passed({"maxRetries": 1}),
    "quarantine": Passed({"maxClips": 7}),
    "failureBudget": Passed({"retriesPerHour": 50}),
    "completeness": Passed({"minCoveragePercent": 80}),
    "slo": Elsewhere("test_the_bound_of_a_ladder_is_passed_on"),
    "scratch": Passed({"maxBytes": "1Gi"}),
}
"""Its stages are those of a fleet, so that what an attempt is told of the contract has its effect."""


def aliases(model: type[ApiModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def test_every_field_of_both_specs_has_a_row() -> None:
    assert set(JOB_FIELDS) == aliases(AudioBatchJobSpec)
    assert set(CONTRACT_FIELDS) == aliases(VoiceContractSpec)
    rows = [*JOB_FIELDS.values(), *CONTRACT_FIELDS.values()]
    assert all(f"def {row.test}(" in row.file.read_text() for row in rows if isinstance(row, Elsewhere))


@pytest.mark.parametrize("field", JOB_FIELDS)
def test_a_field_of_the_job_is_honoured_refused_or_told(field: str) -> None:
    _look(field, JOB_FIELDS[field], "job")


@pytest.mark.parametrize("field", CONTRACT_FIELDS)
def test_a_field_of_the_contract_is_honoured(field: str) -> None:
    _look(field, CONTRACT_FIELDS[field], "contract")


def _look(field: str, row: Passed | Refused | Told | Elsewhere, kind: str) -> None:
    match row:
        case Passed(value):
            assert passed_on(documents(**{kind: {field: value}})) != passed_on(documents())
        case Refused(value, advice, without):
            changes = {field: value} | ({} if without is None else {without: None})
            with pytest.raises(DocumentError) as refused:
                documents(**{kind: changes})
            assert f"spec.{field}" in str(refused.value) and advice in str(refused.value)
        case Told(value, words):
            assert words in told(documents(**{kind: {field: value}}))[f"spec.{field}"]
            assert f"spec.{field}" not in told(documents(**{kind: {field: None}}))


def test_task_and_synthesis_are_passed_on() -> None:
    texts = {"task": "Synthesize", "input": {"clips": [{"id": "a", "text": "one"}]}}
    first = passed_on(documents({**texts, "synthesis": VOICE}))
    assert first != passed_on(documents())
    assert first != passed_on(documents({**texts, "synthesis": {"mode": "VoiceDesign", "instruction": "old and calm"}}))


def test_credentials_come_from_the_environment() -> None:
    assert documents({"credentialsSecretRef": {"name": "s3"}}).job.spec.credentials_secret_ref is not None
    with pytest.raises(CredentialsMissing):
        from_environment({})


def test_limits_of_the_job_stop_the_run() -> None:
    """tests/component/standalone/test_interrupted.py stops a run."""
    assert run_limit(documents().job.spec, 1, 100) is None
    both = documents({"activeDeadlineSeconds": 60, "maxMachineSeconds": 100}).job.spec
    found = [run_limit(both, lanes, before) for lanes, before in ((1, 0), (2, 0), (2, 50), (1, 200))]
    assert [limit and (limit.seconds, limit.reason.split(",")[0].split(".")[-1]) for limit in found] == [
        (60, "activeDeadlineSeconds"),
        (50, "maxMachineSeconds"),
        (25, "maxMachineSeconds"),
        (0, "maxMachineSeconds"),
    ]


@pytest.mark.parametrize(
    ("asked", "field", "words"),
    [
        ({"memory": "32Gi"}, "spec.requirements.memory", "asks for 32Gi, and this machine has 16.0 GiB"),
        ({"chips": ["M2", "M5"]}, "spec.requirements.chips", "asks for M2 or M5, and this machine has Apple M4"),
        ({"homogeneous": True}, "spec.requirements.homogeneous", "says nothing to a run on one machine"),
    ],
)
def test_requirements_that_this_machine_does_not_meet_are_told(
    asked: dict[str, object], field: str, words: str
) -> None:
    assert words in told(documents({"requirements": asked}))[field]
    met = documents({"requirements": {"memory": "16Gi", "chips": ["M4"]}})
    assert not any(name.startswith("spec.requirements") for name in told(met))


def test_the_bound_of_a_ladder_is_passed_on() -> None:
    laddered: dict[str, Any] = {"batching": {"ladder": {}}}
    bound = passed_on(documents(contract={**laddered, "slo": {"offlineTailP95": "30s"}}))
    assert bound != passed_on(documents(contract=laddered))
