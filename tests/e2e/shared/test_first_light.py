"""`kubectl apply` a batch: two Macs, over SSH and HTTPS, transcribe it, and machine-hours land in its status."""

from __future__ import annotations

import json

from tests.e2e.fleet import EXPECTED, Fleet

from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_api.results import REPORT_DATA_NAME
from voxfleet_dev.demo_report import gather, result_folder
from voxfleet_report.job_report import JobReport


def transcripts(fleet: Fleet, job: AudioBatchJob) -> dict[str, str | None]:
    return {row.custom_id: row.text for row in fleet.rows(job)}


def test_a_batch_from_apply_to_bill(fleet: Fleet) -> None:
    fleet.submit("first")
    fleet.control_plane.kubectl(
        "wait", "--for=condition=Complete", "abj/first", "-n", fleet.namespace, "--timeout=120s", timeout_seconds=130
    )
    job = fleet.wait_for_end("first")
    fleet.assert_nothing_lost_or_doubled(job, len(EXPECTED))

    rows = {row.custom_id: row for row in fleet.rows(job)}
    bad = {name: row["class"] for name, row in EXPECTED.items() if "class" in row}
    found = {name: row.error.failure_class for name, row in rows.items() if row.error is not None}
    assert found == bad and len(bad) == 3
    assert {clip.id: clip.failure_class for clip in job.status.quarantine} == bad
    good = [name for name, row in EXPECTED.items() if "text" in row]
    right = [name for name in good if rows[name].text == EXPECTED[name]["text"]]
    assert len(right) >= 0.95 * len(good)

    assert sorted(job.status.macs) == sorted(mac.name for mac in fleet.macs)
    report = gather(fleet.control_plane, job, fleet.macs)
    assert report.ledger_verified
    assert sum(report.milliseconds_by_mac.values()) == seconds_milliseconds(job.status.usage.machine_seconds) > 0
    usage = job.status.usage
    parts = [
        seconds_milliseconds(part) for part in (usage.productive_seconds, usage.retry_seconds, usage.overhead_seconds)
    ]
    assert sum(parts) == seconds_milliseconds(usage.machine_seconds)

    told = JobReport.load_json((result_folder(job) / REPORT_DATA_NAME).read_bytes())
    assert job.status.measured == told.measured and told.measured.infer_p95_milliseconds is not None
    assert is_true(job.status.conditions, ConditionType.WITHIN_FAILURE_BUDGET)

    fleet.submit("second")
    assert transcripts(fleet, fleet.wait_for_end("second")) == transcripts(fleet, job)


def test_deleting_a_job_leaves_its_output_and_nothing_else(fleet: Fleet) -> None:
    fleet.submit("gone", [*EXPECTED][:4])
    job = fleet.wait_for_end("gone")
    fleet.control_plane.kubectl("delete", "abj", "gone", "-n", fleet.namespace, "--timeout=60s", timeout_seconds=70)
    assert fleet.shards("gone") == []
    assert len(fleet.rows(job)) == 4
    fleet.wait_for(
        "the agents forgot the attempts",
        lambda: all(attempt.job.uid != job.metadata.uid for mac in fleet.macs for attempt in fleet.attempts_on(mac)),
    )
    listed = json.loads(fleet.control_plane.kubectl("get", "ash", "-n", fleet.namespace, "-o", "json"))
    assert listed["items"] == []
