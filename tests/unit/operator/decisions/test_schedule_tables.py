"""Every row of the tables of docs/how-to/run-every-night.md, decided anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.operator.decisions.schedule_objects import a_schedule, moment, slot_job

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import AudioBatchJob, AudioBatchSchedule
from voxfleet_dev.locations import REPOSITORY
from voxfleet_operator.reconcile.job_findings import Blocker
from voxfleet_operator.reconcile.schedule.addresses import placeholders
from voxfleet_operator.reconcile.schedule.decide import SchedulePlan, plan_schedule
from voxfleet_operator.reconcile.schedule.slots import SlotRule
from voxfleet_operator.reconcile.schedule.status import schedule_status

PAGE = REPOSITORY / "docs" / "how-to" / "run-every-night.md"


def table(heading: str) -> list[list[str]]:
    """The rows of the table whose head begins with a cell."""
    lines = PAGE.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(f"| {heading} |")) + 2
    rows: Iterator[str] = iter(lines[first:])
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in _until_blank(rows)]


def _until_blank(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("|"):
            return
        yield line


@pytest.mark.parametrize("row", table("placeholder"), ids=lambda row: row[0])
def test_a_placeholder_stands_for_what_its_row_says(row: list[str]) -> None:
    zone = SlotRule("", "Europe/Berlin").zone
    values = placeholders(datetime.fromisoformat("2026-10-25T02:30+02:00"), zone)
    assert values[row[0].strip("`{}")] == row[1].strip("`")


@pytest.mark.parametrize("row", table("schedule"), ids=lambda row: row[0])
def test_the_nights_when_the_clock_changes_have_the_runs_of_their_row(row: list[str]) -> None:
    rule = SlotRule(row[0].strip("`"), "Europe/Berlin")
    for day, cell in zip(("2026-03-29", "2026-10-25"), row[1:], strict=True):
        begin = datetime.fromisoformat(f"{day}T00:59:59").replace(tzinfo=rule.zone).astimezone(UTC)
        end = datetime.fromisoformat(f"{day}T05:00:00").replace(tzinfo=rule.zone).astimezone(UTC)
        slots = [slot for slot in rule.upcoming(begin, 20) if slot < end]
        found = [slot.astimezone(rule.zone).isoformat(timespec="minutes").partition("T")[2] for slot in slots]
        assert found == ([] if cell == "none" else cell.split(", ")), day


DAY = "2026-11-21"
LAST = moment(f"{DAY} 20:00")


@dataclass
class Case:
    """What a schedule meets, up to the pass that the row describes."""

    now: str = "20:50"
    before: str | None = None
    """A pass before it, in which nothing starts."""
    spec: Mapping[str, object] = field(default_factory=dict)
    spec_before: Mapping[str, object] = field(default_factory=dict)
    decided: Mapping[str, object] | None = field(default_factory=dict)
    jobs: Callable[[AudioBatchSchedule], list[AudioBatchJob]] = lambda _: []
    blocked_before: bool = False


def running(schedule: AudioBatchSchedule) -> list[AudioBatchJob]:
    return [slot_job(schedule, LAST)]


def ended(schedule: AudioBatchSchedule) -> list[AudioBatchJob]:
    return [slot_job(schedule, LAST, ended="Complete", at=f"{DAY}T20:10:00Z")]


def twenty(schedule: AudioBatchSchedule) -> list[AudioBatchJob]:
    return [slot_job(schedule, LAST - timedelta(hours=hours)) for hours in range(20)]


FORBID, SUSPENDED = {"concurrencyPolicy": "Forbid"}, {"suspend": True}
CASES: Mapping[str, Case] = {
    "no operator from 20:30 to 20:50": Case("20:50"),
    "no operator from 20:30 to 21:10": Case("21:10"),
    "no operator from 20:30 to 21:11": Case("21:11"),
    "no operator from 20:30 to 23:10": Case("23:10"),
    "no operator from 20:30 to 23:30": Case("23:30"),
    "no operator for a thousand slots": Case("12:20", decided={"until": "2026-10-10T20:00:00Z"}),
    "suspended from 20:30 on": Case("23:10", spec=SUSPENDED),
    "suspended from 20:30 to 23:10": Case("23:10", before="22:30", spec_before=SUSPENDED),
    "suspended from 20:30 to 23:30": Case("23:30", before="22:30", spec_before=SUSPENDED),
    "Forbid, and the job of 20:00 runs at 21:10": Case("21:10", spec=FORBID, jobs=running),
    "Forbid, and the job of 20:00 runs until 23:10": Case("23:10", spec=FORBID, jobs=ended),
    "Forbid, and the job of 20:00 runs until 23:30": Case("23:30", spec=FORBID, jobs=running),
    "Allow, and the job of 20:00 runs at 21:00": Case("21:00", jobs=running),
    "Allow, and 20 jobs run at 21:00": Case("21:00", jobs=twenty),
    "Replace, and the job of 20:00 runs at 21:00": Case("21:00", spec={"concurrencyPolicy": "Replace"}, jobs=running),
    "the API server refuses jobs from 20:30 to 23:10": Case("23:10", before="22:30", blocked_before=True),
    "created at 20:30, seen at 23:10": Case("23:10", decided=None),
    "the schedule was another one until 23:10": Case("23:10", decided={"schedule": "0 3 * * *"}),
    "the time zone was another one until 23:10": Case("23:10", decided={"timeZone": "Asia/Tokyo"}),
    "the clock, at 21:05, is put back to 20:05": Case("20:05", decided={"until": f"{DAY}T21:00:00Z"}),
    "the clock, a year ahead, is put right at 20:50": Case("20:50", decided={"until": "2027-11-21T20:00:00Z"}),
    "the clock, a year ahead, is put right at 20:50; at 21:00": Case(
        "21:00", before="20:50", decided={"until": "2027-11-21T20:00:00Z"}
    ),
    "requestedAt is 20:40, at 20:50": Case(spec={"requestedAt": f"{DAY}T20:40:00Z"}),
    "requestedAt is 20:55, at 20:50": Case(spec={"requestedAt": f"{DAY}T20:55:00Z"}),
    "requestedAt is 20:40, at 20:55": Case("20:55", spec={"requestedAt": f"{DAY}T20:40:00Z"}),
    "requestedAt is two days ago, at 20:50": Case(spec={"requestedAt": "2026-11-19T20:50:00Z"}),
    "requestedAt is 20:40 and suspended, at 20:50": Case(spec={"requestedAt": f"{DAY}T20:40:00Z", **SUSPENDED}),
    "requestedAt is 20:40 and Forbid, and the job of 20:00 runs at 20:50": Case(
        spec={"requestedAt": f"{DAY}T20:40:00Z", **FORBID}, jobs=running
    ),
    "requestedAt is 20:00, at 20:50, and the job of 20:00 is there": Case(
        spec={"requestedAt": f"{DAY}T20:00:00Z"}, jobs=ended
    ),
}


def plan_of(case: Case, deadline: str) -> SchedulePlan:
    common: dict[str, Any] = {"schedule": "0 * * * *"}
    if deadline:
        common["startingDeadlineSeconds"] = int(deadline)
    decided = {"schedule": "0 * * * *", "timeZone": "UTC", "until": f"{DAY}T20:00:00Z"}
    status = {} if case.decided is None else {"observedGeneration": 1, "decided": {**decided, **case.decided}}
    schedule = a_schedule(status, **common, **case.spec)
    if case.decided is None:
        created = schedule.metadata.model_copy(update={"creation_timestamp": f"{DAY}T20:30:00Z"})
        schedule = schedule.model_copy(update={"metadata": created})
    if case.before is not None:
        earlier, now = a_schedule(status, **common, **{**case.spec, **case.spec_before}), moment(f"{DAY} {case.before}")
        plan = plan_schedule(earlier, case.jobs(earlier), now, 3)
        blocker = Blocker(Reason.JOB_REFUSED, "no") if case.blocked_before else None
        found = schedule_status(earlier, case.jobs(earlier), plan, blocker, now)
        schedule = schedule.model_copy(update={"status": found})
    return plan_schedule(schedule, case.jobs(schedule), moment(f"{DAY} {case.now}"), 3)


@pytest.mark.parametrize("row", table("what happened"), ids=lambda row: f"{row[0]}, {row[1]}")
def test_what_is_missed_and_what_starts_is_what_its_row_says(row: list[str]) -> None:
    what, deadline, starts, missed = row
    plan = plan_of(CASES[what], deadline)
    assert plan.problem is None
    latest = "12:00" if starts == "the latest" else starts
    assert ("nothing" if plan.run is None else f"{plan.run.slot:%H:%M}") == latest
    assert ("" if plan.missed is None else str(plan.missed.count)) == missed
    assert plan.old_request == (what in ("requestedAt is 20:40, at 20:55", "requestedAt is two days ago, at 20:50"))
    assert len(plan.replaced) == what.startswith("Replace")


def test_every_case_has_a_row() -> None:
    assert set(CASES) == {row[0] for row in table("what happened")}
