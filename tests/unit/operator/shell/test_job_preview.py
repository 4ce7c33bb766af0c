"""`voxfleet plan`: the files, the verdict and the estimate, without a cluster."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from tests.rig.price_books import book, lessor

from voxfleet_api import API_VERSION
from voxfleet_api.kinds import AudioBatchJob, MacAgent
from voxfleet_billing.budget_use import Payer
from voxfleet_cli.explainers.explanation import Plain
from voxfleet_cli.job_preview.documents import DocumentError, read_documents
from voxfleet_cli.job_preview.preview import COULD_NOT_RUN, COULD_RUN, JobFindings, preview
from voxfleet_cli.render import print_explanation

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SINCE = "2026-11-20T11:00:00Z"
DIGEST, OTHER = (f"sha256:{letter * 64}" for letter in "ab")
SPEC: dict[str, Any] = {
    "contractRef": {"name": "calls"},
    "model": {"builtin": {"name": "commands"}},
    "input": {"prefix": {"uri": "file:///data/in/"}},
    "output": {"uri": "file:///data/out/"},
}


def job(name: str = "nightly", status: dict[str, Any] | None = None, **spec: Any) -> AudioBatchJob:
    metadata = {"name": name, "namespace": "speech", "uid": f"{name}-12345678"}
    fields = {field: value for field, value in (SPEC | spec).items() if value is not None}
    return AudioBatchJob.load({"metadata": metadata, "spec": fields, "status": status or {}})


OPEN = {"namespaceSelector": {"matchLabels": {"team": "a"}}, "uriPrefixes": ["file:///data/"]}


def mac(
    name: str = "mac-a",
    available: tuple[str, str] | None = ("True", ""),
    lanes: int = 2,
    reason: str = "R",
    kind: str = "Offline",
    **spec: Any,
) -> MacAgent:
    fields = {
        "ssh": {
            "host": "h",
            "user": "u",
            "hostKeys": ["ssh-ed25519 " + "A" * 68],
            "identitySecretRef": {"name": "s", "key": "k"},
        },
        "tokenSecretRef": {"name": "s", "key": "k"},
        "ledgerPublicKey": "A" * 43 + "=",
        "access": [OPEN],
        **spec,
    }
    condition = [
        {"type": "Available", "status": status, "reason": reason, "message": message, "lastTransitionTime": SINCE}
        for status, message in ([available] if available is not None else [])
    ]
    machine = {
        "hardwareId": name,
        "chip": "M4",
        "memoryBytes": 1,
        "os": "macOS",
        "versions": {},
        "pools": [{"name": "one", "kind": kind, "lanes": lanes}],
    }
    status = {"conditions": condition, "machine": machine}
    return MacAgent.load({"metadata": {"name": name, "labels": {}}, "spec": fields, "status": status})


def ran(name: str, audio: str, machine: str, digest: str = DIGEST, **spec: Any) -> AudioBatchJob:
    """A job that ran before."""
    contract = {"digest": digest, "spec": {"input": {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1]}}}
    return job(name, {"contract": contract, "usage": {"audioSeconds": audio, "machineSeconds": machine}}, **spec)


def found(**fields: Any) -> JobFindings:
    plain: dict[str, Any] = {
        "job": job(),
        "name": "nightly",
        "namespace": "speech",
        "now": NOON,
        "contract_digest": DIGEST,
        "macs": [mac()],
        "labels": {"team": "a"},
    }
    return JobFindings(**{**plain, **fields})


def macs_of(plain: Plain) -> dict[str, str | None]:
    return {line["name"]: line.get("reason") for line in plain["macs"]}


def test_every_mac_is_judged_as_placement_would() -> None:
    macs = [
        mac("fits"),
        mac("down", available=("False", "no route to host")),
        mac("unseen", available=None),
        mac("closed", access=[]),
        mac("live", kind="Interactive"),
        mac("other-keys", access=[{**OPEN, "billingKeys": ["day"]}]),
    ]
    plain = preview(found(macs=macs))
    reasons = macs_of(plain)
    assert (plain["state"], reasons["fits"], reasons["down"]) == (COULD_RUN, None, "no route to host")
    assert reasons["live"] == "has no Offline lane (its pools are Interactive)"
    assert "operator has not looked at it yet" in (reasons["unseen"] or "")
    assert "no access to the job's addresses" in (reasons["closed"] or "")
    assert "does not take the job's billing key" in (reasons["other-keys"] or "")
    assert macs_of(preview(found(job=job(macSelector={"matchLabels": {"zone": "b"}})))) == {
        "mac-a": "does not match the job's macSelector"
    }


@pytest.mark.parametrize(
    ("fields", "next_step"),
    [
        ({"macs": []}, "there is no MacAgent"),
        ({"labels": {"team": "b"}}, "0/1 Macs fit: 1 gives this namespace no access"),
        ({"problems": ("spec.model: Required value",)}, "spec.model: Required value"),
        ({"job": None, "problems": ("it cannot be read",)}, "it cannot be read"),
    ],
)
def test_what_could_not_run_says_why_first(fields: dict[str, Any], next_step: str) -> None:
    plain = preview(found(**fields))
    assert plain["state"] == COULD_NOT_RUN and next_step in plain["next"]


RERUN = job("nightly-retry-1", input=None, source={"jobRef": {"name": "nightly"}, "select": "Failed"})
FAILED = {"type": "Failed", "status": "True", "reason": "ClipsFailed", "lastTransitionTime": SINCE}
WITH_RESULTS: dict[str, Any] = {
    "conditions": [FAILED],
    "plan": {
        "attempt": 1,
        "manifestSha256": "b" * 64,
        "modelDigest": DIGEST,
        "boundaries": [0, 10],
        "audioSeconds": "20.000",
    },
    "results": {"uri": "file:///old/nightly-nightly-/index.json", "sha256": "a" * 64},
}


@pytest.mark.parametrize(
    ("jobs", "problem"),
    [
        ([], "AudioBatchJob nightly, which spec.source names, does not exist in namespace speech"),
        ([job(status={"conditions": [FAILED]})], "ended without results"),
        ([job(status=WITH_RESULTS, output={"uri": "s3://old/"})], "apply the rerun with credentialsSecretRef"),
    ],
)
def test_a_rerun_of_a_job_that_will_not_do_could_not_run(jobs: list[AudioBatchJob], problem: str) -> None:
    plain = preview(found(job=RERUN, name="nightly-retry-1", jobs=jobs))
    assert plain["state"] == COULD_NOT_RUN and problem in plain["next"] and plain["problems"] == [plain["next"]]


def test_a_rerun_is_judged_by_the_folder_of_the_earlier_job() -> None:
    earlier = job(status=WITH_RESULTS, output={"uri": "file:///old/"})
    plain = preview(found(job=RERUN, jobs=[earlier]))
    assert plain["state"] == COULD_NOT_RUN and "no access to the job's addresses" in plain["next"]
    assert (
        plain["addresses"][-1]["uri"].startswith("file:///old/nightly-")
        and plain["addresses"][-1]["openOn"] == "no Mac"
    )
    both = mac(access=[{"namespaceSelector": {}, "uriPrefixes": ["file:///data/", "file:///old/"]}])
    assert preview(found(job=RERUN, jobs=[earlier], macs=[both]))["state"] == COULD_RUN


def test_a_rerun_may_wait_for_the_end_of_the_earlier_job() -> None:
    plain = preview(found(job=RERUN, jobs=[job()]))
    assert plain["state"] == COULD_RUN
    assert any("waits for the end of job nightly" in line for line in plain["notLookedAt"])


HOUR = 3_600_000
NIGHT = {"timeZone": "UTC", "windows": [{"start": "20:00", "end": "06:00"}]}
BEFORE = {"rentalStart": "2026-12-01T00:00:00Z"}
AFTER = {"rentalEnd": "2026-11-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("reason", "spec", "later"),
    [
        ("OutsideWindow", {"availability": NIGHT}, True),
        ("OutsideRental", {"availability": BEFORE}, True),
        ("OutsideRental", {"availability": AFTER}, False),
        ("OutsideWindow", {"availability": NIGHT | {"rentalEnd": "2026-11-20T18:00:00Z"}}, False),
        ("OutsideWindow", {"availability": NIGHT, "access": []}, False),
        ("FailsTooOften", {}, True),
        ("FailsTooOften", {"taints": [{"key": "rented"}]}, False),
        ("Unschedulable", {}, False),
        ("HostKeyMismatch", {"availability": NIGHT}, False),
    ],
)
def test_a_mac_that_is_closed_for_a_while_takes_the_job_later(reason: str, spec: dict[str, Any], later: bool) -> None:
    jobs = [ran("n-1", "7200.000", "72.000")]
    closed = mac(available=("False", "opens at 20:00"), reason=reason, **spec)
    plain = preview(found(macs=[closed], jobs=jobs, audio_milliseconds=HOUR))
    (line,) = plain["macs"]
    assert (plain["state"], line.get("fitsLater", False)) == (COULD_RUN if later else COULD_NOT_RUN, later)
    assert not line["fits"] and ("opens at 20:00" in plain["next"]) == (later or line["reason"] == "opens at 20:00")
    assert not later or (plain["next"].startswith("apply it") and plain["estimate"]["lanes"] == 2)
    beside = preview(found(macs=[closed, mac("open")]))
    assert beside["state"] == COULD_RUN and "opens at" not in beside["next"]


def test_what_may_not_be_read_is_said_and_taken_as_good() -> None:
    plain = preview(found(labels=None, notes=("the labels",)))
    assert plain["state"] == COULD_RUN and "the labels" in plain["notLookedAt"]
    assert preview(found(macs=None, notes=("the Macs",)))["state"] == COULD_RUN


def test_addresses_name_the_macs_that_open_them() -> None:
    other = mac("mac-b", access=[{"namespaceSelector": {}, "uriPrefixes": ["file:///data/out/"]}])
    plain = preview(found(macs=[mac(), other], job=job(model={"uri": "file:///models/x/"})))
    assert {line["uri"]: line["openOn"] for line in plain["addresses"]} == {
        "file:///data/in/": "mac-a",
        "file:///data/out/": "mac-a, mac-b",
        "file:///models/x/": "no Mac",
    }


def test_a_manifests_own_addresses_are_left_to_plan() -> None:
    by_manifest = job(input={"manifest": {"uri": "file:///data/m.jsonl"}})
    assert any("inside the manifest" in line for line in preview(found(job=by_manifest))["notLookedAt"])
    assert not any("inside the manifest" in line for line in preview(found())["notLookedAt"])


@pytest.mark.parametrize(
    ("jobs", "audio", "expected"),
    [
        ([], HOUR, {"basedOn": "nothing: no job of this namespace has run this model yet"}),
        ([ran("n-1", "7200.000", "72.000")], HOUR, {"machineSeconds": 36, "wallSeconds": 18, "basedOn": "job n-1"}),
        ([ran("n-1", "100.000", "2.000"), ran("n-2", "300.000", "2.000")], HOUR, {"machineSeconds": 36}),
        ([ran("n-1", "100.000", "1.000"), ran("o", "900.000", "3.000", OTHER)], HOUR, {"machineSeconds": 36}),
        (
            [ran("o", "1.000", "1.000", OTHER)],
            HOUR,
            {"machineSeconds": 3600, "basedOn": "job o, under another contract"},
        ),
        (
            [ran("m", "1.000", "1.000", model={"path": "/m"})],
            HOUR,
            {"basedOn": "nothing: no job of this namespace has run this model yet"},
        ),
        ([ran("n-1", "100.000", "1.000")], None, {"audioSecondsPerMachineSecond": "100.0"}),
    ],
)
def test_the_estimate_goes_by_jobs_that_ran(
    jobs: list[AudioBatchJob], audio: int | None, expected: dict[str, object]
) -> None:
    estimate = preview(found(jobs=jobs, audio_milliseconds=audio))["estimate"]
    assert {key: estimate.get(key) for key in expected} == expected
    assert ("machineSeconds" in estimate) == (audio is not None and "nothing" not in estimate["basedOn"])
    assert ("audio" in estimate) == (audio is None)


def test_no_more_lanes_are_counted_than_work_on_the_job() -> None:
    jobs = [ran("n-1", "100.000", "1.000")]
    for fields, lanes in (({"parallelism": 1}, 1), ({"sharding": {"targetAudio": "1h"}}, 1), ({"parallelism": 9}, 2)):
        estimate = preview(found(jobs=jobs, audio_milliseconds=HOUR, job=job(**fields)))["estimate"]
        assert (estimate["lanes"], estimate["wallSeconds"]) == (lanes, 36 // lanes)


def test_people_read_a_verdict_and_tables() -> None:
    out = io.StringIO()
    print_explanation(Console(file=out, width=200), preview(found(macs=[mac(), mac("mac-b", access=[])])))
    text = out.getvalue()
    assert "AudioBatchJob nightly in namespace speech: CouldRun" in text
    assert "mac-a   yes    2" in text and "mac-b   no" in text


# The files.


def write(folder: Path, *documents: dict[str, Any]) -> Path:
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump_all(documents))
    return file


def a_document(kind: str, name: str, namespace: str | None = None, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name} | ({} if namespace is None else {"namespace": namespace})
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


JOB = a_document("AudioBatchJob", "nightly", **SPEC)


def test_a_job_is_found_with_the_contract_that_it_names(tmp_path: Path) -> None:
    other = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
    contracts = [a_document("VoiceContract", name) for name in ("calls", "others")]
    documents = read_documents([write(tmp_path, other, *contracts, JOB)], None, "speech")
    assert documents.namespace == "speech" and documents.contract is not None
    assert documents.contract["metadata"] == {"name": "calls", "namespace": "speech"}
    assert read_documents([write(tmp_path, JOB)], None, "speech").contract is None
    foreign = a_document("VoiceContract", "calls", "elsewhere")
    assert read_documents([write(tmp_path, foreign, JOB)], None, "speech").contract is None


@pytest.mark.parametrize(
    ("documents", "namespace", "message"),
    [
        ([], None, "0 AudioBatchJobs"),
        ([JOB, JOB], None, "2 AudioBatchJobs"),
        ([a_document("AudioBatchJob", "n", "here")], "there", "is here, and -n says there"),
        ([{"kind": "AudioBatchJob"}], None, "document 1 is no object"),
    ],
)
def test_files_without_exactly_one_job_are_refused(
    documents: list[dict[str, Any]], namespace: str | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DocumentError, match=message):
        read_documents([write(tmp_path, *documents)], namespace, "speech")


def test_what_is_no_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("kind: AudioBatchJob\nspec: [\n")
    with pytest.raises(DocumentError, match=r"job.yaml: is not YAML: .* in line 3"):
        read_documents([file], None, "speech")
    file.write_text("kind: AudioBatchJob\nspec: {deadline: 2026-02-30}\n")
    with pytest.raises(DocumentError, match=r"job.yaml: is not YAML: day is out of range"):
        read_documents([file], None, "speech")
    file.write_text("kind: AudioBatchJob\nmetadata: {name: 2026-11-31}\n")
    with pytest.raises(DocumentError, match=r"job.yaml: is not YAML: day is out of range"):
        read_documents([file], None, "speech")
    with pytest.raises(DocumentError, match="No such file"):
        read_documents([tmp_path / "none.yaml"], None, "speech")


BUDGETS = [
    {"billingKey": "team-speech", "machineHoursPerMonth": "10", "policy": "Hold"},
    {"namespace": "speech", "machineHoursPerMonth": "100", "policy": "Warn"},
    {"namespace": "other", "machineHoursPerMonth": "1", "policy": "Hold"},
]


def with_budgets(hours_used: int, audio_hours: int | None = None) -> JobFindings:
    """An hour of machine time for ten of audio."""
    return found(
        job=job(billingKey="team-speech"),
        jobs=[ran("earlier", "36000.000", "3600.000")],
        audio_milliseconds=None if audio_hours is None else audio_hours * 3_600_000,
        price_book=book(lessor(), budgets=BUDGETS),
        used={Payer("speech", "team-speech"): hours_used * 3_600_000, Payer("other"): 9 * 3_600_000},
    )


@pytest.mark.parametrize(
    ("hours_used", "audio_hours", "then"),
    [
        (4, 60, "it fits: 6.0000 of the 6.0000 machine-hours that are left"),
        (
            4,
            70,
            "the job takes 7.0000 machine-hours, and 6.0000 are left: then its shards wait until 2026-12-01, or until"
            " the price book has more",
        ),
        (4, None, "6.0000 machine-hours are left; what the job takes is unknown"),
        (10, 1, "it waits until 2026-12-01, or until the price book has more"),
    ],
)
def test_a_plan_says_when_a_budget_would_hold_the_job(hours_used: int, audio_hours: int | None, then: str) -> None:
    plain = preview(with_budgets(hours_used, audio_hours))
    key, namespace = plain["budgets"]
    assert (key["name"], key["policy"], key["then"]) == ("billing key team-speech", "Hold", then)
    assert key["used"] == f"{hours_used}.0 of 10 machine-hours used in 2026-11"
    assert namespace["name"] == "namespace speech" and "wait" not in namespace["then"]
    waits = "; it waits: budget of billing key team-speech: 10.0 of 10 machine-hours used"
    assert plain["state"] == COULD_RUN and (waits in plain["next"]) == (hours_used == 10)
    assert any("no statement counts yet" in note for note in plain["notLookedAt"])


def test_a_budget_that_only_warns_lets_the_job_go_on() -> None:
    namespace = preview(with_budgets(95, 100))["budgets"][1]
    assert namespace["then"] == "the job takes 10.0000 machine-hours, and 5.0000 are left: it goes on beyond the budget"


def test_a_plan_without_statements_or_budgets_says_nothing_of_them() -> None:
    assert "budgets" not in preview(replace(with_budgets(4), used=None))
    assert "budgets" not in preview(replace(with_budgets(4), price_book=book(lessor())))


def test_with_a_price_book_a_plan_has_a_cost() -> None:
    billing = {"lessor": "acme", "sku": "m4pro-48"}
    given = found(
        job=job(maxMachineSeconds=7200),
        macs=[mac(billing=billing)],
        jobs=[ran("earlier", "36000.000", "3600.000")],
        audio_milliseconds=36_000_000,
        price_book=book(lessor()),
    )
    assert preview(given)["estimate"]["cost"] == (
        "at most 2.00 EUR (at 2 an hour; its maxMachineSeconds would cost 4.00)"
    )
    assert "cost" not in preview(replace(given, price_book=None))["estimate"]
