"""`voxfleet retry`: what a job left undone runs again as a new job, and nothing is counted twice."""

from __future__ import annotations

import shutil

from tests.e2e.fleet import CLIPS, EXPECTED, Fleet
from typer.testing import CliRunner

from voxfleet_api.conditions import ConditionType, Reason, find, is_true
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_api.rows import ClipStatus
from voxfleet_cli.main import app

GOOD = [name for name, row in EXPECTED.items() if "text" in row and name.startswith("wav-")][:2]


def voxfleet(fleet: Fleet, *arguments: str) -> str:
    found = CliRunner().invoke(
        app, [*arguments, "-n", fleet.namespace, "--kubeconfig", str(fleet.control_plane.kubeconfig)]
    )
    assert found.exit_code == 0, found.stderr
    return found.stdout


def outcomes(fleet: Fleet, job: AudioBatchJob) -> list[tuple[str, ClipStatus]]:
    return [(row.custom_id, row.status) for row in fleet.rows(job)]


def test_what_failed_and_what_is_in_quarantine_runs_again_alone(fleet: Fleet) -> None:
    clips = [
        {"id": GOOD[0], "uri": f"file://{fleet.shared}/clips/{GOOD[0]}.wav"},
        {"id": "missing", "uri": f"file://{fleet.shared}/clips/missing.wav"},
        {"id": "broken", "uri": f"file://{fleet.shared}/clips/broken.wav"},
    ]
    (fleet.shared / "clips" / "broken.wav").write_bytes((CLIPS / f"{GOOD[1]}.wav").read_bytes()[:30000])
    fleet.submit("night", input={"clips": clips})
    fleet.submit("some", [*EXPECTED][:6], only="1,4-5")
    night, some = fleet.wait_for_end("night"), fleet.wait_for_end("some")
    failed = find(night.status.conditions, ConditionType.FAILED)
    assert failed is not None and failed.reason == Reason.CLIPS_FAILED
    assert outcomes(fleet, night) == [
        (GOOD[0], ClipStatus.SUCCEEDED),
        ("missing", ClipStatus.FAILED),
        ("broken", ClipStatus.QUARANTINED),
    ]
    before = (fleet.rows(night), night.status.usage)

    shutil.copy(CLIPS / f"{GOOD[1]}.wav", fleet.shared / "clips" / "missing.wav")
    assert "runs 1 clip (failed) of night again" in voxfleet(fleet, "retry", "night")
    assert "runs 1 clip (in quarantine) of night again" in voxfleet(fleet, "quarantine", "release", "night")
    retried, released = fleet.wait_for_end("night-retry-1"), fleet.wait_for_end("night-retry-2")
    assert is_true(retried.status.conditions, ConditionType.COMPLETE)
    assert [(row.custom_id, row.index, row.source_index, row.text) for row in fleet.rows(retried)] == [
        ("missing", 0, 1, EXPECTED[GOOD[1]]["text"])
    ]
    assert outcomes(fleet, released) == [("broken", ClipStatus.QUARANTINED)], "it is as broken as before"
    for job in (retried, released):
        fleet.assert_nothing_lost_or_doubled(job, 1)
    again = fleet.job("night")
    assert (fleet.rows(again), again.status.usage) == before, "the earlier job keeps its rows and its bill"
    machine = [seconds_milliseconds(job.status.usage.machine_seconds) for job in (night, retried)]
    assert all(milliseconds > 0 for milliseconds in machine)

    assert is_true(some.status.conditions, ConditionType.COMPLETE), "what only leaves out is no clip of the job"
    fleet.assert_nothing_lost_or_doubled(some, 3)
    assert [(row.custom_id, row.source_index) for row in fleet.rows(some)] == [
        ([*EXPECTED][number], number) for number in (1, 4, 5)
    ]
    assert some.status.plan is not None and some.status.plan.selection is not None
    assert some.status.plan.selection.text == "6 listed, 3 taken, 3 NotChosen"
