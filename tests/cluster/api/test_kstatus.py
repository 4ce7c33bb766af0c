"""What the kstatus library, on which Flux and others wait, says of a job in every state of its life.

Wanted is what it says of a batch/v1 Job: in progress until it is accepted, current while it runs and once it is
complete, failed when it is refused or has failed.
"""

from __future__ import annotations

import json
import subprocess

import pytest
from tests.unit.operator.decisions.job_states import job_states

from voxfleet_api import API_VERSION
from voxfleet_api.conditions import ConditionType, find
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_dev import binaries

STATES = job_states()
WANTED = {
    "nobody has seen it": "InProgress",
    "its contract is not there yet": "InProgress",
    "its Secret is not there yet": "InProgress",
    "waiting for the end of the job that it runs again": "InProgress",
    "refused for the job that it runs again": "Failed",
    "refused for its contract": "Failed",
    "refused for its Secret": "Failed",
    "accepted": "Current",
    "accepted after a moment": "Current",
    "accepted after it was refused": "Current",
    "planning": "Current",
    "waiting for a Mac to plan it": "Current",
    "running": "Current",
    "waiting for a Mac": "Current",
    "running with a Secret that went away": "Failed",
    "suspended": "Current",
    "halted": "Current",
    "cancelled before it was accepted": "Failed",
    "finalizing": "Current",
    "complete": "Current",
    "complete with quarantine": "Current",
    "failed": "Failed",
}
STARTED = "2026-11-20T22:00:00Z"
COMPLETE, FAILED = ({"type": type_, "status": "True"} for type_ in ("Complete", "Failed"))
JOB_LIKE: dict[str, tuple[dict[str, object], str]] = {
    "new": ({}, "InProgress"),
    "running": ({"startTime": STARTED, "active": 1}, "Current"),
    "complete": ({"startTime": STARTED, "conditions": [COMPLETE]}, "Current"),
    "failed": ({"startTime": STARTED, "conditions": [FAILED]}, "Failed"),
}


def kstatus(*objects: dict[str, object]) -> list[str]:
    """Asks the library itself, which hack/kstatus wraps."""
    program = binaries.ensure(["kstatus"])["kstatus"]
    lines = "".join(f"{json.dumps(item)}\n" for item in objects)
    answer = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
    return [line.split("\t")[0] for line in answer.stdout.splitlines()]


def manifest(job: AudioBatchJob, **metadata: object) -> dict[str, object]:
    """The object as the API server stores it."""
    plain = job.dump()
    plain["metadata"] = {"name": job.metadata.name, "namespace": "team", "generation": 1, **metadata}
    return {"apiVersion": API_VERSION, "kind": "AudioBatchJob", **plain}


def test_every_state_is_what_a_batch_job_would_be() -> None:
    assert WANTED.keys() == STATES.keys()
    assert dict(zip(STATES, kstatus(*(manifest(job) for job in STATES.values())), strict=True)) == WANTED


def test_the_library_says_the_same_of_batch_jobs() -> None:
    jobs: list[dict[str, object]] = [
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "n"}, "status": status}
        for name, (status, _) in JOB_LIKE.items()
    ]
    assert kstatus(*jobs) == [wanted for _, wanted in JOB_LIKE.values()]


def test_an_edit_that_nobody_has_seen_is_in_progress_and_a_deletion_is_terminating() -> None:
    running = STATES["running"]
    edited = manifest(running, generation=2)
    deleted = manifest(running, deletionTimestamp=STARTED)
    assert kstatus(edited, deleted) == ["InProgress", "Terminating"]


@pytest.mark.parametrize("name", STATES)
def test_conditions_that_report_trouble_are_absent_when_there_is_none(name: str) -> None:
    conditions = STATES[name].status.conditions
    present = {type_ for type_ in (ConditionType.RECONCILING, ConditionType.STALLED) if find(conditions, type_)}
    troubled = {
        "its contract is not there yet": {ConditionType.RECONCILING},
        "its Secret is not there yet": {ConditionType.RECONCILING},
        "waiting for the end of the job that it runs again": {ConditionType.RECONCILING},
        "refused for the job that it runs again": {ConditionType.STALLED},
        "refused for its contract": {ConditionType.STALLED},
        "refused for its Secret": {ConditionType.STALLED},
        "running with a Secret that went away": {ConditionType.STALLED},
        "cancelled before it was accepted": {ConditionType.STALLED},
        "failed": {ConditionType.STALLED},
    }
    assert present == troubled.get(name, set())
    assert all(condition.status == "True" for condition in conditions if condition.type in present)
