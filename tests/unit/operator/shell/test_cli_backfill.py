"""Which slots a backfill takes, and what each has already."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from tests.unit.operator.decisions.schedule_objects import a_schedule, moment, slot_job

from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.moments import timestamp
from voxfleet_cli.backfill import MAX_SLOTS, backfill_slots, running, what_is_there
from voxfleet_cli.command_line import Refused

NOW = moment("2026-11-25 12:00")
SCHEDULE = a_schedule(timeZone="Europe/Berlin")
"""At 02:00, which is 01:00 in UTC."""


def slots(first: str, last: str, *jobs: AudioBatchJob, schedule: str = "0 2 * * *") -> list[str]:
    found = backfill_slots(a_schedule(timeZone="Europe/Berlin", schedule=schedule), first, last, jobs, NOW)
    return [timestamp(item.slot) for item in found]


@pytest.mark.parametrize(
    ("first", "last", "wanted"),
    [
        ("2026-11-21", "2026-11-22", ["2026-11-21T01:00:00Z", "2026-11-22T01:00:00Z"]),
        ("2026-11-21", "2026-11-21", ["2026-11-21T01:00:00Z"]),
        ("2026-11-21T01:00:00Z", "2026-11-21T01:00:00Z", ["2026-11-21T01:00:00Z"]),
        ("2026-11-21T02:00:00+01:00", "2026-11-22T01:59:59+01:00", ["2026-11-21T01:00:00Z"]),
        ("2026-11-25", "2026-12-31", ["2026-11-25T01:00:00Z"]),
    ],
    ids=["dates", "one day", "one slot", "offsets", "no slot to come"],
)
def test_a_range_includes_both_its_ends_and_only_what_has_passed(first: str, last: str, wanted: list[str]) -> None:
    assert slots(first, last) == wanted


@pytest.mark.parametrize(
    ("first", "last", "schedule", "advice"),
    [
        ("2026-11-22", "2026-11-21", "0 2 * * *", "write them the other way round"),
        ("0001-01-01T00:00:00+01:00", "2026-11-21", "0 2 * * *", "is no time"),
        ("2026-11-21", "9999-12-31T23:00:00-05:00", "0 2 * * *", "is no time"),
        ("2026-11-26", "2026-11-27", "0 2 * * *", "has no slot from .* that has passed"),
        ("yesterday", "2026-11-21", "0 2 * * *", "write a date such as 2026-11-30"),
        ("2026-11-21", "2026-11-21T02:00:00", "0 2 * * *", "has no offset; write 2026-11-21T02:00:00Z for UTC"),
        (
            "2026-11-01",
            "2026-11-24",
            "* * * * *",
            rf"more than {MAX_SLOTS} slots .* write an earlier --to, .* 2026-11-01",
        ),
        ("2026-11-21", "2026-11-22", "61 * * * *", "spec.schedule: 61"),
    ],
    ids=[
        "turned round",
        "before all time",
        "after all time",
        "to come",
        "no time",
        "no offset",
        "too many",
        "no schedule",
    ],
)
def test_a_range_that_makes_no_sense_is_refused_with_what_to_write(
    first: str, last: str, schedule: str, advice: str
) -> None:
    with pytest.raises(Refused, match=advice):
        slots(first, last, schedule=schedule)


def test_each_slot_says_what_it_has() -> None:
    done = slot_job(SCHEDULE, moment("2026-11-21 01:00"), ended="Complete", at="2026-11-21T03:00:00Z")
    foreign = slot_job(SCHEDULE, moment("2026-11-22 01:00"))
    foreign = foreign.model_copy(
        update={"metadata": foreign.metadata.model_copy(update={"labels": {}, "owner_references": ()})}
    )
    found = backfill_slots(SCHEDULE, "2026-11-21", "2026-11-23", [done, foreign], NOW)
    assert [item.missing for item in found] == [False, False, True]
    assert [item.job for item in found] == [f"nightly-2026112{day}0100" for day in (1, 2, 3)]
    told = [what_is_there(SCHEDULE, item) for item in found]
    assert told == ["has its job: Finished", "another job has its name", "to run"]


def test_only_jobs_of_backfills_of_the_schedule_count_as_running() -> None:
    backfilled = slot_job(SCHEDULE, NOW)
    labels = {**backfilled.metadata.labels, "voxfleet.dev/started-by": "Backfill"}
    backfilled = backfilled.model_copy(
        update={"metadata": backfilled.metadata.model_copy(update={"labels": labels, "name": "backfilled"})}
    )
    others = [slot_job(SCHEDULE, NOW - timedelta(days=1)), slot_job(SCHEDULE, NOW, ended="Failed", at=timestamp(NOW))]
    assert running(SCHEDULE, [backfilled, *others]) == {"backfilled"}


def test_a_day_begins_where_the_clock_of_the_zone_begins_it() -> None:
    hourly = slots("2026-10-25", "2026-10-25", schedule="0 * * * *")
    assert len(hourly) == 25 and datetime.fromisoformat(hourly[0]).hour == 22
