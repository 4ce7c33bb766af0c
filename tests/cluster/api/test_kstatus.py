"""What the kstatus library, on which Flux and others wait, says of every kind in every state.

Of a job it says what it says of a batch/v1 Job: in progress until it is accepted, current while it runs and once it is
complete, failed when it is refused or has failed.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from tests.rig.kstatus import kstatus, manifest
from tests.unit.operator.golden.condition_sections import KSTATUS, states
from tests.unit.operator.golden.markdown_tables import FOLDER, REWRITE, read

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.resource import Resource

GOLDEN = read(FOLDER / "conditions.md")
STATES = states()
STARTED = "2026-11-20T22:00:00Z"
COMPLETE, FAILED = ({"type": type_, "status": "True"} for type_ in ("Complete", "Failed"))
JOB_LIKE: dict[str, tuple[dict[str, object], str]] = {
    "new": ({}, "InProgress"),
    "running": ({"startTime": STARTED, "active": 1}, "Current"),
    "complete": ({"startTime": STARTED, "conditions": [COMPLETE]}, "Current"),
    "failed": ({"startTime": STARTED, "conditions": [FAILED]}, "Failed"),
}


@pytest.mark.parametrize("kind", STATES, ids=lambda kind: kind.crd.kind)
def test_every_state_is_what_the_golden_table_says(kind: type[Resource]) -> None:
    wanted = {name: cells[KSTATUS] for name, cells in GOLDEN[kind.crd.kind].rows.items()}
    found = STATES[kind]
    assert dict(zip(found, kstatus(*map(manifest, found.values())), strict=True)) == wanted, REWRITE


def test_a_job_is_what_a_batch_job_would_be() -> None:
    for name, cells in GOLDEN["AudioBatchJob"].rows.items():
        assert cells[KSTATUS] == _of_a_batch_job(cells), name


def _of_a_batch_job(cells: Mapping[str, str]) -> str:
    if cells["Failed"] or cells["Stalled"]:
        return "Failed"
    waits = not cells["Complete"] or cells["Complete"] == f"False {Reason.PENDING}"
    return "InProgress" if waits else "Current"


def test_the_library_says_the_same_of_batch_jobs() -> None:
    jobs: list[dict[str, object]] = [
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "n"}, "status": status}
        for name, (status, _) in JOB_LIKE.items()
    ]
    assert kstatus(*jobs) == [wanted for _, wanted in JOB_LIKE.values()]


def test_an_edit_that_nobody_has_seen_is_in_progress_and_a_deletion_is_terminating() -> None:
    running = STATES[AudioBatchJob]["running"]
    edited = manifest(running, generation=2)
    deleted = manifest(running, deletionTimestamp=STARTED)
    assert kstatus(edited, deleted) == ["InProgress", "Terminating"]
