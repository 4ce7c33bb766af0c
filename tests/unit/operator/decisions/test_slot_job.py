"""The job of a slot: its name, its marks, its addresses, and whose a job of that name is."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.operator.decisions.schedule_objects import JOB_SPEC, a_schedule, moment

from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.audio_batch_schedule import MAX_NAME_LENGTH, PLACEHOLDERS, StartedBy
from voxfleet_operator.reconcile.schedule.addresses import UnknownPlaceholder, filled_in, placeholders
from voxfleet_operator.reconcile.schedule.decide import plan_schedule
from voxfleet_operator.reconcile.schedule.slot_job import Kinship, Run, job_body, job_name, kinship, slot_of

SLOT = moment("2026-11-21 02:00")
UTC_ZONE = ZoneInfo("UTC")
names = st.from_regex(r"[a-z]([-a-z0-9.]{0,35}[a-z0-9])?", fullmatch=True)
slots = st.datetimes(datetime(2020, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001 # bounds
    lambda found: found.replace(microsecond=0)
)


@given(one=st.tuples(names, slots), other=st.tuples(names, slots))
def test_no_two_slots_share_a_name_and_none_is_too_long(one: tuple[str, datetime], other: tuple[str, datetime]) -> None:
    assert (job_name(*one) == job_name(*other)) == (one == other)
    assert len(job_name("n" * MAX_NAME_LENGTH, one[1])) <= 52


def test_names_that_end_in_digits_do_not_collide() -> None:
    assert job_name("a", moment("2026-11-21 02:00")) == "a-202611210200"
    assert job_name("a-202611210200", moment("2026-11-21 02:00")) != job_name("a", moment("2026-11-21 02:00"))
    assert job_name("a", datetime(2026, 11, 21, 2, 0, 7, tzinfo=UTC)) == "a-20261121020007"


def test_a_job_carries_its_slot_and_zone_and_the_template_s_marks() -> None:
    template = {"metadata": {"labels": {"team": "speech"}, "annotations": {"a": "b"}}, "spec": JOB_SPEC}
    body = job_body(a_schedule(timeZone="Europe/Berlin", jobTemplate=template), Run(SLOT, StartedBy.SLOT))
    assert body["metadata"] == {
        "name": "nightly-202611210200",
        "namespace": "team",
        "labels": {"team": "speech", "voxfleet.dev/schedule": "nightly", "voxfleet.dev/started-by": "Slot"},
        "annotations": {
            "a": "b",
            "voxfleet.dev/slot": "2026-11-21T03:00:00+01:00",
            "voxfleet.dev/time-zone": "Europe/Berlin",
        },
        "ownerReferences": [
            {
                "apiVersion": "voxfleet.dev/v1alpha1",
                "kind": "AudioBatchSchedule",
                "name": "nightly",
                "uid": "nightly-uid",
                "controller": True,
            }
        ],
    }
    assert body["spec"] == {
        **JOB_SPEC,
        "input": {"prefix": {"uri": "file:///calls/2026-11-21/"}},
        "output": {"uri": "file:///results/20261121T0300+0100/"},
    }, "what nobody wrote stays out"
    assert slot_of(AudioBatchJob.load(body)) == SLOT


@pytest.mark.parametrize(
    ("given_input", "wanted"),
    [
        ({"manifest": {"uri": "file:///m/{date}.jsonl"}}, {"manifest": {"uri": "file:///m/2026-11-21.jsonl"}}),
        (
            {"clips": [{"id": "date", "uri": "file:///{yesterday}.wav"}, {"id": "b", "text": "{date}"}]},
            {"clips": [{"id": "date", "uri": "file:///2026-11-20.wav"}, {"id": "b", "text": "{date}"}]},
        ),
    ],
)
def test_only_addresses_are_filled_in(given_input: dict[str, object], wanted: dict[str, object]) -> None:
    spec = {**JOB_SPEC, "model": {"path": "/models/{date}"}, "input": given_input}
    made = job_body(a_schedule(jobTemplate={"spec": spec}), Run(SLOT, StartedBy.SLOT))["spec"]
    assert made["input"] == wanted and made["model"] == {"path": "/models/{date}"}


@pytest.mark.parametrize("text", ["{day}", "{}", "{date", "date}", "{{{date", "{ date }", "{date!r}", "{DATE}"])
def test_an_unknown_placeholder_is_refused_with_those_that_are_known(text: str) -> None:
    with pytest.raises(UnknownPlaceholder, match=r"write one of \{date\}, \{slot\}, \{yesterday\}, or \{\{"):
        filled_in(f"file:///{text}/", placeholders(SLOT, UTC_ZONE))
    spec = {**JOB_SPEC, "output": {"uri": f"file:///{text}/"}}
    problem = plan_schedule(a_schedule(jobTemplate={"spec": spec}), (), SLOT, 3).problem
    assert problem is not None and "{yesterday}" in problem


def test_every_placeholder_of_the_api_is_filled_in_and_braces_stay() -> None:
    values = placeholders(SLOT, UTC_ZONE)
    assert sorted(values) == sorted(PLACEHOLDERS)
    assert filled_in("{{date}}/{date}", values) == "{date}/2026-11-21"


MARKS = {"voxfleet.dev/schedule": "nightly", "voxfleet.dev/started-by": "Slot"}
OTHER_OWNER = {"apiVersion": "v1", "kind": "AudioBatchSchedule", "name": "nightly", "uid": "gone", "controller": True}


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, Kinship.OWN),
        ({"ownerReferences": []}, Kinship.ORPHAN),
        ({"ownerReferences": [OTHER_OWNER]}, Kinship.FOREIGN),
        ({"ownerReferences": [], "labels": {**MARKS, "voxfleet.dev/started-by": "Backfill"}}, Kinship.BACKFILL),
        ({"ownerReferences": [], "labels": {}}, Kinship.FOREIGN),
        ({"ownerReferences": [], "labels": {**MARKS, "voxfleet.dev/schedule": "other"}}, Kinship.FOREIGN),
        ({"ownerReferences": [], "annotations": {}}, Kinship.FOREIGN),
        ({"ownerReferences": [], "annotations": {"voxfleet.dev/slot": "2026-11-21"}}, Kinship.FOREIGN),
        ({"ownerReferences": [], "annotations": {"voxfleet.dev/slot": "2026-11-22T02:00:00Z"}}, Kinship.FOREIGN),
        ({"ownerReferences": [], "namespace": "others"}, Kinship.FOREIGN),
    ],
)
def test_whose_a_job_of_the_name_is(changes: dict[str, object], wanted: Kinship) -> None:
    body = job_body(a_schedule(), Run(SLOT, StartedBy.SLOT))
    body["metadata"] |= changes
    assert kinship(AudioBatchJob.load(body), a_schedule()) is wanted
