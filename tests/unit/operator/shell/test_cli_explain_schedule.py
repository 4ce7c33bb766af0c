"""`voxfleet why` of a schedule: when it runs next, in its own zone, and what its jobs are doing."""

from __future__ import annotations

from rich.console import Console
from tests.unit.operator.decisions.schedule_objects import moment, slot_job
from tests.unit.operator.golden.schedule_states import schedule_states

from voxfleet_cli.explain import explain, failed
from voxfleet_cli.render import print_explanation

STATES = schedule_states()


def test_it_shows_the_next_runs_in_the_zone_of_the_schedule_and_its_jobs() -> None:
    schedule = STATES["a job runs"]
    berlin = schedule.model_copy(update={"spec": schedule.spec.model_copy(update={"time_zone": "Europe/Berlin"})})
    job = slot_job(schedule, moment("2026-11-21 02:00"), ended="Complete", at="2026-11-21T03:00:00Z")
    other = job.model_copy(update={"metadata": job.metadata.model_copy(update={"labels": {}, "name": "other"})})
    said = explain(berlin, [job, other])
    assert said["state"] == "Scheduled" and said["schedule"] == "0 2 * * * in Europe/Berlin"
    assert said["nextRuns"] == [f"2026-11-{day}T03:00+01:00" for day in (22, 23, 24)]
    assert said["lastRun"] == "2026-11-21T03:00+01:00"
    assert said["jobs"] == [{"job": "nightly-202611210200", "state": "Finished"}]


def test_people_read_words() -> None:
    console = Console(width=200)
    with console.capture() as printed:
        print_explanation(console, explain(STATES["a job runs"], []))
    assert "Next runs: 2026-11-22T02:00+00:00, " in printed.get()


def test_what_a_run_waits_for_is_the_next_step() -> None:
    assert "waits for the end of job nightly-202611200200" in explain(STATES["a run waits for an earlier job"])["next"]


def test_a_schedule_that_can_make_no_job_fails_a_script_and_says_what_to_write() -> None:
    wrong = STATES["its time zone is none"]
    assert failed(wrong) and not failed(STATES["suspended"])
    assert "write a name such as Europe/Berlin" in explain(wrong)["next"]
