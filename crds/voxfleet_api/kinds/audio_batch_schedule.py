"""AudioBatchSchedule: makes AudioBatchJobs at the times of a cron expression. Its fields are named as CronJob's are."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from voxfleet_api.base import (
    NOT_FILLED_IN,
    Name,
    ObservedGeneration,
    SpecModel,
    StatusModel,
    Timestamp,
    TimeZoneName,
    cel,
    list_atomic,
    list_map,
    validations,
)
from voxfleet_api.conditions import Conditions
from voxfleet_api.kinds.audio_batch_job import JOB_RULES, MAX_DEADLINE_SECONDS, AudioBatchJobSpec
from voxfleet_api.kinds.resource import AGE_COLUMN, CrdFacts, PrinterColumn, Resource
from voxfleet_api.selectors import LabelKey, LabelValue

MAX_NAME_LENGTH = 37
"""A job's name is at most 52 characters long, and its slot takes a hyphen and up to 14 digits of it."""
MAX_ACTIVE_JOBS = 20
"""So many jobs of a schedule may run at a time, whatever its policy: a clock makes work faster than any fleet."""
NEXT_RUNS = 3
"""How many coming slots a status shows."""
PLACEHOLDERS = ("date", "slot", "yesterday")
"""What may stand in braces in the addresses of a template."""

_TEMPLATE = f"^([^{{}}]|[{{][{{]|[}}][}}]|[{{]({'|'.join(PLACEHOLDERS)})[}}])*$"
_TEMPLATE_ADVICE = (
    "in braces, an address has {date}, {slot} or {yesterday}, which stand for the time of the run; write {{ and }} for"
    " braces of its own"
)


class ConcurrencyPolicy(StrEnum):
    """What happens when a run is due and an earlier one has not ended."""

    ALLOW = "Allow"
    FORBID = "Forbid"
    REPLACE = "Replace"


class StartedBy(StrEnum):
    """Why a job of a schedule was made. The value of its label."""

    SLOT = "Slot"
    REQUEST = "Request"
    BACKFILL = "Backfill"


class JobTemplateMetadata(
    SpecModel,
    json_schema_extra=validations(
        cel(
            "(!has(self.labels) || self.labels.all(key, !key.startsWith('voxfleet.dev/')))"
            " && (!has(self.annotations) || self.annotations.all(key, !key.startsWith('voxfleet.dev/')))",
            "names below voxfleet.dev/ are the operator's own; write another name",
        ),
    ),
):
    """What each job carries beside its spec."""

    labels: Annotated[
        dict[LabelKey, LabelValue], Field(max_length=32, description="Labels of each job, beside the operator's own.")
    ] = Field(default_factory=dict)
    annotations: Annotated[
        dict[LabelKey, Annotated[str, Field(max_length=1024)]],
        Field(max_length=32, description="Annotations of each job, beside the operator's own."),
    ] = Field(default_factory=dict)


class JobTemplateSpec(
    AudioBatchJobSpec,
    json_schema_extra=validations(
        *JOB_RULES,
        cel(
            "!self.cancel",
            "a template makes jobs that run; write spec.suspend of the schedule instead",
            field_path=".cancel",
        ),
        cel(
            "!has(self.source)",
            "a run takes new clips; write input, and run clips again with: voxfleet retry",
            field_path=".source",
        ),
        cel(f"self.output.uri.matches('{_TEMPLATE}')", _TEMPLATE_ADVICE, field_path=".output.uri"),
        cel(
            f"!has(self.input) || ((!has(self.input.prefix) || self.input.prefix.uri.matches('{_TEMPLATE}'))"
            f" && (!has(self.input.manifest) || self.input.manifest.uri.matches('{_TEMPLATE}'))"
            f" && (!has(self.input.clips) || self.input.clips.all(c, !has(c.uri) || c.uri.matches('{_TEMPLATE}'))))",
            _TEMPLATE_ADVICE,
            field_path=".input",
        ),
    ),
):
    """The spec of each job, with placeholders for its time in the addresses of its input and output."""


class JobTemplate(SpecModel):
    """The job that each run makes."""

    metadata: Annotated[
        JobTemplateMetadata,
        Field(json_schema_extra=NOT_FILLED_IN, description="Labels and annotations of each job; absent: none."),
    ] = JobTemplateMetadata()
    spec: Annotated[
        JobTemplateSpec,
        Field(
            description="The spec of each job. In the addresses of its input and output, `{date}` stands for the"
            " date of the run's slot in the schedule's time zone, `{yesterday}` for the date before it, and `{slot}`"
            " for date, time and offset, such as `20261130T0200+0100`; `{{` and `}}` are braces."
        ),
    ]


