"""Every metric of the operator. docs/reference/metrics.md is made from it, and a test compares it with a scrape."""

from __future__ import annotations

from voxfleet_api.endpoint_latency import BOUNDS_MILLISECONDS
from voxfleet_shared.metric_specs import MetricSpec, counter, gauge, histogram

LONG_SECONDS = (60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 86400.0, 259200.0, 604800.0)
"""Buckets for the life of a job."""

# Keys and reconciles.
QUEUE_DEPTH = gauge("voxfleet_workqueue_depth", "Keys that wait for a worker.", "kind")
QUEUE_ADDS = counter("voxfleet_workqueue_adds_total", "Keys added.", "kind")
QUEUE_RETRIES = counter("voxfleet_workqueue_retries_total", "Keys added again after a failure.", "kind")
QUEUE_DELAYED = gauge("voxfleet_workqueue_delayed", "Requests for later that are held.")
QUEUE_SECONDS = histogram(
    "voxfleet_workqueue_queue_duration_seconds", "How long a key waited until a worker took it.", "kind"
)
WORK_SECONDS = histogram("voxfleet_workqueue_work_duration_seconds", "How long a worker held a key.", "kind")
UNFINISHED_SECONDS = gauge(
    "voxfleet_workqueue_unfinished_work_seconds", "For how long all keys in work are held by now, added up."
)
LONGEST_SECONDS = gauge(
    "voxfleet_workqueue_longest_running_processor_seconds", "For how long the key is held that is held longest."
)
RECONCILES = counter(
    "voxfleet_reconcile_total",
    "Reconciles. Result: success, conflict (the cache lagged: normal), not-leader or error.",
    "kind",
    "result",
)
RECONCILE_SECONDS = histogram("voxfleet_reconcile_duration_seconds", "Time of a reconcile.", "kind")

# This process and the API server.
LEADER = gauge("voxfleet_leader", "1 while this process holds the Lease.")
LEADER_TRANSITIONS = gauge(
    "voxfleet_leader_transitions", "The Lease's transitions as this process holds it: the epoch; 0 on a standby."
)
LOOP_STALLS = counter(
    "voxfleet_event_loop_stalls_total", "How often the event loop, which answers scrapes too, stood still for over 5 s."
)
API_REQUESTS = counter(
    "voxfleet_api_requests_total",
    "Requests to the API server by HTTP method and status; `none`: there was no answer.",
    "verb",
    "code",
)
API_REQUEST_SECONDS = histogram(
    "voxfleet_api_request_duration_seconds", "Time of a request to the API server, watches left out.", "verb"
)
WATCH_STARTS = counter(
    "voxfleet_watch_starts_total",
    "Watches begun, by resource and status of the answer. Each ends after five minutes and is begun again.",
    "resource",
    "code",
)
WATCH_AGE_SECONDS = gauge(
    "voxfleet_watch_age_seconds", "Time since the API server last answered a watch of the resource.", "resource"
)
WATCH_MISSED = counter(
    "voxfleet_watch_missed_changes_total", "Changes that a full list found and no watch had told.", "resource"
)
LIST_AGE_SECONDS = gauge("voxfleet_list_age_seconds", "Time since all resources were last listed in full.")
EVENTS = counter(
    "voxfleet_events_total",
    "Events for people. Result: written, repeated (left out, as one like it was told a moment ago) or lost.",
    "result",
)

