"""A schedule's run by request, from a commit's one line to transcripts."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime

from tests.e2e.conftest import MakeFleet
from tests.e2e.fleet import CLIPS, EXPECTED

from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.moments import timestamp
from voxfleet_operator.reconcile.schedule.slot_job import SLOT_ANNOTATION, job_name

GOOD = next(name for name, row in EXPECTED.items() if "text" in row and name.startswith("wav-"))


def test_requested_at_starts_one_run_of_the_day_s_clips(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(macs=1)
    fleet.start()
    asked = datetime.now(UTC).replace(microsecond=0)
    folder = fleet.shared / "calls" / f"{asked:%Y-%m-%d}"
    folder.mkdir(parents=True)
    shutil.copy(CLIPS / f"{GOOD}.wav", folder)
    template = {
        "contractRef": {"name": "contract"},
        "model": {"builtin": {"name": "commands"}},
        "input": {"prefix": {"uri": f"file://{fleet.shared}/calls/{{date}}/"}},
        "output": {"uri": f"file://{fleet.shared}/results/{{date}}/"},
    }
    fleet.apply(
        {
            "apiVersion": "voxfleet.dev/v1alpha1",
            "kind": "AudioBatchSchedule",
            "metadata": {"name": "nightly"},
            "spec": {"schedule": "@yearly", "requestedAt": timestamp(asked), "jobTemplate": {"spec": template}},
        }
    )
    fleet.control_plane.kubectl("wait", "--for=condition=Ready", "abs/nightly", "-n", fleet.namespace, "--timeout=60s")
    job = fleet.wait_for_end(job_name("nightly", asked))
    assert is_true(job.status.conditions, ConditionType.COMPLETE)
    assert [row.text for row in fleet.rows(job)] == [EXPECTED[GOOD]["text"]]
    assert job.metadata.annotations[SLOT_ANNOTATION] == asked.isoformat()
    shown = fleet.control_plane.kubectl(
        "get", "abs", "nightly", "-n", fleet.namespace, "-o", "jsonpath={.status.lastHandledRequestAt}"
    )
    assert shown == timestamp(asked)
