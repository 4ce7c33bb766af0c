"""Every metric of the gateway that the operator has not. docs/reference/metrics.md is made from it."""

from __future__ import annotations

from voxfleet_shared.metric_specs import counter, gauge

OPEN_SESSIONS = gauge("voxfleet_gateway_open_sessions", "Sessions on lanes that are open now.")
OPEN_CALLS = gauge("voxfleet_gateway_open_calls", "Calls that were let in and have not ended.")
CALLS_REFUSED = counter(
    "voxfleet_gateway_calls_refused_total", "Calls that were refused, by the status of the answer.", "status"
)
SESSIONS_ENDED = counter(
    "voxfleet_gateway_sessions_ended_total",
    "Sessions that ended, by failure class; `none`: in order, `cancelled`: the client left.",
    "class",
)
QUEUED_BYTES = gauge("voxfleet_gateway_queued_bytes", "What lanes told and no client has taken.")
LINKS = gauge("voxfleet_gateway_links", "Links to Macs, by state.", "state")

METRICS = (OPEN_SESSIONS, OPEN_CALLS, CALLS_REFUSED, SESSIONS_ENDED, QUEUED_BYTES, LINKS)