# Macs. `mac` is the name of a MacAgent: as many as there are machines, made by admins.
MAC_REACHABLE = gauge("voxfleet_mac_reachable", "1 while the Mac is in contact.", "mac")
MAC_AVAILABLE = gauge("voxfleet_mac_available", "1 while the Mac takes attempts (condition Available).", "mac")
MAC_CONTACT_SECONDS = gauge(
    "voxfleet_mac_last_contact_age_seconds",
    "Time since the Mac last answered or told something; absent while it never did to this process.",
    "mac",
)
MAC_LANES = gauge("voxfleet_mac_lanes", "Lanes of the Mac, by the kind of their pool.", "mac", "kind")
MAC_BUSY_LANES = gauge(
    "voxfleet_mac_lanes_busy",
    "Lanes that somebody holds, as the agent last said, by the kind of their pool.",
    "mac",
    "kind",
)
MAC_LEDGER = gauge("voxfleet_mac_ledger_verified", "0 once a signed row of the Mac does not verify, else 1.", "mac")
MAC_EXCLUDED = gauge("voxfleet_mac_excluded", "1 while the Mac takes nothing because it failed too often.", "mac")
MAC_CONTENDED = gauge(
    "voxfleet_mac_contended", "1 while something else seems to slow the Mac's lanes down (condition Contended).", "mac"
)
MAC_DRAINING = gauge("voxfleet_mac_draining", "1 while the Mac has spec.drain.", "mac")
MAC_SCRATCH_RESERVED = gauge("voxfleet_mac_scratch_reserved_bytes", "Scratch that attempts hold on the Mac.", "mac")
MAC_SCRATCH_QUOTA = gauge("voxfleet_mac_scratch_quota_bytes", "Scratch that attempts may hold on the Mac.", "mac")
MAC_LACKS_SCRATCH = gauge("voxfleet_mac_lacks_scratch", "1 while the Mac refuses attempts for want of scratch.", "mac")
MAC_HUNG_DELETIONS = gauge(
    "voxfleet_mac_hung_deletions", "Attempts that the agent has been deleting for longer than 15 minutes.", "mac"
)
MAC_UNSETTLED_SECONDS = gauge(
    "voxfleet_mac_unsettled_machine_seconds", "Verified machine time that no statement counts yet.", "mac"
)
MAC_STATEMENT_AGE_SECONDS = gauge(
    "voxfleet_mac_statement_age_seconds",
    "Time since a statement of the Mac last grew while verified rows wait for one; 0 while none does.",
    "mac",
)

# Endpoints, by name: those with a lane on some Mac, which are no more than the fleet has lanes.
ENDPOINT_LANES_WANTED = gauge(
    "voxfleet_endpoint_lanes_wanted", "Lanes that the endpoint wants now.", "namespace", "endpoint"
)
ENDPOINT_LANES_WARM = gauge(
    "voxfleet_endpoint_lanes_warm", "Lanes of the endpoint that are ready for a session.", "namespace", "endpoint"
)
ENDPOINT_LANES_BUSY = gauge(
    "voxfleet_endpoint_lanes_busy", "Warm lanes of the endpoint with a session.", "namespace", "endpoint"
)
ENDPOINT_SLO_MET = gauge(
    "voxfleet_endpoint_slo_met",
    "1 while the endpoint's turns keep to the contract's slo.interactiveP95, 0 while they do not (condition SLOMet);"
    " absent while nobody knows.",
    "namespace",
    "endpoint",
)
ENDPOINTS_WAITING = gauge("voxfleet_endpoints_waiting", "Endpoints that want a lane which no Mac takes.")
ENDPOINT_TURN_SECONDS = histogram(
    "voxfleet_endpoint_turn_seconds",
    "How long turns took that callers measured, and their parts. Kind: FinalText (from the last voiced sample to the"
    " final text), FirstText (from the first sample to the first delta; held to no target), UploadedText (from an"
    " upload's last byte to its first line) or FirstAudio (from a text to the first audio). Part:"
    " Total, Gateway, Tunnel, Wait or Infer. Clips of batches are not in it.",
    "namespace",
    "endpoint",
    "kind",
    "part",
    buckets=tuple(bound / 1000 for bound in BOUNDS_MILLISECONDS),
)
ENDPOINT_SLOW_TURNS = counter(
    "voxfleet_endpoint_slow_turns_total",
    "Turns that took longer than the contract's slo.interactiveP95.",
    "namespace",
    "endpoint",
    "kind",
)
ENDPOINT_STALLS = counter(
    "voxfleet_endpoint_stalls_total",
    "Chunks of speech that came later than playback needed them.",
    "namespace",
    "endpoint",
    "kind",
)

# The ledger archive.
ARCHIVE_UP = gauge(
    "voxfleet_archive_up", "1 once the ledger archive has answered, 0 while it does not, or there is none."
)
ARCHIVE_FAILURES = counter("voxfleet_archive_failures_total", "Calls to the ledger archive that failed.")
ARCHIVE_SECONDS = histogram(
    "voxfleet_archive_call_duration_seconds",
    "Time of a call to the ledger archive, of several requests, that succeeded.",
)
NIGHT_OVERDUE_SECONDS = gauge(
    "voxfleet_nightly_csv_overdue_seconds",
    "For how long the oldest night is over that has no CSV in the archive yet; 0 while each has.",
)
NIGHTS = counter(
    "voxfleet_nightly_csv_total", "CSVs of nights. Result: written, or failed (it is tried again).", "result"
)

