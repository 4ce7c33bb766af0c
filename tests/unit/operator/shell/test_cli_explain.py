"""`voxfleet why` names the cause and the next step."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console
from tests.unit.operator.decisions.bodies import mac_agent

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import KINDS, AudioBatchJob, AudioShard, MacAgent
from voxfleet_cli.explain import explain, failed
from voxfleet_cli.names import UnknownKind, kind_of, no_such, parse_target
from voxfleet_cli.render import print_explanation

SINCE = "2026-11-20T11:00:00Z"
KEY = f"{'A' * 43}="


def condition(type_: str, status: str, reason: str, message: str = "") -> dict[str, str]:
    return {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": SINCE}


def job(*conditions: dict[str, str], **status: Any) -> AudioBatchJob:
    spec = {
        "contractRef": {"name": "calls"},
        "model": {"builtin": {"name": "commands"}},
        "input": {"prefix": {"uri": "file:///in/"}},
        "output": {"uri": "file:///out/"},
    }
    metadata = {"name": "nightly", "namespace": "ns", "uid": "job-1"}
    return AudioBatchJob.load({"metadata": metadata, "spec": spec, "status": {"conditions": [*conditions], **status}})


def next_of(resource: AudioBatchJob | MacAgent) -> str:
    return str(explain(resource)["next"])


def test_a_job_that_nobody_looked_at_asks_for_the_operator() -> None:
    assert "operator has not looked" in next_of(job())
    assert explain(job())["state"] == "Unseen"


def test_a_refused_job_says_what_the_condition_says() -> None:
    refused = job(condition("Accepted", "False", "ContractNotFound", "create VoiceContract calls"))
    assert next_of(refused) == "create VoiceContract calls"


def test_a_waiting_job_says_why_it_has_no_mac() -> None:
    waiting = job(
        condition("Accepted", "True", "Accepted"),
        condition("Complete", "False", "Pending"),
        pendingReason="0/2 Macs fit: 2 unreachable",
    )
    assert "0/2 Macs fit: 2 unreachable" in next_of(waiting)
    assert explain(waiting)["pending"] == "0/2 Macs fit: 2 unreachable"


def test_a_job_that_waits_for_its_budget_is_helped_by_no_mac() -> None:
    reason = "budget of billing key speech: 1.0 of 1 machine-hours used in 2026-11; raise it in the price book"
    waiting = job(
        condition("Accepted", "True", "Accepted"), condition("Complete", "False", "Pending"), pendingReason=reason
    )
    assert next_of(waiting) == f"wait: {reason}" and explain(waiting)["pending"] == reason


def test_a_failed_job_gives_the_class_own_advice_and_fails_scripts() -> None:
    broken = job(
        condition("Accepted", "True", "Accepted"),
        condition("Complete", "False", "Failed"),
        condition("Failed", "True", "ModelUnavailable", "/models/x does not exist."),
    )
    assert next_of(broken).startswith("/models/x does not exist. Correct spec.model")
    assert failed(broken)
    assert not failed(job())


@pytest.mark.parametrize(
    "reason",
    [
        Reason.QUARANTINE_LIMIT_EXCEEDED,
        Reason.CLIPS_FAILED,
        Reason.ATTEMPTS_EXHAUSTED,
        Reason.DEADLINE_EXCEEDED,
        Reason.FINALIZE_DEADLINE_EXCEEDED,
        Reason.CANCELLED,
    ],
)
def test_a_job_that_failed_for_a_reason_of_its_own_has_a_next_step(reason: Reason) -> None:
    ended = job(condition("Complete", "False", "Failed"), condition("Failed", "True", reason, "this is why"))
    cause, *_, step = next_of(ended).split(". ")
    assert cause == "this is why" and step == "To run it again, apply the job under another name."


RETRY = "voxfleet retry nightly -n ns"


@pytest.mark.parametrize(
    ("reason", "clips", "expected"),
    [
        (Reason.CLIPS_FAILED, {"failed": 2}, [f"Once that is mended: {RETRY}."]),
        (Reason.CANCELLED, {"notRun": 3}, [f"The rest: {RETRY} --select not-run."]),
        (
            Reason.ATTEMPTS_EXHAUSTED,
            {"failed": 2, "notRun": 3},
            [f"Once that is mended: {RETRY}.", f"The rest: {RETRY} --select not-run."],
        ),
        (
            Reason.QUARANTINE_LIMIT_EXCEEDED,
            {"quarantined": 4},
            ["Those in quarantine, under another contract: voxfleet quarantine release nightly -n ns --contract NAME."],
        ),
        ("ModelUnavailable", {"notRun": 3}, [f"The rest: {RETRY} --select not-run."]),
    ],
)
def test_a_failed_job_with_results_pays_only_for_its_rest(
    reason: str, clips: dict[str, int], expected: list[str]
) -> None:
    conditions = condition("Complete", "False", "Failed"), condition("Failed", "True", reason, "this is why")
    results = {"uri": "file:///out/nightly-1/index.json", "sha256": "a" * 64}
    said = next_of(job(*conditions, results=results, clips={"total": 9, **clips}))
    assert said.endswith(f" What was done: voxfleet results nightly -n ns. {' '.join(expected)}")
    assert "another name" not in said


def test_a_complete_job_names_its_results_and_its_quarantine() -> None:
    done = job(
        condition("Accepted", "True", "Accepted"),
        condition("Complete", "True", "Finished"),
        clips={"total": 5, "succeeded": 4, "quarantined": 1},
        quarantine=[{"index": 3, "id": "c3", "class": "ChecksumMismatch", "reason": "sha256 differs"}],
        results={"uri": "file:///out/nightly-1/index.json", "sha256": "a" * 64},
    )
    plain = explain(done)
    assert plain["next"].startswith("nothing to mend; 1 clip is in quarantine")
    assert plain["next"].endswith(". Read the results: voxfleet results nightly -n ns")
    assert plain["quarantine"] == [{"index": 3, "id": "c3", "class": "ChecksumMismatch", "reason": "sha256 differs"}]
    assert plain["results"].endswith("index.json")


def test_a_job_names_its_failed_clips_and_where_the_rest_stands() -> None:
    lost = [{"index": index, "id": f"c{index}", "class": "InputNotFound", "reason": "gone"} for index in range(20)]
    results = {"uri": "file:///out/nightly-1/index.json", "sha256": "a" * 64}
    counts = {"total": 50, "failed": 30, "quarantined": 1, "succeeded": 19}
    bad = [{"index": 40, "id": "c40", "class": "DecodeError", "reason": "cut short"}]
    plain = explain(job(clips=counts, failures=lost, quarantine=bad, results=results))
    assert plain["failures"] == lost and plain["quarantine"] == bad
    assert plain["rest"].startswith("21 of 31 clips without a result are shown; all are in ")
    assert plain["rest"].endswith("/errors.jsonl")
    early = explain(job(clips=counts, failures=lost, quarantine=bad))
    assert early["rest"].endswith("/errors.jsonl, once the job is finalized")
    assert "rest" not in explain(
        job(clips={"total": 21, "failed": 20, "quarantined": 1}, failures=lost, quarantine=bad)
    )


def test_a_job_says_what_its_prefix_left_out() -> None:
    skipped = [{"reason": "Hidden", "entries": 2}, {"reason": "OfALaterVersion", "entries": 1}]
    selection = {"listed": 12, "taken": 9, "skipped": skipped}
    frozen = {"manifestSha256": "a" * 64, "modelDigest": f"sha256:{'a' * 64}", "audioSeconds": "9.000"}
    plan = {"attempt": 1, "boundaries": [0, 9], **frozen}
    told = explain(job(plan={**plan, "selection": selection}))["input"]
    assert told == "12 listed, 9 taken, 2 Hidden, 1 OfALaterVersion"
    assert "input" not in explain(job(plan=plan)), "a manifest leaves nothing out"


def test_attempts_show_their_mac_outcome_and_machine_time() -> None:
    shard = AudioShard.load(
        {
            "metadata": {"name": "nightly-00000", "namespace": "ns", "uid": "s"},
            "spec": {
                "jobRef": {"name": "nightly", "uid": "job-1"},
                "stage": "Process",
                "ordinal": 0,
                "indexes": "0-4",
            },
            "status": {
                "attempt": 2,
                "attempts": [
                    {"attempt": 1, "mac": "mac-01", "outcome": "Lost", "class": "MachineLost"},
                    {
                        "attempt": 2,
                        "mac": "mac-02",
                        "outcome": "Succeeded",
                        "usage": {
                            "chainId": "c",
                            "firstSequence": 0,
                            "lastSequence": 2,
                            "rows": 3,
                            "setupMilliseconds": 500,
                            "workMilliseconds": 1001,
                        },
                    },
                ],
            },
        }
    )
    given_up = {"chainId": "", "firstSequence": 0, "lastSequence": -1, "rows": 0, "complete": True, "givenUp": True}
    lost = shard.dump()
    lost["status"]["attempts"][0]["usage"] = {**given_up, "estimate": {"milliseconds": 70_000, "month": "2026-11"}}
    told, _ = explain(job(usage={"estimatedSeconds": "70.000"}), [AudioShard.load(lost)])["attempts"]
    assert told["estimatedSeconds"] == "70.000, its Mac is gone"
    assert explain(job(), [shard])["attempts"] == [
        {
            "shard": "nightly-00000",
            "attempt": 1,
            "mac": "mac-01",
            "outcome": "Lost",
            "class": "MachineLost",
            "usage": "not verified yet",
        },
        {
            "shard": "nightly-00000",
            "attempt": 2,
            "mac": "mac-02",
            "outcome": "Succeeded",
            "machineSeconds": "1.501",
        },
    ]


def test_a_mac_names_the_cause_and_not_its_consequence() -> None:
    mac = MacAgent.load(
        {
            "metadata": {"name": "mac-01"},
            "spec": {
                "ssh": {
                    "host": "h",
                    "user": "u",
                    "hostKeys": [f"ssh-ed25519 {'A' * 68}"],
                    "identitySecretRef": {"name": "n", "key": "k"},
                },
                "tokenSecretRef": {"name": "n", "key": "k"},
                "ledgerPublicKey": KEY,
            },
            "status": {
                "conditions": [
                    condition("Available", "False", "HostKeyMismatch", "not reachable"),
                    condition("Reachable", "False", "HostKeyMismatch", "pin the new key or find out who answers"),
                ]
            },
        }
    )
    assert next_of(mac) == "pin the new key or find out who answers"


@pytest.mark.parametrize(
    ("draining", "reachable", "said"),
    [
        ("True", "True", "wait: shard-1 still runs"),
        ("True", "False", "no route to host; it is empty only once it answers: shard-1 still runs"),
        ("False", "False", "shard-1 still runs; it takes nothing new"),
    ],
)
def test_a_mac_that_drains_is_not_waited_for_while_nobody_reaches_it(draining: str, reachable: str, said: str) -> None:
    conditions = [
        condition("Draining", draining, "Any", "shard-1 still runs"),
        condition("Reachable", reachable, "Any", "no route to host."),
    ]
    mac = MacAgent.load(mac_agent("mac-01") | {"status": {"conditions": conditions}})
    assert next_of(mac) == said


def test_whatever_an_explanation_holds_is_printed() -> None:
    plain = {
        "kind": "Thing",
        "name": "one",
        "state": "Big",
        "next": "nothing",
        "conditions": [condition("Accepted", "True", "Accepted", "m")],
        "colour": "red",
        "sizes": {"a": 1, "b": {"c": 2}, "d": [{"e": 3, "f": 4}, 5]},
        "macs": ["mac-a", "mac-b"],
        "parts": [{"reason": "small", "name": "x"}, {"name": "y", "weight": 7}],
        "rest": "1 of 2 is shown",
    }
    told = io.StringIO()
    print_explanation(Console(file=told, width=20), plain)
    lines = [" ".join(line.split()) for line in told.getvalue().splitlines() if line]
    assert lines == [
        "Thing one: Big",
        "Next: nothing",
        "Colour: red",
        "Sizes: a 1, b (c 2), d (e 3, f 4; 5)",
        "Macs: mac-a, mac-b",
        "1 of 2 is shown",
        "Conditions",
        "TYPE STATUS REASON MESSAGE",
        "Accepted True Accepted m",
        "Parts",
        "NAME WEIGHT REASON",
        "x small",
        "y 7",
    ]


@pytest.mark.parametrize("word", ["job", "Jobs", "abj", "audiobatchjob", "audiobatchjobs"])
def test_kinds_have_many_names(word: str) -> None:
    assert kind_of(word) is AudioBatchJob


def test_targets() -> None:
    assert parse_target("mac/mac-01").kinds == (MacAgent,)
    assert parse_target("nightly").kinds == KINDS
    with pytest.raises(UnknownKind, match="job, schedule, shard, mac, statement, contract"):
        parse_target("pod/x")


def test_a_name_that_nobody_has_comes_with_where_it_was_looked_for() -> None:
    told = str(no_such(parse_target("nightly").kinds, "nightly", "default"))
    assert told.startswith("there is no ") and "AudioBatchJob or " in told
    assert told.endswith("nightly (namespace default); -n names another namespace, and voxfleet get jobs -A lists all")
    assert str(no_such((MacAgent,), "mac-9", "default")) == "there is no MacAgent mac-9; voxfleet get macs lists all"
