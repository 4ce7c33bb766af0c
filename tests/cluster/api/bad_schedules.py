"""AudioBatchSchedules that the API server refuses."""

from __future__ import annotations

from tests.cluster.api.specs import REMOVE, SCHEDULE, Bad

TEMPLATE = "spec.jobTemplate.spec"
PLACEHOLDERS = "in braces, an address has {date}, {slot} or {yesterday}"
BAD_SCHEDULES: dict[str, Bad] = {
    "schedule with a time zone in its times": Bad(
        SCHEDULE, {"spec.schedule": "CRON_TZ=Europe/Berlin 30 2 * * *"}, "spec.schedule", "write timeZone instead"
    ),
    **{
        f"schedule {text}": Bad(SCHEDULE, {"spec.schedule": text}, "spec.schedule", "write five fields")
        for text in ("30 2 * *", "0 30 2 * * *", "@reboot", "@every 5m")
    },
    "schedule with a long name": Bad(
        SCHEDULE, {"metadata.name": "n" * 38}, "<nil>", "metadata.name is longer than 37 characters"
    ),
    "schedule with a zone that is none": Bad(SCHEDULE, {"spec.timeZone": "+01:00"}, "spec.timeZone", "should match"),
    "schedule with a policy that is none": Bad(
        SCHEDULE, {"spec.concurrencyPolicy": "Queue"}, "spec.concurrencyPolicy", "Unsupported value"
    ),
    **{
        f"schedule with a request at {text}": Bad(SCHEDULE, {"spec.requestedAt": text}, "spec.requestedAt", advice)
        for text, advice in (
            ("now", "should match"),
            ("2026-11-30T09:30:00+01:00", "should match"),
            ("2026-13-30T09:30:00Z", "write a time in UTC"),
            ("1970-01-01T00:00:00Z", "write a time in UTC"),
        )
    },
    "schedule without a job": Bad(SCHEDULE, {"spec.jobTemplate": REMOVE}, "spec.jobTemplate", "Required value"),
    "schedule with the operator's labels": Bad(
        SCHEDULE,
        {"spec.jobTemplate.metadata": {"labels": {"voxfleet.dev/slot": "a"}}},
        "spec.jobTemplate.metadata",
        "names below voxfleet.dev/ are the operator's own",
    ),
    "schedule with the operator's annotations": Bad(
        SCHEDULE,
        {"spec.jobTemplate.metadata": {"annotations": {"voxfleet.dev/slot": "a"}}},
        "spec.jobTemplate.metadata",
        "names below voxfleet.dev/ are the operator's own",
    ),
    "schedule of cancelled jobs": Bad(
        SCHEDULE, {f"{TEMPLATE}.cancel": True}, f"{TEMPLATE}.cancel", "write spec.suspend of the schedule instead"
    ),
    "schedule of reruns": Bad(
        SCHEDULE,
        {f"{TEMPLATE}.input": REMOVE, f"{TEMPLATE}.source": {"jobRef": {"name": "night"}, "select": "Failed"}},
        f"{TEMPLATE}.source",
        "a run takes new clips",
    ),
    "schedule of jobs with two inputs": Bad(
        SCHEDULE,
        {f"{TEMPLATE}.input.prefix": {"uri": "file:///data/"}},
        f"{TEMPLATE}.input",
        "exactly one of input.prefix, input.manifest and input.clips",
    ),
    "schedule of jobs with s3 and no credentials": Bad(
        SCHEDULE, {f"{TEMPLATE}.output.uri": "s3://bucket/{date}/"}, TEMPLATE, "s3:// needs credentialsSecretRef"
    ),
    **{
        f"schedule with {uri}": Bad(SCHEDULE, {f"{TEMPLATE}.output.uri": uri}, f"{TEMPLATE}.output.uri", PLACEHOLDERS)
        for uri in ("file:///r/{day}/", "file:///r/{date/", "file:///r/date}/", "file:///r/{}/", "file:///r/{{{date/")
    },
    **{
        f"schedule with {name}": Bad(SCHEDULE, {f"{TEMPLATE}.input": value}, f"{TEMPLATE}.input", PLACEHOLDERS)
        for name, value in (
            ("an unknown date in a prefix", {"prefix": {"uri": "file:///{today}/"}}),
            ("an unknown date in a manifest", {"manifest": {"uri": "file:///{today}.jsonl"}}),
            ("an unknown date in a clip", {"clips": [{"id": "a", "uri": "file:///{today}.wav"}]}),
        )
    },
}