# Work.
JOBS = gauge("voxfleet_jobs", "Jobs by state: the reason of their Complete condition.", "state")
JOBS_STALLED = gauge("voxfleet_jobs_stalled", "Jobs that wait for a person: Stalled, and not ended.")
SCHEDULES_STALLED = gauge("voxfleet_schedules_stalled", "Schedules that can make no jobs: Stalled.")
SCHEDULE_RUNS = counter(
    "voxfleet_schedule_runs_total",
    "Runs of schedules whose jobs were made (started), or never will be (missed).",
    "result",
)
JOB_SECONDS = histogram(
    "voxfleet_job_duration_seconds",
    "Time from a job's creation to its end. Result: Finished, or the reason of Failed.",
    "result",
    buckets=LONG_SECONDS,
)
QUARANTINE_BUDGET = gauge(
    "voxfleet_jobs_quarantine_budget_used_ratio",
    "Of the running job that is nearest to its contract's limits: quarantined clips, divided by what is allowed.",
)
LIMIT_USED = gauge(
    "voxfleet_jobs_limit_used_ratio",
    "Of the job that is nearest to the limit of its contract, or furthest beyond it, ended or not: what was found,"
    " divided by what is allowed. Absent while no job has such a limit.",
    "limit",
)
JOBS_BEYOND_LIMITS = gauge(
    "voxfleet_jobs_beyond_limits",
    "Jobs that broke what their contract promises, until they are deleted, by the condition that is False.",
    "condition",
)
ATTEMPTS = counter(
    "voxfleet_attempts_total",
    "Attempts ended, by outcome and failure class; `none`: without one, `OtherFailure`: one of a newer agent.",
    "outcome",
    "class",
)
RETRIES = counter(
    "voxfleet_shard_retries_total", "Ended attempts that cost their shard a retry, by failure class.", "class"
)
RETRY_LIMIT = gauge("voxfleet_shard_retry_limit", "Retries that a shard may cost: the setting --retry-limit.")
SHARDS_EXHAUSTED = counter("voxfleet_shards_exhausted_total", "Shards that failed for good after all their retries.")
SHARDS_SPLIT = counter("voxfleet_shards_split_total", "Shards that kept failing and were split into halves.")
CLIPS = counter(
    "voxfleet_clips_total", "Clips of committed shards. Outcome: succeeded, failed, quarantined or not_run.", "outcome"
)
MACHINE_SECONDS = counter(
    "voxfleet_machine_seconds_total",
    "Verified machine time of attempts, as their shards record it. Class: productive, retry or overhead; the work of an"
    " attempt counts once it has ended.",
    "class",
)
AUDIO_SECONDS = counter("voxfleet_audio_seconds_total", "Audio that attempts processed, as their verified rows say.")
PLACEMENT_SECONDS = histogram(
    "voxfleet_placement_pass_duration_seconds", "Time of a placement pass without its writes."
)
# Money and budgets: only with --price-book. A budget is named by its billing key or its namespace; the other is empty.
PRICE_BOOK_USABLE = gauge(
    "voxfleet_price_book_usable", "0 while the file of --price-book cannot be used as it is, else 1."
)
BUDGET_USED = gauge(
    "voxfleet_budget_used_machine_seconds",
    "Machine time of this month (UTC) that counts to the budget.",
    "billing_key",
    "namespace",
)
BUDGET_LIMIT = gauge(
    "voxfleet_budget_limit_machine_seconds", "Machine time that the budget has a month.", "billing_key", "namespace"
)
BUDGET_RATIO = gauge(
    "voxfleet_budget_used_ratio", "Of the month's budget: what is used; 1 is all of it.", "billing_key", "namespace"
)
BUDGET_HOLDS = gauge(
    "voxfleet_budget_holds", "1 while new shards wait for the budget (policy Hold).", "billing_key", "namespace"
)
PENDING_SHARDS = gauge("voxfleet_pending_shards", "Shards that waited for a Mac in the last placement pass.")
WAITING_JOBS = gauge("voxfleet_waiting_jobs", "Jobs whose next shard found no Mac in the last placement pass.")

METRICS: tuple[MetricSpec, ...] = tuple(item for item in list(vars().values()) if isinstance(item, MetricSpec))
