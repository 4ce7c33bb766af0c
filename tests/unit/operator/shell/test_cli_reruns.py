"""What `voxfleet retry`, `suspend` and their like ask for, and with which words they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.job_source import SourceSelect
from voxfleet_cli.command_line import Refused
from voxfleet_cli.job_verbs import Verb, change_of
from voxfleet_cli.reruns import MAX_JOB_NAME, counted, free_name, parsed_clips, rerun_of

SINCE = "2026-11-20T11:00:00Z"
PLAN = {
    "attempt": 1,
    "manifestSha256": "b" * 64,
    "modelDigest": f"sha256:{'c' * 64}",
    "boundaries": [0, 10],
    "audioSeconds": "20.000",
}


def condition(type_: str, status: str, reason: str) -> dict[str, str]:
    return {"type": type_, "status": status, "reason": reason, "lastTransitionTime": SINCE}


ENDED: dict[str, Any] = {
    "conditions": [condition("Failed", "True", "ClipsFailed"), condition("Complete", "False", "Failed")],
    "clips": {"total": 10, "succeeded": 5, "failed": 3, "quarantined": 2},
    "plan": PLAN,
    "results": {"uri": "file:///out/nightly-12345678/index.json", "sha256": "a" * 64},
}


def job(name: str = "nightly", status: dict[str, Any] | None = None, **spec: Any) -> AudioBatchJob:
    body = {
        "contractRef": {"name": "calls"},
        "model": {"builtin": {"name": "commands"}},
        "input": {"prefix": {"uri": "file:///in/"}},
        "output": {"uri": "file:///out/"},
        **spec,
    }
    metadata = {"name": name, "namespace": "ns", "uid": f"12345678-{name}"}
    spec_of = {field: value for field, value in body.items() if value is not None}
    return AudioBatchJob.load({"metadata": metadata, "spec": spec_of, "status": ENDED if status is None else status})


def test_a_rerun_has_the_spec_of_the_job_but_for_its_clips() -> None:
    night = job(parallelism=7, billingKey="team", only="0-5", suspend=True, maxMachineSeconds=99)
    rerun = rerun_of(night, [night], SourceSelect.FAILED, None, None)
    assert rerun["metadata"] == {"name": "nightly-retry-1", "namespace": "ns"}
    spec = rerun["spec"]
    assert spec["source"] == {"jobRef": {"name": "nightly"}, "select": "Failed"}
    assert not {"input", "only", "suspend", "cancel"} & spec.keys()
    kept = {"parallelism": 7, "billingKey": "team", "maxMachineSeconds": 99, "output": {"uri": "file:///out/"}}
    assert {name: spec[name] for name in kept} == kept
    AudioBatchJob.load({"metadata": rerun["metadata"], "spec": spec})


def test_every_field_of_a_job_is_copied_or_left_out_knowingly() -> None:
    left_out = {"input", "only", "source", "suspend", "cancel"}
    fields = {info.alias for info in type(job().spec).model_fields.values()}
    filled = job(billingKey="t", activeDeadlineSeconds=5).spec.dump()
    spec = rerun_of(job(**filled), [], SourceSelect.FAILED, None, None)["spec"]
    optional = {"synthesis", "credentialsSecretRef", "maxMachineSeconds"}
    assert spec.keys() - {"source"} == fields - left_out - optional


def test_a_field_that_nobody_wrote_is_not_written() -> None:
    """An operator that does not know it could not read the job."""
    spec = rerun_of(job(requirements={"memory": "16Gi"}), [], SourceSelect.FAILED, None, None)["spec"]
    assert spec.keys() == {"contractRef", "source", "model", "output", "requirements"}
    assert spec["requirements"] == {"memory": "16Gi"}


@pytest.mark.parametrize(
    ("name", "taken", "expected"),
    [
        ("nightly", set(), "nightly-retry-1"),
        ("nightly", {"nightly-retry-1", "nightly-retry-2"}, "nightly-retry-3"),
        ("nightly-retry-1", {"nightly-retry-1"}, "nightly-retry-2"),
        ("n" * 52, set(), "n" * 44 + "-retry-1"),
        ("n" * 43 + "-" + "m" * 8, set(), "n" * 43 + "-retry-1"),
    ],
)
def test_the_name_of_a_rerun(name: str, taken: set[str], expected: str) -> None:
    assert free_name(name, taken) == expected and len(expected) <= MAX_JOB_NAME


@pytest.mark.parametrize(
    ("status", "select", "clips", "said"),
    [
        ({}, SourceSelect.FAILED, None, "job nightly has not ended"),
        (ENDED | {"results": None}, SourceSelect.FAILED, None, "job nightly ended without results"),
        (ENDED, SourceSelect.NOT_RUN, None, "of 10, 3 failed, 2 are in quarantine and 0 did not run"),
        (ENDED, SourceSelect.QUARANTINED, "3,10", "job nightly has 10 clips, 0 to 9, and no clip 10"),
    ],
)
def test_a_rerun_that_makes_no_sense_is_refused(
    status: dict[str, Any], select: SourceSelect, clips: str | None, said: str
) -> None:
    with pytest.raises(Refused, match=said):
        rerun_of(job(status=status), [], select, clips, None)


def test_the_same_clips_are_not_run_again_by_a_second_command() -> None:
    night = job()
    first = job("nightly-retry-1", {}, input=None, source={"jobRef": {"name": "nightly"}, "select": "Failed"})
    with pytest.raises(Refused, match="job nightly-retry-1 already runs these clips again"):
        rerun_of(night, [night, first], SourceSelect.FAILED, None, None)
    assert rerun_of(night, [night, first], SourceSelect.FAILED, None, "once-more")["metadata"]["name"] == "once-more"
    assert (
        rerun_of(night, [night, first], SourceSelect.QUARANTINED, None, None)["metadata"]["name"] == "nightly-retry-2"
    )
    of_an_earlier_one = {"uid": "other", "folder": "f", "indexSha256": "a" * 64, "planAttempt": 1}
    earlier = job(
        "x", {"source": of_an_earlier_one}, input=None, source=first.spec.source.dump() if first.spec.source else None
    )
    assert rerun_of(night, [night, earlier], SourceSelect.FAILED, None, None)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (None, None, "runs these clips again"),
        (None, "3", "runs these clips again"),
        ("3-5", None, "runs clips 3-5 again"),
        ("3,4,5", "3-5", "runs these clips again"),
        ("3-5", "5,9", "runs clips 5 again"),
        ("3-5", "6-9", None),
        ("5,3", "3", None),
    ],
)
def test_clips_that_two_reruns_name_run_once(first: str | None, second: str | None, said: str | None) -> None:
    source = {"jobRef": {"name": "nightly"}, "select": "Failed"} | ({} if first is None else {"indexes": first})
    night, others = job(), [job("nightly-retry-1", {}, input=None, source=source)]
    if said is None:
        assert rerun_of(night, others, SourceSelect.FAILED, second, None)["metadata"]["name"] == "nightly-retry-2"
        return
    with pytest.raises(Refused, match=said):
        rerun_of(night, others, SourceSelect.FAILED, second, None)


def test_a_rerun_that_ended_without_results_stands_in_nobodys_way() -> None:
    source = {"jobRef": {"name": "nightly"}, "select": "Failed"}
    cancelled = job("nightly-retry-1", ENDED | {"results": None}, input=None, source=source)
    assert rerun_of(job(), [cancelled], SourceSelect.FAILED, None, None)["metadata"]["name"] == "nightly-retry-2"
    with pytest.raises(Refused, match="nightly-retry-1 already runs these clips again"):
        rerun_of(job(), [job("nightly-retry-1", ENDED, input=None, source=source)], SourceSelect.FAILED, None, None)


def test_clips_are_named_in_their_shortest_form() -> None:
    assert parsed_clips("3,4,5,9") == "3-5,9"
    with pytest.raises(ValueError, match="write for example"):
        parsed_clips("")
    with pytest.raises(ValueError, match="is not an index or a range"):
        parsed_clips("three")


def test_a_command_says_how_many_clips_it_runs() -> None:
    assert counted(job(), SourceSelect.FAILED, None) == "3 clips (failed)"
    assert counted(job(), SourceSelect.QUARANTINED, "7") == "1 clip (in quarantine)"


RUNNING: dict[str, Any] = {"conditions": [condition("Complete", "False", "Running")]}
MERGING = RUNNING | {"finalizeTime": SINCE}


@pytest.mark.parametrize(
    ("verb", "spec", "changed"),
    [
        (Verb.SUSPEND, {}, {"suspend": True}),
        (Verb.SUSPEND, {"suspend": True}, {}),
        (Verb.RESUME, {"suspend": True}, {"suspend": False}),
        (Verb.RESUME, {}, {}),
        (Verb.CANCEL, {}, {"cancel": True}),
        (Verb.CANCEL, {"cancel": True}, {}),
    ],
)
def test_a_verb_changes_one_field_and_twice_nothing(
    verb: Verb, spec: dict[str, Any], changed: dict[str, object]
) -> None:
    assert change_of(job(status=RUNNING, **spec), verb).spec == changed


@pytest.mark.parametrize("verb", Verb)
def test_a_job_that_has_ended_is_left_alone(verb: Verb) -> None:
    with pytest.raises(Refused, match=r"has ended \(Failed\)"):
        change_of(job(), verb)


def test_a_job_that_merges_is_not_suspended_but_may_be_cancelled() -> None:
    with pytest.raises(Refused, match="only merges what was done"):
        change_of(job(status=MERGING), Verb.SUSPEND)
    assert change_of(job(status=MERGING), Verb.CANCEL).spec == {"cancel": True}