class AudioBatchScheduleSpec(
    SpecModel,
    json_schema_extra=validations(
        cel(
            "!self.schedule.contains('TZ=')",
            "a schedule names no time zone; write timeZone instead",
            field_path=".schedule",
        ),
        cel(
            "self.schedule.contains('TZ=') || self.schedule.matches("
            "'^(@(hourly|daily|midnight|weekly|monthly|yearly|annually)|[^@ ]+( +[^ ]+){4})$')",
            "write five fields, such as 30 2 * * MON-FRI, or one of @hourly, @daily, @midnight, @weekly, @monthly,"
            " @yearly and @annually",
            field_path=".schedule",
        ),
    ),
):
    """When jobs are made, and what they are."""

    schedule: Annotated[
        str,
        Field(
            min_length=1,
            max_length=100,
            description="Minute, hour, day of month, month and day of week, as cron reads them, or a name such as"
            " `@daily`.",
        ),
    ]
    time_zone: Annotated[
        TimeZoneName,
        Field(description="IANA name of the time zone that the schedule is meant in, such as Europe/Berlin."),
    ] = "UTC"
    starting_deadline_seconds: Annotated[
        int | None,
        Field(
            ge=10,
            le=MAX_DEADLINE_SECONDS,
            description="How late a run may start. One that is later is missed. Absent: as late as it takes; of several"
            " missed runs only the latest starts.",
        ),
    ] = None
    concurrency_policy: Annotated[
        ConcurrencyPolicy,
        Field(
            description="When a run is due and an earlier one has not ended: Allow starts it beside that one (20 at"
            " most), Forbid waits for its end, and Replace cancels it, which merges what it has done."
        ),
    ] = ConcurrencyPolicy.ALLOW
    suspend: Annotated[
        bool,
        Field(
            description="True starts no run; those that run go on. What was due meanwhile is missed: the latest such"
            " run starts after false, if startingDeadlineSeconds still allows it."
        ),
    ] = False
    successful_jobs_history_limit: Annotated[
        int,
        Field(ge=0, le=100, description="How many Complete jobs are kept. Their results stay when they go."),
    ] = 3
    failed_jobs_history_limit: Annotated[
        int, Field(ge=0, le=100, description="How many Failed jobs are kept. Their results stay when they go.")
    ] = 1
    finished_job_ttl_seconds: Annotated[
        int | None,
        Field(
            alias="finishedJobTTLSeconds",
            ge=0,
            le=MAX_DEADLINE_SECONDS,
            description="How long an ended job is kept, if the limits keep it. Absent: no limit of time.",
        ),
    ] = None
    requested_at: Annotated[
        str | None,
        Field(
            max_length=32,
            pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$",
            json_schema_extra=validations(
                cel("timestamp(self) > timestamp('2020-01-01T00:00:00Z')", "write a time in UTC, 2026-11-30T09:30:00Z")
            ),
            description="One run at this time, in UTC, beside those of the schedule: each new value is one request. A"
            " past time runs at once, unless it is older than startingDeadlineSeconds, or than a day where that is"
            " absent.",
        ),
    ] = None
    job_template: Annotated[JobTemplate, Field(description="The job that each run makes.")]


class ActiveJob(StatusModel):
    """A job of the schedule that has not ended."""

    name: Annotated[Name, Field(description="Its name.")]
    slot: Annotated[Timestamp | None, Field(description="The time that it was made for.")] = None


class DecidedSlots(StatusModel):
    """How far the times of the schedule are decided: what is due next comes after `until`.

    An edit of schedule or timeZone begins anew, from when the operator sees it.
    """

    schedule: Annotated[str, Field(max_length=100, description="The schedule that was decided by.")]
    time_zone: Annotated[str, Field(max_length=64, description="The time zone that was decided by.")]
    until: Annotated[Timestamp, Field(description="Each slot up to here has started or is missed.")]


class AudioBatchScheduleStatus(StatusModel):
    observed_generation: ObservedGeneration = -1
    conditions: Conditions = ()
    active: Annotated[
        tuple[ActiveJob, ...],
        Field(
            max_length=MAX_ACTIVE_JOBS,
            json_schema_extra=list_map("name"),
            description="Its jobs that have not ended, without those of a backfill.",
        ),
    ] = ()
    last_schedule_time: Annotated[Timestamp | None, Field(description="The slot that a job was last made for.")] = None
    last_successful_time: Annotated[
        Timestamp | None, Field(description="When a job of the schedule last became Complete.")
    ] = None
    last_handled_request_at: Annotated[
        Timestamp | None, Field(description="The spec.requestedAt that was last carried out, or found too old.")
    ] = None
    next_schedule_times: Annotated[
        tuple[Timestamp, ...],
        Field(
            max_length=NEXT_RUNS,
            json_schema_extra=list_atomic(),
            description="The next slots of the schedule; none while it is suspended.",
        ),
    ] = ()
    decided: Annotated[DecidedSlots | None, Field(description="How far the schedule's times are decided.")] = None


_READY = '.status.conditions[?(@.type=="Ready")]'


class AudioBatchSchedule(
    Resource,
    json_schema_extra=validations(
        cel(
            f"self.metadata.name.size() <= {MAX_NAME_LENGTH}",
            f"metadata.name is longer than {MAX_NAME_LENGTH} characters; shorten it, its jobs add their slot to it",
        ),
    ),
):
    """Makes jobs at the times of a cron expression, and removes those that have ended, in limits."""

    crd: ClassVar[CrdFacts] = CrdFacts(
        kind="AudioBatchSchedule",
        plural="audiobatchschedules",
        singular="audiobatchschedule",
        short_names=("abs",),
        everyday_name="schedule",
        scope="Namespaced",
        columns=(
            PrinterColumn("Schedule", "string", ".spec.schedule", "When jobs are made"),
            PrinterColumn("Zone", "string", ".spec.timeZone", "The time zone of the schedule"),
            PrinterColumn("State", "string", f"{_READY}.reason", "Whether jobs are made, or why not"),
            PrinterColumn("Last", "date", ".status.lastScheduleTime", "Since the slot of the last job"),
            PrinterColumn("Next", "string", ".status.nextScheduleTimes[0]", "The next slot, in UTC"),
            PrinterColumn("Suspend", "boolean", ".spec.suspend", "Whether no job is made", priority=1),
            PrinterColumn("Next-Runs", "string", ".status.nextScheduleTimes", "The next slots, in UTC", priority=1),
            AGE_COLUMN,
        ),
        frozen_spec=None,
    )

    spec: AudioBatchScheduleSpec
    status: AudioBatchScheduleStatus = AudioBatchScheduleStatus()
